"""
What is lifted: batches of molecules, Cora, and random graphs of a given size.

A name says it all: `MUTAG-128` is a batch of 128 graphs, `er-1000` a random graph of 1000 nodes.
`edge_index` holds both directions of an edge, arcs; `er` has 4 arcs a node and `er8` 8 arcs a
node, that is 2 and 4 edges. An "edge" of the marks is a column of `edge_index` on `er`, and a pair
of nodes on `er8`: the same mark, read generously and strictly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_undirected

from topox_difflift.datasets import load_dataset, molecules

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 32
#: From this size on the exact search, which is quadratic, is run once; every step uses its result.
HUGE_NODES = 20_000
#: Options of `DiffLift` where growth is measured: candidates at a linear cost, at every size.
GROWN: dict[str, Any] = {"hops": 2}


def load(name: str, root: str) -> Data:
    """Make a workload; its labels are of the graphs of a batch, or of the nodes of one graph."""
    kind, _, size = name.partition("-")
    if kind in SYNTHETIC:
        return synthetic(SYNTHETIC[kind](int(size)), int(size))
    if kind == "Cora":
        graph = load_dataset("Cora", root)[0]
        data = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y)
        if size:
            data.x = data.x @ noise((data.x.size(1), int(size))) / data.x.size(1) ** 0.5
        return data
    graphs = molecules(int(size)) if kind == "molecules" else load_dataset(kind, root)
    chosen = [graphs[i % len(graphs)] for i in range(int(size))]
    return Batch.from_data_list(
        [Data(x=g.x, edge_index=g.edge_index, y=g.y.view(-1)) for g in chosen]
    )


def smallest(data: Data) -> Data:
    """Return a graph with a cycle, and with features as wide as those of another."""
    graph = Data(x=data.x.new_ones(9, data.x.size(1)), edge_index=to_undirected(grid_edges(9)))
    return graph.to(data.x.device)


def level(data: Data) -> str:
    """Say what there is to predict for."""
    return "graph" if isinstance(data, Batch) else "node"


def options(data: Data) -> dict[str, Any]:
    """Return what `DiffLift` is told beside its defaults."""
    return GROWN if data.get("grown") else {}


def noise(shape: tuple[int, ...]) -> Tensor:
    """Return normal numbers, the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def synthetic(edges: Tensor, n: int) -> Data:
    """Return a graph of these edges with features and labels."""
    x = noise((n, WIDTH))
    arcs = to_undirected(edges, num_nodes=n)
    return Data(x=x, edge_index=arcs, y=(x[:, 0] > 0).long(), grown=True)


def random_edges(n: int, count: int) -> Tensor:
    """Return `count` distinct edges, each as probable as any other (Erdos and Renyi's model)."""
    rng = np.random.default_rng(0)
    key = np.empty(0, dtype=np.int64)
    while len(key) < count:
        u, v = rng.integers(n, size=(2, 2 * count))
        more = (np.minimum(u, v) * n + np.maximum(u, v))[u != v]
        key = np.unique(np.concatenate([key, more]))
    key = rng.permutation(key)[:count]
    return torch.from_numpy(np.stack([key // n, key % n]))


def nearest_edges(n: int, k: int = 4) -> Tensor:
    """Join each of `n` points in a square to its `k` nearest."""
    points = np.random.default_rng(0).random((n, 2))
    found = cKDTree(points).query(points, k + 1)[1][:, 1:]
    return torch.from_numpy(np.stack([np.repeat(np.arange(n), k), found.ravel()]))


def grid_edges(n: int) -> Tensor:
    """Return the sides of a grid that is as square as it can be with `n` nodes."""
    width = next(w for w in range(int(n**0.5), 0, -1) if n % w == 0)
    node = torch.arange(n).view(-1, width)
    right = torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()])
    down = torch.stack([node[:-1].flatten(), node[1:].flatten()])
    return torch.cat([right, down], dim=1)


SYNTHETIC = {
    "er": lambda n: random_edges(n, 2 * n),
    "er8": lambda n: random_edges(n, 4 * n),
    "knn": nearest_edges,
    "grid": grid_edges,
}
