"""
Neighbours and their distances, side by side with the dense form and with plain chunks.

Every repetition runs all contenders one after the other, so that whatever else the machine
does falls on each of them; the table shows medians.

    python benchmarks/knn.py
    python benchmarks/knn.py --nodes 10000 100000 --json knn.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift import compiled
from topox_difflift.neighbors import knn, squared_distances

if TYPE_CHECKING:
    from collections.abc import Callable


def molecules(n_graphs: int, n_nodes: int, channels: int) -> tuple[Tensor, Tensor]:
    """Return embeddings and batch of graphs of about `n_nodes` nodes, as in a set of molecules."""
    generator = torch.Generator().manual_seed(0)
    spread = max(1, n_nodes // 3)
    sizes = torch.randint(n_nodes - spread, n_nodes + spread + 1, (n_graphs,), generator=generator)
    batch = torch.arange(n_graphs).repeat_interleave(sizes)
    return torch.randn(batch.numel(), channels, generator=generator), batch


def ours(z: Tensor, batch: Tensor, k: int) -> Tensor:
    """Search without gradient, then compute the chosen distances with it."""
    neighbour = knn(z, batch, k)
    source, place = (neighbour >= 0).nonzero(as_tuple=True)
    return squared_distances(z, source, neighbour[source, place])


def dense(z: Tensor, batch: Tensor, k: int) -> Tensor:
    """Compute all distances of the batch, mask those between graphs, select with gradient."""
    apart = batch.unsqueeze(1) != batch.unsqueeze(0)
    distances = torch.cdist(z, z).masked_fill(apart, torch.inf).fill_diagonal_(torch.inf)
    values = distances.topk(k, dim=1, largest=False).values
    return values[values.isfinite()].square()


def plain_chunks(z: Tensor, k: int, rows: int) -> Tensor:
    """Select in one stage from chunks of rows."""
    norms = z.square().sum(1)
    chunks = []
    for first in range(0, z.size(0), rows):
        distances = torch.addmm(norms, z[first : first + rows], z.t(), alpha=-2)
        distances.diagonal(offset=first).fill_(torch.inf)
        chunks.append(distances.topk(k, dim=1, largest=False).indices)
    return torch.cat(chunks)


def forward_backward(form: Callable[..., Tensor], z: Tensor, batch: Tensor, k: int) -> None:
    """Differentiate the sum of the distances."""
    leaf = z.clone().requires_grad_()
    form(leaf, batch, k).sum().backward()


def medians(contenders: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median milliseconds of each contender, all run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if repetition:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def compare_batches(n_graphs: int, channels: int, k: int, repetitions: int) -> dict[str, object]:
    """Measure a batch of molecules, forward and backward."""
    z, batch = molecules(n_graphs, 30, channels)
    times = medians(
        {
            "ours": lambda: forward_backward(ours, z, batch, k),
            "search alone": lambda: knn(z, batch, k),
            "reference": lambda: forward_backward(dense, z, batch, k),
        },
        repetitions,
    )
    return row(f"{n_graphs} graphs, {z.size(0)} nodes, dense", times)


def compare_graph(n_nodes: int, channels: int, k: int, repetitions: int) -> dict[str, object]:
    """Measure one graph, search alone."""
    batch = torch.zeros(n_nodes, dtype=torch.long)
    z = torch.randn(n_nodes, channels, generator=torch.Generator().manual_seed(0))
    times = medians(
        {
            "ours": lambda: knn(z, batch, k),
            "reference": lambda: plain_chunks(z, k, max(1, 2**21 // n_nodes)),
        },
        repetitions,
    )
    times["search alone"] = times["ours"]
    return row(f"1 graph, {n_nodes} nodes, plain chunks", times)


def row(case: str, times: dict[str, float]) -> dict[str, object]:
    """Return one line of the table."""
    return {"case": case, **times, "ratio": times["reference"] / times["ours"]}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure the search for neighbours.")
    parser.add_argument("--graphs", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--nodes", type=int, nargs="*", default=[10_000])
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--tensors", action="store_true", help="tensor operations alone, as without numba"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table and write the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.tensors:
        compiled.numba_installed = lambda: False
    settings = (options.channels, options.k)
    rows = [compare_batches(n, *settings, options.repetitions) for n in options.graphs]
    rows += [compare_graph(n, *settings, max(1, options.repetitions // 3)) for n in options.nodes]
    print(f"{'case, against':44}{'ours':>11}{'search':>11}{'reference':>13}{'ratio':>9}")
    for line in rows:
        print(
            f"{line['case']:44}{line['ours']:8.1f} ms{line['search alone']:8.1f} ms"
            f"{line['reference']:10.1f} ms{line['ratio']:8.1f}x"
        )
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
