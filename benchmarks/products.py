"""
An unmodified CWN on larger and larger complexes with learned gates: time and peak memory.

Forward and backward pass of TopoModelX's CWN, with gradient to the gates, on cell complexes of
grids with one 2-cell per square; within `LinearProducts`, and as PyTorch does it. Each run is a
process of its own, whose peak memory is that of the step alone: what it adds to the process.
PyTorch's own backward pass is left out where it would need more memory than `--limit`.

    python benchmarks/products.py
    python benchmarks/products.py --json products.json --plot products.png
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from suite.memory import resident
from topomodelx.nn.cell.cwn import CWN

from topox_difflift.cells import Rank
from topox_difflift.complex import LiftedComplex
from topox_difflift.laws import faces_of_cells
from topox_difflift.products import LinearProducts

HIDDEN = 32
WAYS = {"LinearProducts": LinearProducts, "PyTorch": nullcontext}


def grid(n_edges: int) -> LiftedComplex:
    """Return a square grid of about that many edges, every square a 2-cell."""
    side = max(2, round((n_edges / 2) ** 0.5))
    node = torch.arange(side * side).view(side, side)
    right = torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()], dim=1)
    down = torch.stack([node[:-1].flatten(), node[1:].flatten()], dim=1)
    edges = torch.cat([right, down])
    edges = edges[torch.argsort(edges[:, 0] * side * side + edges[:, 1])]
    corners = node[:-1, :-1], node[:-1, 1:], node[1:, 1:], node[1:, :-1]
    squares = torch.stack([corner.flatten() for corner in corners], dim=1)
    cells = [[(v,) for v in range(side * side)], edges.tolist(), squares.tolist()]
    ranks = []
    for r in (1, 2):
        below, of_rank = (list(map(tuple, cells[i])) for i in (r - 1, r))
        faces, signs = faces_of_cells("cell", r, of_rank, below)
        n = len(of_rank)
        ranks.append(
            Rank(
                vertices=torch.tensor(of_rank).flatten(),
                sizes=torch.full((n,), len(of_rank[0])),
                batch=torch.zeros(n, dtype=torch.long),
                mask=torch.ones(n, requires_grad=True),
                prob=torch.full((n,), 0.5),
                faces=faces,
                orientation=signs.float(),
                membership=torch.ones(faces.size(1)),
                x=torch.randn(n, HIDDEN),
            )
        )
    x_0 = torch.randn(side * side, HIDDEN)
    return LiftedComplex.from_ranks(
        None, x_0, torch.zeros(len(x_0), dtype=torch.long), ranks, "cell"
    )


def measure(way: str, n_edges: int, repetitions: int) -> dict[str, object]:
    """Time forward and backward pass."""
    torch.manual_seed(0)
    lifted, tnn = grid(n_edges), CWN(HIDDEN, HIDDEN, HIDDEN, HIDDEN, 2)
    boundaries = [lifted.incidence(rank, signed=True) for rank in (1, 2)]
    matrices = [lifted.adjacency_1, *boundaries]
    before, taken = resident("VmRSS"), []
    gates = [lifted.mask_1, lifted.mask_2]
    for _ in range(repetitions):
        start = time.perf_counter()
        with WAYS[way]():
            a_1, b_1, b_2 = matrices
            out = tnn(lifted.x_0, lifted.x_1, lifted.x_2, a_1, b_2, b_1.T)
        grads = torch.autograd.grad(out[1].square().sum(), gates, retain_graph=True)
        taken.append(time.perf_counter() - start)
    return {
        "way": way,
        "edges": lifted.num_cells[1],
        "nonzeros": sum(m._nnz() for m in matrices),
        "seconds": statistics.median(taken),
        "megabytes": resident("VmHWM") - before,
        "gradient": [float(g.double().norm()) for g in grads],
    }


def in_a_process(way: str, n_edges: int, options: argparse.Namespace) -> dict[str, object]:
    """Measure in a process of its own, whose peak memory nobody else has set."""
    flags = ["--one", way, "--edges", str(n_edges), "--repetitions", str(options.repetitions)]
    command = [sys.executable, __file__, *flags, "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def exponent(rows: list[dict], key: str) -> float:
    """Fit the growth over the three largest sizes."""
    x = [torch.tensor(float(row["edges"])).log().item() for row in rows[-3:]]
    y = [torch.tensor(float(row[key])).log().item() for row in rows[-3:]]
    return statistics.linear_regression(x, y).slope


def plot(rows: list[dict], path: Path) -> None:
    """Draw time and memory against the number of edges."""
    from topox_difflift.plotting import new_figure

    figure, _ = new_figure((8, 3.2))
    figure.clear()
    for axes, key, label in zip(
        figure.subplots(1, 2), ("seconds", "megabytes"), ("seconds", "MB added at the peak"),
        strict=True,
    ):  # fmt: skip
        for way, marker in zip(WAYS, "os", strict=True):
            mine = [row for row in rows if row["way"] == way]
            axes.loglog(
                [r["edges"] for r in mine], [r[key] for r in mine], marker=marker, label=way
            )
        axes.set_xlabel("edges")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle("CWN with learned gates, forward and backward")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure all sizes, print the table, write figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    sizes = [1_000, 3_000, 10_000, 20_000, 50_000, 100_000]
    parser.add_argument("--edges", type=int, nargs="*", default=sizes)
    parser.add_argument("--limit", type=float, default=8_000, help="MB that PyTorch may use")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure(options.one, options.edges[0], options.repetitions)))
        return
    rows = []
    print(f"{'':16}{'edges':>9}{'nonzeros':>10}{'seconds':>10}{'MB':>9}")
    for n_edges in options.edges:
        for way in WAYS:
            # Dense gradients of edges x edges and edges x squares, and a copy.
            if way == "PyTorch" and 12 * n_edges**2 / 2**20 > options.limit:
                print(f"{way:16}{n_edges:9}   more than {options.limit:.0f} MB")
                continue
            rows.append(in_a_process(way, n_edges, options))
            row = rows[-1]
            print(
                f"{way:16}{row['edges']:9}{row['nonzeros']:10}{row['seconds']:10.3f}"
                f"{row['megabytes']:9.0f}"
            )
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        if len(mine) >= 3:
            time_, memory = exponent(mine, "seconds"), exponent(mine, "megabytes")
            print(f"{way}: time grows with exponent {time_:.2f}, memory {memory:.2f}")
    pairs = {
        row["edges"]: [r["gradient"] for r in rows if r["edges"] == row["edges"]] for row in rows
    }
    both = [found for found in pairs.values() if len(found) == 2]
    worst = max(abs(a / b - 1) for one, other in both for a, b in zip(one, other, strict=True))
    print(f"norms of the gradients agree to {worst:.1e}")
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
