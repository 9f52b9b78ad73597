"""Static liftings against networkx, in the shape that `DiffLift` returns."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
import torch_geometric.transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from topox_difflift import LiftedComplex
from topox_difflift.datasets import molecules
from topox_difflift.liftings import CycleLifting, KHopLifting, NoLifting, k_hop_pairs

LIFTINGS = [
    CycleLifting(),
    KHopLifting(),
    KHopLifting(k=2),
    *(NoLifting(domain) for domain in ("cell", "simplicial", "combinatorial", "hypergraph")),
    NoLifting("simplicial", max_rank=3),
]


def to_data(graph: nx.Graph, dtype: torch.dtype = torch.float64) -> Data:
    arcs = [(u, v) for u, v in graph.edges] + [(v, u) for u, v in graph.edges]
    edge_index = torch.tensor(sorted(arcs), dtype=torch.long).reshape(-1, 2).t().contiguous()
    n = graph.number_of_nodes()
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=dtype)
    return Data(x=x, edge_index=edge_index, y=torch.zeros(1))


GRAPHS = {
    "one node": nx.empty_graph(1),
    "no edge": nx.empty_graph(4),
    "path": nx.path_graph(4),
    "triangle": nx.cycle_graph(3),
    "K4": nx.complete_graph(4),
    "two triangles": nx.Graph([(0, 1), (1, 2), (2, 0), (1, 3), (2, 3)]),
    "disconnected": nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(2)),
}


@pytest.mark.laws
@pytest.mark.parametrize("lifting", LIFTINGS, ids=repr)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_is_valid_and_keeps_its_dtype(
    lifting: torch.nn.Module, name: str, dtype: torch.dtype
) -> None:
    data = to_data(GRAPHS[name], dtype)
    before = data.clone()
    lifted = lifting(data)
    assert isinstance(lifted, LiftedComplex)
    assert lifted.validate()
    assert lifted.max_rank == getattr(lifting, "max_rank", lifting.domain.default_rank)
    for rank in range(1, lifted.max_rank + 1):
        assert lifted[f"x_{rank}"].dtype == lifted[f"mask_{rank}"].dtype == dtype
        assert bool((lifted[f"mask_{rank}"] == 1).all())
        assert bool((lifted[f"prob_{rank}"] == 1).all())
    assert torch.equal(data.x, before.x)
    assert torch.equal(data.edge_index, before.edge_index)


@pytest.mark.parametrize("name", GRAPHS)
def test_cycle_lifting_has_as_many_cells_as_the_cycle_space_has_dimensions(name: str) -> None:
    graph = GRAPHS[name]
    lifted = CycleLifting()(to_data(graph))
    components = nx.number_connected_components(graph)
    rank = graph.number_of_edges() - graph.number_of_nodes() + components
    assert lifted.num_cells == (graph.number_of_nodes(), graph.number_of_edges(), rank)
    boundary = lifted.incidence(2, signed=True).to_dense()
    assert torch.linalg.matrix_rank(boundary) == rank if rank else boundary.numel() == 0


def test_features_are_sums_over_faces_and_means_over_members() -> None:
    data = to_data(GRAPHS["two triangles"])
    cells = CycleLifting()(data)
    torch.testing.assert_close(cells.x_1, cells.incidence_1.to_dense().T @ data.x)
    torch.testing.assert_close(cells.x_2, cells.incidence_2.to_dense().T @ cells.x_1)
    hyper = KHopLifting()(data)
    expected = [data.x[list(members)].mean(0) for members in hyper.cells(1)]
    torch.testing.assert_close(hyper.x_1, torch.stack(expected))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.floats(0, 0.6), st.integers(0, 10**6), st.integers(1, 4))
def test_k_hop_neighbourhoods_are_those_of_networkx(n: int, p: float, seed: int, k: int) -> None:
    graph = nx.gnp_random_graph(n, p, seed=seed)
    lifted = KHopLifting(k)(to_data(graph))
    near = dict(nx.all_pairs_shortest_path_length(graph, cutoff=k))
    assert lifted.cells(1) == [tuple(sorted(near[v])) for v in range(n)]


def test_k_hop_pairs_of_nothing() -> None:
    pairs = k_hop_pairs(torch.empty(2, 0, dtype=torch.long), 0, 2)
    assert pairs.shape == (2, 0)


@pytest.mark.laws
@pytest.mark.parametrize("lifting", LIFTINGS, ids=repr)
def test_a_batch_is_lifted_graph_by_graph(lifting: torch.nn.Module) -> None:
    graphs = [*molecules(2), molecules(1, seed=3)[0]]
    together = lifting(Batch.from_data_list(graphs)).unbatch()
    for part, graph in zip(together, graphs, strict=True):
        alone = lifting(graph)
        assert part.num_cells == alone.num_cells
        for rank in range(1, alone.max_rank + 1):
            assert part.cells(rank) == alone.cells(rank)
            torch.testing.assert_close(part[f"x_{rank}"], alone[f"x_{rank}"])


@pytest.mark.laws
def test_features_carry_a_gradient() -> None:
    for lifting in LIFTINGS:
        data = to_data(GRAPHS["two triangles"])
        data.x.requires_grad_()
        lifted = lifting(data)
        sum(lifted[f"x_{rank}"].square().sum() for rank in (0, 1)).backward()
        assert bool(torch.isfinite(data.x.grad).all())
        assert bool((data.x.grad != 0).any())


def test_liftings_are_transforms_and_name_their_settings() -> None:
    lifted = T.Compose([CycleLifting()])(to_data(GRAPHS["K4"]))
    assert lifted.num_cells == (4, 6, 3)
    assert repr(KHopLifting(k=2)) == "KHopLifting(k=2)"
    assert "simplicial" in repr(NoLifting("simplicial")).lower()
    assert not list(CycleLifting().parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KHopLifting(0), "'k' to be an integer of at least 1"),
        (lambda: NoLifting("graph"), "hypergraph, simplicial, cell, combinatorial"),
        (lambda: NoLifting("hypergraph", max_rank=2), "'max_rank' to be from 1 to 1"),
        (lambda: CycleLifting("longest"), "'cycles' to be one of"),
    ],
)
def test_bad_settings_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
