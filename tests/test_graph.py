"""The checked graph: simple, undirected, sorted, and otherwise what was given."""

from __future__ import annotations

import warnings

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from topox_difflift.graph import Graph, as_data, check_graph

ARC = st.tuples(st.integers(0, 6), st.integers(0, 6))
ARCS = st.lists(ARC, max_size=25)


def data_of(arcs: list[tuple[int, int]], n: int = 7, **attributes: object) -> Data:
    edge_index = torch.tensor(arcs, dtype=torch.long).view(-1, 2).t()
    return Data(x=torch.arange(2.0 * n).view(n, 2), edge_index=edge_index, **attributes)


def quietly(data: Data) -> tuple[Graph, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return check_graph(data), [str(warning.message) for warning in caught]


@settings(max_examples=60, deadline=None)
@given(arcs=ARCS)
def test_edges_are_those_of_networkx(arcs):
    graph, _ = quietly(data_of(arcs))
    reference = nx.Graph([(u, v) for u, v in arcs if u != v])
    edges = sorted(tuple(sorted(edge)) for edge in reference.edges)
    assert list(map(tuple, graph.edges.t().tolist())) == edges
    both = sorted(edges + [(v, u) for u, v in edges])
    assert list(map(tuple, graph.edge_index.t().tolist())) == both


@settings(max_examples=60, deadline=None)
@given(arcs=ARCS)
def test_warnings_say_what_was_untidy_and_nothing_else(arcs):
    _, messages = quietly(data_of(arcs))
    proper = [arc for arc in arcs if arc[0] != arc[1]]
    loops, repeats = len(arcs) - len(proper), len(proper) - len(set(proper))
    expected = {
        f"{loops} self-loops": loops > 0,
        f"{repeats} duplicate": repeats > 0,
        "directed": any((v, u) not in set(proper) for u, v in proper),
    }
    for part, told in expected.items():
        assert any(part in message for message in messages) == told
    assert len(messages) == sum(expected.values())


@settings(max_examples=60, deadline=None)
@given(arcs=ARCS)
def test_edge_features_stay_with_their_edges(arcs):
    """Duplicates are averaged; then a pair of directions shares the mean, if one was missing."""
    weight = torch.tensor([[2.0**i, float(i)] for i in range(len(arcs))], dtype=torch.float64)
    weight = weight.view(-1, 2)
    graph, messages = quietly(data_of(arcs, edge_attr=weight))
    of_arc: dict[tuple[int, int], list[torch.Tensor]] = {}
    for arc, row in zip(arcs, weight, strict=True):
        of_arc.setdefault(arc, []).append(row)
    mean = {arc: torch.stack(rows).mean(0) for arc, rows in of_arc.items()}
    directed = any("directed" in message for message in messages)
    assert len(graph.edge_attr) == graph.edge_index.size(1)
    for u, v, row in zip(*graph.edge_index.tolist(), graph.edge_attr, strict=True):
        ways = [(u, v), (v, u)] if directed else [(u, v)]
        expected = torch.stack([mean[way] for way in ways if way in mean]).mean(0)
        torch.testing.assert_close(row, expected)


@settings(max_examples=40, deadline=None)
@given(arcs=ARCS, seed=st.integers(0, 9))
def test_order_of_the_arcs_does_not_matter(arcs, seed):
    arcs = list(dict.fromkeys(arcs))
    weight = torch.rand(len(arcs), 1, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(len(arcs), generator=torch.Generator().manual_seed(seed))
    first, _ = quietly(data_of(arcs, edge_attr=weight))
    second, _ = quietly(data_of([arcs[i] for i in order.tolist()], edge_attr=weight[order]))
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.edges, second.edges)
    torch.testing.assert_close(first.edge_attr, second.edge_attr)


def test_undirected_edge_features_may_differ_by_direction():
    data = data_of([(1, 0), (0, 1)], n=2, edge_attr=torch.tensor([5.0, 3.0]))
    graph = check_graph(data)
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert graph.edge_attr.tolist() == [[3.0], [5.0]]


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_a_batch_keeps_its_graphs(sizes, seed):
    parts = []
    for i, n in enumerate(sizes):
        reference = nx.gnp_random_graph(n, 0.5, seed=seed + i)
        arcs = [arc for u, v in reference.edges for arc in ((u, v), (v, u))]
        parts.append(data_of(arcs, n))
    batch = Batch.from_data_list(parts)
    graph = check_graph(batch)
    assert graph.num_graphs == len(sizes)
    assert torch.equal(graph.batch, batch.batch)
    assert graph.x is batch.x
    alone = [check_graph(part).edges for part in parts]
    offsets = batch.ptr[:-1].tolist()
    expected = torch.cat([edges + at for edges, at in zip(alone, offsets, strict=True)], dim=1)
    assert torch.equal(graph.edges, expected)


def test_batch_without_ptr():
    data = data_of([], n=3, batch=torch.tensor([0, 0, 1]))
    assert check_graph(data).num_graphs == 2


@pytest.mark.parametrize("edge_attr", [None, torch.zeros(0, 3)])
def test_no_edge(edge_attr):
    graph = check_graph(data_of([], n=3, edge_attr=edge_attr))
    assert graph.edges.shape == graph.edge_index.shape == (2, 0)
    assert graph.edges.dtype == torch.long
    assert (graph.edge_attr is None) == (edge_attr is None)


def test_tidy_edges_are_taken_as_they_are():
    data = data_of([(0, 1), (1, 0), (1, 2), (2, 1)], n=3)
    assert torch.equal(check_graph(data).edge_index, data.edge_index)


def test_data_is_passed_through():
    data = data_of([])
    assert as_data(data) is data


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph])
def test_networkx(kind):
    graph = kind([("c", "a"), ("a", "b")])
    for value, node in enumerate(graph):
        graph.nodes[node]["x"] = [value, torch.tensor(2.0), 0.5]
    data = as_data(graph)
    assert data.x.tolist() == [[0, 2, 0.5], [1, 2, 0.5], [2, 2, 0.5]]
    assert data.x.dtype == torch.get_default_dtype()
    checked, messages = quietly(data)
    assert checked.edges.tolist() == [[0, 1], [1, 2]]
    assert bool(messages) == (kind is nx.DiGraph)


def test_networkx_features_of_any_kind():
    np = pytest.importorskip("numpy")
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: [1, 2], 1: np.array([3, 4]), 2: torch.tensor([5, 6])}, "x")
    assert as_data(graph).x.tolist() == [[1, 2], [3, 4], [5, 6]]
