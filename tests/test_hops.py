"""Neighbours among the nodes within a few hops, against brute force over networkx distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.utils import to_undirected

from topox_difflift import _neighbors_within, compiled
from topox_difflift._neighbors_within import k_hop_pairs
from topox_difflift.neighbors import knn, knn_within

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = settings(max_examples=25, deadline=None)


@pytest.fixture(params=["compiled", "tensors", "tensors in pieces"], autouse=True, scope="module")
def route(request: pytest.FixtureRequest) -> Iterator[str]:
    """Search by compiled loops, by tensor operations, and by them with a few pairs at once."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "compiled":
            pytest.importorskip("numba")
        else:
            patch.setattr(compiled, "numba_installed", lambda: False)
        if request.param == "tensors in pieces":
            patch.setitem(_neighbors_within._BLOCK, "cpu", 20)
        yield request.param


def points(n_nodes: int, channels: int, tied: bool, seed: int) -> Tensor:
    """Return embeddings that are tied or far apart, in float32 as well."""
    generator = torch.Generator().manual_seed(seed)
    if tied:
        return torch.randint(-1, 2, (n_nodes, channels), generator=generator).double()
    z = torch.randn(n_nodes, channels, dtype=torch.float64, generator=generator)
    return (z * 16).round() / 16


def random_graphs(sizes: list[int], density: float, seed: int) -> tuple[nx.Graph, Tensor, Tensor]:
    """Return graphs side by side, as one of networkx and as both directions of each edge."""
    parts = [nx.gnp_random_graph(size, density, seed=seed + size) for size in sizes]
    graph = nx.disjoint_union_all([nx.empty_graph(0), *parts])
    edges = torch.tensor(list(graph.edges()), dtype=torch.long).view(-1, 2).t()
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    return graph, to_undirected(edges, num_nodes=len(graph)), batch


def oracle(z: Tensor, graph: nx.Graph, hops: int, k: int, include_self: bool) -> Tensor:
    """Sort who is within reach by (exact distance, index), node by node."""
    distance = (z.double()[:, None] - z.double()[None]).square().sum(2)
    rows = []
    for node in range(len(z)):
        within = nx.single_source_shortest_path_length(graph, node, cutoff=hops)
        others = sorted((float(distance[node, o]), o) for o in within if o != node)
        row = ([node] if include_self else []) + [other for _, other in others]
        rows.append((row + [-1] * k)[:k])
    return torch.tensor(rows, dtype=torch.long).view(-1, k)


@pytest.mark.laws
@SETTINGS
@given(
    sizes=st.lists(st.integers(0, 14), max_size=5),
    density=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    hops=st.integers(1, 4),
    k=st.integers(1, 9),
    include_self=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    tied=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force(
    sizes: list[int],
    density: float,
    hops: int,
    k: int,
    include_self: bool,
    dtype: torch.dtype,
    tied: bool,
    seed: int,
) -> None:
    graph, edge_index, batch = random_graphs(sizes, density, seed)
    z = points(len(graph), 3, tied, seed).to(dtype)
    found = knn_within(z, batch, edge_index, hops, k, include_self=include_self)
    assert found.dtype == torch.int64
    assert torch.equal(found, oracle(z, graph, hops, k, include_self))


@pytest.mark.laws
@SETTINGS
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    k=st.integers(1, 8),
    include_self=st.booleans(),
    tied=st.booleans(),
    noise=st.sampled_from([0.0, 1e-14]),
    seed=st.integers(0, 10**6),
)
def test_is_the_search_of_all_nodes_where_all_are_within_reach(
    sizes: list[int], k: int, include_self: bool, tied: bool, noise: float, seed: int
) -> None:
    stars = [nx.star_graph(size - 1) for size in sizes]
    edges = torch.tensor(list(nx.disjoint_union_all(stars).edges())).long().view(-1, 2).t()
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    z = points(len(batch), 3, tied, seed)
    # Less than the tolerance: who is equal, and so who is chosen, stays what it was.
    z = z * (1 + noise * points(len(batch), 3, False, seed + 1).clamp(-2, 2))
    found = knn_within(z, batch, to_undirected(edges), 2, k, include_self=include_self)
    assert torch.equal(found, knn(z, batch, k, include_self=include_self))


@pytest.mark.laws
@SETTINGS
@given(hops=st.integers(1, 3), tied=st.booleans(), seed=st.integers(0, 10**6))
def test_a_graph_has_the_same_neighbours_alone_and_in_a_batch(
    hops: int, tied: bool, seed: int
) -> None:
    sizes = [7, 1, 15, 12]
    _, edge_index, batch = random_graphs(sizes, 0.2, seed)
    z = points(35, 3, tied, seed)
    together, first = knn_within(z, batch, edge_index, hops, 4), 0
    for size in sizes:
        nodes = slice(first, first + size)
        inside = (edge_index[0] >= first) & (edge_index[0] < first + size)
        alone = knn_within(z[nodes], batch[nodes] * 0, edge_index[:, inside] - first, hops, 4)
        assert torch.equal(torch.where(alone >= 0, alone + first, -1), together[nodes])
        first += size


@pytest.mark.laws
@SETTINGS
@given(hops=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_permuting_the_nodes_permutes_the_neighbours(hops: int, seed: int) -> None:
    _, edge_index, batch = random_graphs([20], 0.15, seed)
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed))
    # Of distances that count as equal the index decides, and that is another one then.
    assume(float(torch.cdist(z, z).sort(dim=1).values.diff(dim=1).min()) > 1e-4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    moved = to_undirected(order.argsort()[edge_index])
    found = knn_within(z[order], batch, moved, hops, 4)
    named = torch.where(found >= 0, order[found], -1)
    assert torch.equal(named, knn_within(z, batch, edge_index, hops, 4)[order])


@pytest.mark.parametrize("n_nodes", [0, 1, 6])
def test_without_edges_nobody_is_within_reach(n_nodes: int) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    batch = torch.zeros(n_nodes, dtype=torch.long)
    found = knn_within(torch.ones(n_nodes, 3), batch, none, 3, 2)
    assert torch.equal(found, torch.full((n_nodes, 2), -1))
    itself = knn_within(torch.ones(n_nodes, 3), batch, none, 3, 2, include_self=True)
    assert torch.equal(itself[:, 0], torch.arange(n_nodes))
    assert bool((itself[:, 1] == -1).all())


def hub(n_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a ring whose first node is joined to every other one."""
    ring = torch.arange(n_nodes)
    arcs = torch.stack([ring, ring.roll(-1)])
    edges = torch.cat([arcs, torch.stack([ring[1:] * 0, ring[1:]])], dim=1)
    z = torch.randn(n_nodes, 2, generator=torch.Generator().manual_seed(0))
    return z, torch.zeros(n_nodes, dtype=torch.long), to_undirected(edges)


def test_a_hub_costs_no_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes are within two hops of each other: all pairs, but never all at once."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, Tensor):
                    largest = max(largest, value.numel())
            return result

    n_nodes = 600
    monkeypatch.setitem(_neighbors_within._BLOCK, "cpu", 2**10)
    with Watch():
        found = knn_within(*hub(n_nodes), 2, 5)
    assert torch.equal(found, knn(*hub(n_nodes)[:2], 5))
    assert largest <= 20 * n_nodes


def test_pairs_of_some_nodes_are_those_of_all() -> None:
    _, edge_index, _ = random_graphs([9, 12], 0.2, 0)
    every = k_hop_pairs(edge_index, 21, 2)
    some = torch.tensor([0, 3, 4, 11, 20])
    of_some = every[:, torch.isin(every[0], some)]
    assert torch.equal(k_hop_pairs(edge_index, 21, 2, some), of_some)
    assert torch.equal(k_hop_pairs(edge_index, 21, 50), k_hop_pairs(edge_index, 21, 20))


Z, BATCH = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
ARCS = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Z, BATCH, ARCS, 0, 1), r"'hops' to be at least 1 \(got 0\)"),
        ((Z, BATCH, ARCS, 1, 0), r"'k' to be at least 1 \(got 0\)"),
        ((Z[0], BATCH, ARCS, 1, 1), r"'z' .*\(n_nodes, channels\) \(got \(2,\)\)"),
        ((Z, BATCH.flip(0), ARCS, 1, 1), r"'batch' .*ascending"),
        ((Z, BATCH, ARCS.int(), 1, 1), r"'edge_index' .*got torch.int32"),
        ((Z, BATCH, ARCS[0], 1, 1), r"'edge_index' .*shape \(4,\)"),
        ((Z, BATCH, ARCS + 1, 1, 1), r"'edge_index' to name nodes 0 to 3 \(got 1 to 4\)"),
        ((Z, BATCH, ARCS.flip(1), 1, 1), r"'edge_index' to be sorted"),
        ((Z, BATCH * 0 + torch.arange(4), ARCS, 1, 1), r"join nodes of one graph"),
        ((Z / 0, BATCH, ARCS, 1, 1), r"'z' to be finite .*node 0"),
    ],
)
def test_bad_input(arguments: tuple[Tensor, Tensor, Tensor, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn_within(*arguments)
