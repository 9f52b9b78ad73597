"""
Cycle bases and boundary matrices, side by side with networkx and TopoNetX.

Every repetition runs all contenders one after the other, so that whatever else the machine
does falls on each of them; the table shows medians, and ratios to the first line of a block.

    python benchmarks/cycles.py
    OMP_NUM_THREADS=1 python benchmarks/cycles.py --graphs 512 --nodes 100000 --json cycles.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import networkx as nx
import numpy as np
import torch
from topomodelx.utils.sparse import from_sparse
from toponetx.classes import CellComplex
from torch import Tensor

from topox_difflift.cycles import (
    fundamental_cycles,
    induced_cycles,
    minimum_cycle_basis,
    shortest_cycle_basis,
)
from topox_difflift.neighbors import knn
from topox_difflift.ragged import owners
from topox_difflift.sparse import sparse_coo

Cycles = tuple[Tensor, Tensor]
Basis = Callable[[Tensor, int], Cycles]

ENGINES = ("scipy", "numba") if importlib.util.find_spec("numba") else ("scipy",)


def molecule(rng: np.random.Generator, size: int) -> nx.Graph:
    """Return rings of five and six, fused, linked and with side chains."""
    graph = nx.cycle_graph(6)
    while len(graph) < size:
        k = len(graph)
        kind = rng.random()
        if kind < 0.1:
            a, b = list(graph.edges)[rng.integers(graph.number_of_edges())]
            nx.add_path(graph, [a, *range(k, k + rng.integers(3, 5)), b])
            continue
        if kind < 0.25:
            nx.add_cycle(graph, range(k, k + rng.integers(5, 7)))
        graph.add_edge(rng.integers(k).item(), k)
    return graph


def neighbourhood_graphs(n_graphs: int, n_nodes: int, k: int) -> list[nx.Graph]:
    """Return nearest-neighbour graphs, such as a learned rank 1 makes."""
    z = torch.randn(n_graphs * n_nodes, 8, generator=torch.Generator().manual_seed(0))
    found = knn(z, torch.arange(n_graphs).repeat_interleave(n_nodes), k)
    graphs = []
    for first in range(0, len(z), n_nodes):
        graph = nx.empty_graph(n_nodes)
        for v, row in enumerate((found[first : first + n_nodes] - first).tolist()):
            graph.add_edges_from((v, u) for u in row)
        graphs.append(graph)
    return graphs


def edge_index_of(graph: nx.Graph) -> Tensor:
    """Return both directions of all edges, sorted as PyG's coalesce leaves them."""
    pairs = sorted(pair for u, v in graph.edges for pair in ((u, v), (v, u)))
    return torch.tensor(pairs).t().contiguous()


def batched(graphs: list[nx.Graph]) -> tuple[Tensor, int]:
    """Return edge_index and number of nodes of the disjoint union."""
    shifts = np.cumsum([0, *map(len, graphs)])
    parts = [edge_index_of(g) + int(s) for g, s in zip(graphs, shifts, strict=False)]
    return torch.cat(parts, dim=1), int(shifts[-1])


def undirected(edge_index: Tensor) -> Tensor:
    """Keep each edge once, as the kernels take it."""
    return edge_index[:, edge_index[0] < edge_index[1]]


def networkx_graph(edge_index: Tensor) -> nx.Graph:
    """Convert one graph."""
    return nx.Graph(edge_index.t().tolist())


def networkx_bases(parts: list[Tensor]) -> list[list[list[int]]]:
    """Return a basis per graph, conversions included."""
    return [nx.cycle_basis(networkx_graph(part)) for part in parts]


def toponetx_route(parts: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Build B_1 and B_2 of each graph the way that TopoX tutorials do, no Laplacian."""
    matrices = []
    for part in parts:
        graph = networkx_graph(part)
        cells = nx.cycle_basis(graph)
        lifted = CellComplex(graph)
        lifted.add_cells_from(cells, rank=2)
        incidence = [lifted.incidence_matrix(rank, signed=True) for rank in (1, 2)]
        matrices.append((from_sparse(incidence[0]), from_sparse(incidence[1])))
    return matrices


def boundaries(edge_index: Tensor, num_nodes: int, basis: Basis) -> tuple[Tensor, Tensor]:
    """Build the signed B_1 and B_2 of the whole batch from a coalesced edge_index."""
    tail, head = edge_index.numpy()
    backwards = tail > head
    first, second = np.flatnonzero(~backwards), np.flatnonzero(backwards)
    u, v = tail[first], head[first]
    vertices, sizes = basis(torch.from_numpy(np.stack([u, v])), num_nodes)
    # Sorted by node, the arcs are the entries of B_1; only their edges are to be found.
    column = np.empty_like(tail)
    column[first] = np.arange(len(u))
    column[second] = np.argsort(v * num_nodes + u)
    b_1 = signed(tail, column, backwards, (num_nodes, len(u)))
    return b_1, cycle_boundary(vertices.numpy(), sizes.numpy(), u * num_nodes + v, num_nodes)


def cycle_boundary(
    vertices: np.ndarray, sizes: np.ndarray, edges: np.ndarray, num_nodes: int
) -> Tensor:
    """Build B_2 from the cycles and the packed edges."""
    stop = np.cumsum(sizes)
    following = np.empty_like(vertices)
    following[:-1] = vertices[1:]
    following[stop - 1] = vertices[stop - sizes]
    key = np.minimum(vertices, following) * num_nodes + np.maximum(vertices, following)
    row = np.searchsorted(edges, key)
    column = np.repeat(np.arange(len(sizes)), sizes)
    order = np.argsort(row * len(sizes) + column)
    up = (following > vertices)[order]
    return signed(row[order], column[order], up, (len(edges), len(sizes)))


def signed(rows: np.ndarray, columns: np.ndarray, up: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """Return the sparse matrix of sorted entries: +1 where `up`, else -1."""
    index = torch.from_numpy(np.stack([rows, columns]))
    return sparse_coo(index, torch.from_numpy(up * np.float32(2) - np.float32(1)), shape)


def check(graphs: list[nx.Graph]) -> None:
    """Make sure that what is timed is right."""
    edge_index, n = batched(graphs)
    b_1, b_2 = boundaries(edge_index, n, shortest_cycle_basis)
    assert not torch.sparse.mm(b_1, b_2).coalesce().values().any()
    _, theirs = zip(*toponetx_route([edge_index_of(g) for g in graphs]), strict=True)
    assert b_2.size(1) == sum(matrix.size(1) for matrix in theirs)
    cells = owners(shortest_cycle_basis(undirected(edge_index), n)[1])
    assert torch.equal(b_2.indices()[1].sort().values, cells)


def medians(contenders: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """
    Return the median milliseconds of each contender, all run in turn.

    A turn lasts at least 20 ms, so that what takes less does not pay for the caches that the
    slow ones leave behind.
    """
    milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, contender in contenders.items():
            start, calls, elapsed = time.perf_counter(), 0, 0.0
            while elapsed < 0.02:
                contender()
                calls, elapsed = calls + 1, time.perf_counter() - start
            if repetition:  # the first round warms up and compiles
                milliseconds[name].append(1e3 * elapsed / calls)
    return {name: statistics.median(values) for name, values in milliseconds.items()}


def bases() -> dict[str, Basis]:
    """Return all ways to a basis, by name."""
    fundamental = {
        f"fundamental, {engine}": partial(fundamental_cycles, engine=engine)
        for engine in (*ENGINES, "torch")
    }
    shortest = {
        f"shortest, {engine}": partial(shortest_cycle_basis, engine=engine) for engine in ENGINES
    }
    filtration = {
        f"filtration, {engine}": partial(filtration_basis, engine=engine) for engine in ENGINES
    }
    return {**fundamental, **shortest, **filtration}


def filtration_basis(edges: Tensor, num_nodes: int, engine: str) -> tuple[Tensor, Tensor]:
    """Find the basis of edges that arrive one by one, here in a random order."""
    order = torch.randperm(edges.size(1), generator=torch.Generator().manual_seed(0))
    return shortest_cycle_basis(edges, num_nodes, arrival=order + 1, engine=engine)


def compare_bases(
    case: str, graphs: list[nx.Graph], repetitions: int, more: dict[str, Basis]
) -> dict[str, object]:
    """Time a basis of the cycle space, from the edges to the vertices of the cycles."""
    edge_index, n = batched(graphs)
    edges = undirected(edge_index)
    parts = [edge_index_of(graph) for graph in graphs]
    found = networkx_bases(parts)
    lengths = {"networkx.cycle_basis": statistics.fmean(len(c) for part in found for c in part)}
    contenders: dict[str, Callable[[], object]] = {
        "networkx.cycle_basis": partial(networkx_bases, parts)
    }
    for name, basis in (bases() | more).items():
        contenders[name] = partial(basis, edges, n)
        lengths[name] = basis(edges, n)[1].double().mean().item()
    case = f"{case}: {n} nodes, {edges.size(1)} edges, {sum(map(len, found))} cycles"
    return table(case, medians(contenders, repetitions), lengths)


def compare_boundaries(case: str, graphs: list[nx.Graph], repetitions: int) -> dict[str, object]:
    """Time the way from edge_index to sparse B_1 and B_2."""
    check(graphs)
    edge_index, n = batched(graphs)
    contenders: dict[str, Callable[[], object]] = {
        "networkx + toponetx": partial(toponetx_route, [edge_index_of(g) for g in graphs])
    }
    for name, basis in bases().items():
        contenders[name] = partial(boundaries, edge_index, n, basis)
    return table(f"{case}, edge_index to B_1, B_2", medians(contenders, repetitions), {})


def table(case: str, times: dict[str, float], lengths: dict[str, float]) -> dict[str, object]:
    """Print one block and return its figures."""
    reference = next(iter(times.values()))
    print(f"\n{case}")
    for name, milliseconds in times.items():
        mean = f"  mean length {lengths[name]:7.2f}" if name in lengths else ""
        print(f"  {name:28}{milliseconds:10.2f} ms{reference / milliseconds:9.1f}x{mean}")
    return {"case": case, "milliseconds": times, "mean_lengths": lengths}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--graphs", type=int, default=128)
    parser.add_argument("--nodes", type=int, nargs="*", default=[10_000])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    # from_sparse and torch.sparse.mm announce that they are experimental.
    warnings.filterwarnings("ignore", message="Sparse")
    rng = np.random.default_rng(0)
    molecules = [molecule(rng, rng.integers(24, 33).item()) for _ in range(options.graphs)]
    learned = neighbourhood_graphs(options.graphs, 18, 4)
    more = {
        "minimum": minimum_cycle_basis,
        "induced up to 6": partial(induced_cycles, max_length=6),
    }
    name = f"{options.graphs} molecules"
    rows = [
        compare_boundaries(name, molecules, options.repetitions),
        compare_bases(name, molecules, options.repetitions, more),
        compare_bases(f"{options.graphs} kNN graphs", learned, options.repetitions, more),
    ]
    for n in options.nodes:
        side = round(n**0.5)
        grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))
        few = max(1, options.repetitions // 3)
        rows.append(compare_bases("grid", [grid], few, {}))
        rows.append(compare_bases("random graph", [nx.gnm_random_graph(n, 2 * n, seed=0)], few, {}))
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
