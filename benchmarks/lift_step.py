"""
A training step through `DiffLift` on MUTAG, side by side with the training step of a CWN.

The CWN (64 channels, one layer unless it says four) trains on complexes whose cycle lifting was
computed beforehand, or on complexes that an untrained lift made beforehand, which have several
times as many cells: zero_grad, forward, mean readout per graph, linear head, cross entropy,
backward, Adam. The lift alone runs forward, and backward from gradients on its features and on
its incidences' values. The network is lift, CWN, readout and head as one `TopologicalNetwork`,
its whole training step. Every repetition runs all contenders one after the other, so that whatever
else the machine does falls on each of them; the tables show medians. The CPU time of one
thread (the default) hardly feels the machine's other work; ratios are taken from it.

    python benchmarks/lift_step.py --root data
    python benchmarks/lift_step.py --root data --json lift_step.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from suite.memory import resident
from topomodelx.nn.cell.cwn import CWN
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_mean_pool

from topox_difflift import DiffLift
from topox_difflift.datasets import load_dataset
from topox_difflift.liftings import CycleLifting
from topox_difflift.nn import TopologicalNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from topox_difflift.complex import LiftedComplex

HIDDEN = 64
REFERENCE = "CWN on cycles"
#: What is asked of the whole step, as a multiple of the reference.
TARGETS = {"network, k_max 5, drop": 2.0, "network, k_max 10, drop": 4.0}


def batch_of(graphs: list[Data], count: int) -> Batch:
    """Return the first `count` graphs as a batch, from the start again when they run out."""
    return Batch.from_data_list([graphs[i % len(graphs)] for i in range(count)])


class CellClassifier(torch.nn.Module):
    """CWN, mean readout per graph and a linear head."""

    def __init__(self, channels: int, n_layers: int) -> None:
        super().__init__()
        self.tnn = CWN(channels, channels, channels, HIDDEN, n_layers)
        self.head = torch.nn.Linear(3 * HIDDEN, 2)

    def forward(self, cells: tuple, batches: tuple, n_graphs: int) -> torch.Tensor:
        ranks = zip(self.tnn(*cells), batches, strict=True)
        return self.head(torch.cat([global_mean_pool(h, b, n_graphs) for h, b in ranks], dim=1))


def complexes(batch: Batch, k_max: int | None = None) -> LiftedComplex:
    """Lift to the cycles of the graphs, or by an untrained lift."""
    if k_max is None:
        return CycleLifting()(batch)
    torch.manual_seed(0)
    lift = DiffLift("cell", k_max=k_max, rejected="drop", in_channels=batch.x.size(1))
    return lift(batch).detach()


def cwn_step(batch: Batch, n_layers: int = 1, k_max: int | None = None) -> Callable[[], object]:
    """Return the training step of the CWN on cycle-lifted, or learned, complexes."""
    lifted = complexes(batch, k_max)
    cells = (
        *(lifted[f"x_{r}"].detach() for r in range(3)),
        lifted.adjacency_1.detach(),
        lifted.incidence_2.detach(),
        lifted.incidence_1.detach().T.coalesce(),
    )
    batches = tuple(lifted[f"batch_{r}"] for r in range(3))
    model = CellClassifier(lifted.x_0.size(1), n_layers)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        logits = model(cells, batches, lifted.num_graphs)
        torch.nn.functional.cross_entropy(logits, batch.y).backward()
        optimizer.step()

    return step


def lift_step(batch: Batch, k_max: int, rejected: str) -> Callable[[], object]:
    """Return forward and backward pass of the lift alone."""
    torch.manual_seed(0)
    lift = DiffLift("cell", k_max=k_max, rejected=rejected, in_channels=batch.x.size(1))

    def step() -> None:
        lift.zero_grad()
        lifted = lift(batch)
        results = [lifted.x_1, lifted.x_2]
        results += [lifted.incidence_1.values(), lifted.incidence_2.values()]
        torch.autograd.backward(results, [torch.ones_like(result) for result in results])

    return step


def network_step(
    batch: Batch, k_max: int, rejected: str, n_layers: int = 1
) -> Callable[[], object]:
    """Return the training step of lift, CWN and readout."""
    torch.manual_seed(0)
    channels = batch.x.size(1)
    lift = DiffLift("cell", k_max=k_max, rejected=rejected, in_channels=channels)
    tnn = CWN(channels, channels, channels, HIDDEN, n_layers)
    model = TopologicalNetwork(lift, tnn, 2, hidden_channels=HIDDEN)
    model(batch)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
        optimizer.step()

    return step


def steps() -> dict[str, Callable[[Batch], Callable[[], object]]]:
    """Return what is measured, by name."""
    found: dict[str, Callable[[Batch], Callable[[], object]]] = {REFERENCE: cwn_step}
    for k_max in (5, 10):
        found[f"CWN on what k_max {k_max} lifts"] = partial(cwn_step, k_max=k_max)
        for rejected in ("drop", "keep"):
            what = f"k_max {k_max}, {rejected}"
            found[f"lift, {what}"] = partial(lift_step, k_max=k_max, rejected=rejected)
            found[f"network, {what}"] = partial(network_step, k_max=k_max, rejected=rejected)
    found["CWN of 4 layers on cycles"] = partial(cwn_step, n_layers=4)
    for k_max in (5, 10):
        name = f"network of 4 layers, k_max {k_max}, drop"
        found[name] = partial(network_step, k_max=k_max, rejected="drop", n_layers=4)
    return found


def measure(
    contenders: dict[str, Callable[[], object]], repetitions: int
) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each contender, CPU and wall, all run in turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for repetition in range(-3, repetitions):
        for name, contender in contenders.items():
            cpu, wall = time.process_time(), time.perf_counter()
            contender()
            if repetition >= 0:  # the first rounds warm up and compile
                taken[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {
        name: map(statistics.median, zip(*all_, strict=True)) for name, all_ in taken.items()
    }
    return {
        name: dict(zip(("cpu", "wall"), (1e3 * seconds for seconds in pair), strict=True))
        for name, pair in medians.items()
    }


def compare_steps(graphs: list[Data], options: argparse.Namespace) -> list[dict[str, object]]:
    """Time all steps, and print the table."""
    batch = batch_of(graphs, options.graphs)
    contenders = {name: make(batch) for name, make in steps().items()}
    times = measure(contenders, options.repetitions)
    reference = times[REFERENCE]["cpu"]
    print(f"\n{options.graphs} graphs, {batch.num_nodes} nodes, {batch.num_edges} arcs")
    for k_max in (None, 5, 10):
        what = "cycles" if k_max is None else f"what k_max {k_max} lifts"
        print(f"  {what}: nodes, edges, 2-cells: {complexes(batch, k_max).num_cells}")
    print(f"  {'':36}{'CPU':>10}{'wall':>13}{'ratio':>10}{'target':>10}{'memory added':>16}")
    rows: list[dict[str, object]] = []
    for name, time_ in times.items():
        added = peak_memory(name, options)
        ratio, target = time_["cpu"] / reference, TARGETS.get(name)
        print(
            f"  {name:36}{time_['cpu']:7.1f} ms{time_['wall']:10.1f} ms{ratio:9.2f}x"
            f"{'' if target is None else f'{target:.0f}x':>10}{added:13.0f} MB"
        )
        rows.append({"case": name, **time_, "ratio": ratio, "target": target, "memory": added})
    return rows


def compare_sizes(graphs: list[Data], options: argparse.Namespace) -> dict[str, object]:
    """Time the network on more and more graphs, fit t = c n^a, and print the table."""
    name = "network, k_max 5, drop"
    contenders = {str(n): steps()[name](batch_of(graphs, n)) for n in options.growth}
    times = measure(contenders, max(3, options.repetitions // 3))
    cpu = [times[str(n)]["cpu"] for n in options.growth]
    exponent = slope([math.log(n) for n in options.growth], [math.log(t) for t in cpu])
    print(f"\n{name}, growth with the number of graphs: exponent {exponent:.2f}")
    for n, milliseconds in zip(options.growth, cpu, strict=True):
        print(f"  {n:6} graphs{milliseconds:10.1f} ms{1e3 * milliseconds / n:10.1f} us a graph")
    return {"case": name, "graphs": options.growth, "cpu": cpu, "exponent": exponent}


def slope(x: list[float], y: list[float]) -> float:
    """Return the slope of the least-squares line."""
    return statistics.linear_regression(x, y).slope


def print_memory(name: str, graphs: list[Data], options: argparse.Namespace) -> None:
    """Run a few steps of one contender and print what they added to the process."""
    batch = batch_of(graphs, options.graphs)
    before = resident("VmRSS")
    step = steps()[name](batch)
    for _ in range(5):
        step()
    print(resident("VmHWM") - before)


def peak_memory(name: str, options: argparse.Namespace) -> float:
    """Measure in a process of its own: compilation and thread pools count as well."""
    flags = {"--root": options.root, "--graphs": options.graphs, "--threads": options.threads}
    command = [sys.executable, __file__, "--memory-of", name]
    for flag, value in flags.items():
        command += [flag, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    root = os.environ.get("TOPOX_DIFFLIFT_DATA", "data")
    parser.add_argument("--root", default=root, help="folder of MUTAG, downloaded if missing")
    parser.add_argument("--graphs", type=int, default=128)
    parser.add_argument("--growth", type=int, nargs="*", default=[32, 64, 128, 256, 512])
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    graphs = load_dataset("MUTAG", options.root)
    if options.memory_of:
        print_memory(options.memory_of, graphs, options)
        return
    steps = compare_steps(graphs, options)
    growth = compare_sizes(graphs, options) if len(options.growth) > 1 else None
    if options.json:
        figures = {"torch": torch.__version__, "steps": steps, "growth": growth}
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
