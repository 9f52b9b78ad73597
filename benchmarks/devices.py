"""
The same training steps on the host and on a GPU.

Lift: forward and backward pass of the lift alone. Network: a whole training step (zero_grad, GIN,
lift, CWN or UniGCNII, readout, cross entropy, backward, Adam). Batches are of MUTAG, or, where it
is not at hand, of synthetic molecules. Cycles: a basis by way of the host, with a copy there and
back, against the tensor operations of the GPU. Every repetition waits until the
GPU is done; the tables show medians.

    python benchmarks/devices.py --root data
    python benchmarks/devices.py --root data --profile --json devices.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift
from topox_difflift.compiled import numba_installed
from topox_difflift.cycles import fundamental_cycles, shortest_cycle_basis
from topox_difflift.datasets import load_dataset
from topox_difflift.graph import check_graph
from topox_difflift.nn import TNNS, TopologicalNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = 64
NETWORKS = {"CWN": ("cell", "cwn"), "UniGCNII": ("hypergraph", "unigcnii")}
#: Most repetitions, and seconds after which there are no more.
REPETITIONS, PATIENCE = 20, 1.5


def batch_of(graphs: list[Data], count: int) -> Batch:
    """Return the first `count` graphs as a batch, from the start again when they run out."""
    return Batch.from_data_list([graphs[i % len(graphs)] for i in range(count)])


def lift_step(batch: Batch, domain: str) -> Callable[[], object]:
    """Return forward and backward pass of the lift alone."""
    torch.manual_seed(0)
    lift = DiffLift(domain, in_channels=batch.x.size(1), hidden_channels=HIDDEN).to(batch.x.device)

    def step() -> None:
        lift.zero_grad()
        lifted = lift(batch)
        ranks = range(1, lifted.max_rank + 1)
        results = [lifted[f"x_{r}"] for r in ranks]
        results += [lifted[f"incidence_{r}"].values() for r in ranks]
        torch.autograd.backward(results, [torch.ones_like(result) for result in results])

    return step


def network_step(batch: Batch, domain: str, tnn: str) -> Callable[[], object]:
    """Return the training step of lift, network and readout."""
    torch.manual_seed(0)
    adapter, channels = TNNS[tnn], batch.x.size(1)
    network = adapter.build(channels, HIDDEN, 1)
    lift = DiffLift(
        domain,
        max_rank=adapter.settled(network).max_rank,
        in_channels=channels,
        hidden_channels=HIDDEN,
        rejected="keep" if adapter.settled(network).kept else "drop",
    )
    model = TopologicalNetwork(lift, network, 2, hidden_channels=HIDDEN).to(batch.x.device)
    model(batch)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
        optimizer.step()

    return step


def wait(device: str) -> None:
    """Let the device finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def median(step: Callable[[], object], device: str) -> float:
    """Return the median milliseconds of a step, after some that warm up."""
    taken: list[float] = []
    end = time.perf_counter() + PATIENCE
    while len(taken) < REPETITIONS and (len(taken) < 2 or time.perf_counter() < end):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken[1 + len(taken) // 5 :])


def peak(step: Callable[[], object], device: str) -> float | None:
    """Return the most GPU memory in MB that a step holds, with what was there before."""
    if device != "cuda":
        return None
    wait(device)
    torch.cuda.reset_peak_memory_stats()
    step()
    wait(device)
    return torch.cuda.max_memory_allocated() / 2**20


def steps() -> dict[str, Callable[[Batch], Callable[[], object]]]:
    """Return what is measured, by name."""
    found: dict[str, Callable[[Batch], Callable[[], object]]] = {}
    for name, (domain, tnn) in NETWORKS.items():
        found[f"lift, {domain}"] = partial(lift_step, domain=domain)
        found[f"network, {name}"] = partial(network_step, domain=domain, tnn=tnn)
    return found


def compare_steps(graphs: list[Data], options: argparse.Namespace) -> list[dict[str, object]]:
    """Time the steps on each device, and print the table."""
    rows: list[dict[str, object]] = []
    for count in options.graphs:
        batch = batch_of(graphs, count)
        print(f"\n{count} graphs, {batch.num_nodes} nodes, {batch.num_edges} arcs")
        for name, make in steps().items():
            row: dict[str, object] = {"graphs": count, "case": name}
            for device in options.devices:
                step = make(batch.to(device))
                row[device] = median(step, device)
                row["memory"] = peak(step, device)
            rows.append(row)
            print("  " + described(name, row, options.devices))
    return rows


def described(name: str, row: dict[str, object], devices: list[str]) -> str:
    """Say what was measured, in one line."""
    line = f"{name:22}" + "".join(f"{row[d]:10.1f} ms {d}" for d in devices)
    if len(devices) > 1:
        line += f"{row['cpu'] / row['cuda']:8.2f}x"  # type: ignore[operator]
    memory = row.get("memory")
    return line if memory is None else f"{line}{memory:10.0f} MB"


def molecular(graphs: list[Data], size: int) -> tuple[torch.Tensor, int]:
    """Return about `size` edges of many small graphs, and the number of nodes."""
    graph = check_graph(batch_of(graphs, 32))
    edges, n_nodes = graph.edges, len(graph.x)
    times = max(1, size // edges.size(1))
    shift = torch.arange(times).repeat_interleave(edges.size(1)) * n_nodes
    return edges.repeat(1, times) + shift, n_nodes * times


def random_graph(size: int) -> tuple[torch.Tensor, int]:
    """Return about `size` edges of one graph of degree 4, and the number of nodes."""
    n_nodes = size // 2
    ends = torch.randint(n_nodes, (2, size), generator=torch.Generator().manual_seed(0))
    low, high = ends.min(0).values, ends.max(0).values
    key = (low * n_nodes + high)[low < high].unique()
    return torch.stack([key // n_nodes, key % n_nodes]), n_nodes


def compare_cycles(graphs: list[Data], options: argparse.Namespace) -> list[dict[str, object]]:
    """Time bases by way of the host and on the GPU, and say from how many edges the GPU wins."""
    engine: Literal["numba", "scipy"] = "numba" if numba_installed() else "scipy"
    routes = {
        "host": partial(fundamental_cycles, engine=engine),
        "device": partial(fundamental_cycles, engine="torch"),
        "shortest": partial(shortest_cycle_basis, engine=engine),
    }
    device, rows = options.devices[-1], []
    print(f"\nfundamental cycles of edges on {device}: by the host ({engine}), on the device;")
    print("and by the host the shortest ones, which are the default")
    for kind, make in (("molecules", partial(molecular, graphs)), ("one graph", random_graph)):
        faster = None
        for size in options.edges:
            edges, n_nodes = make(size)
            edges = edges.to(device)
            times = {
                name: median(partial(route, edges, n_nodes), device)
                for name, route in routes.items()
                if name != "shortest" or kind == "molecules"  # elsewhere it takes seconds
            }
            rows.append({"graphs": kind, "edges": edges.size(1), **times})
            print(f"  {kind:10}{edges.size(1):8} edges", end="")
            print(
                "".join(f"{milliseconds:10.2f} ms {name}" for name, milliseconds in times.items())
            )
            if faster is None and times["device"] < times["host"]:
                faster = edges.size(1)
        print(f"  {kind}: the device is faster from {faster or 'none of these'} edges")
    return rows


def profile(graphs: list[Data], options: argparse.Namespace) -> None:
    """Print what takes the time of the larger networks."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    device = options.devices[-1]
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    for name in NETWORKS:
        step = steps()[f"network, {name}"](batch_of(graphs, 128).to(device))
        median(step, device)
        with watch(activities=kinds) as seen:
            for _ in range(3):
                step()
            wait(device)
        averages = seen.key_averages()
        for key in {f"self_{device}_time_total", "self_cpu_time_total"}:
            print(f"\nnetwork, {name}, 128 graphs, 3 steps, by {key}")
            print(averages.table(sort_by=key, row_limit=15, max_name_column_width=50))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    root = os.environ.get("TOPOX_DIFFLIFT_DATA", "data")
    parser.add_argument("--root", default=root, help="folder of MUTAG")
    parser.add_argument("--graphs", type=int, nargs="*", default=[32, 128, 512])
    sizes = [1_000, 10_000, 30_000, 100_000, 300_000]
    parser.add_argument("--edges", type=int, nargs="*", default=sizes)
    parser.add_argument("--threads", type=int, default=1, help="of the host")
    parser.add_argument("--profile", action="store_true", help="also show what takes the time")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    options.devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return options


def main() -> None:
    """Measure, print the tables and write the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    local = any((Path(options.root) / p / "MUTAG").is_dir() for p in (".", "TUDataset"))
    dataset = "MUTAG" if local else "molecules"
    graphs = load_dataset(dataset, options.root)
    gpu = torch.cuda.get_device_name() if "cuda" in options.devices else None
    print(f"{dataset}; torch {torch.__version__}, {options.threads} threads; GPU: {gpu or 'none'}")
    figures = {
        "torch": torch.__version__,
        "gpu": gpu,
        "threads": options.threads,
        "dataset": dataset,
        "steps": compare_steps(graphs, options),
        "cycles": compare_cycles(graphs, options),
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.profile:
        profile(graphs, options)


if __name__ == "__main__":
    main()
