"""Print what a training step on one mini-batch adds to the memory of a process, in MB.

One line for each pair of a graph's nodes and a batch's seeds, each measured in a process of its
own, forked when everything is imported and compiled.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from samplers import PlainSampler, random_graph
from topomodelx.nn.cell.cwn import CWN
from torch_geometric.loader import NeighborLoader

from topox_difflift import DiffLift
from topox_difflift.nn import TopologicalNetwork

if TYPE_CHECKING:
    from torch_geometric.data import Data


def loader(data: Data, seeds: int) -> NeighborLoader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = PlainSampler(data, [4, 4], subgraph_type="bidirectional")
    return NeighborLoader(data, [4, 4], neighbor_sampler=sampler, batch_size=seeds, shuffle=True)


def train(batches: NeighborLoader, steps: int) -> None:
    network = TopologicalNetwork(
        DiffLift(hidden_channels=32), CWN(8, 8, 8, 32, 1), out_channels=2, level="node"
    )
    for _, batch in zip(range(steps), batches, strict=False):
        logits, size = network(batch), batch.batch_size
        torch.nn.functional.cross_entropy(logits[:size], batch.y[:size]).backward()


def resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def measure(num_nodes: int, seeds: int) -> None:
    torch.manual_seed(0)
    data = random_graph(num_nodes, 4 * num_nodes)
    batches = loader(data, seeds)
    # From here on the peak counts, and not what making the graph took.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    train(batches, steps=2)
    print(num_nodes, seeds, resident("VmHWM") - before, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(loader(random_graph(100, 400), seeds=8), steps=2)
    for pair in sys.argv[1:]:
        if os.fork() == 0:
            measure(*map(int, pair.split(",")))
            os._exit(0)
        if os.wait()[1]:
            sys.exit(1)
