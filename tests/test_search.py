"""How the search for neighbours is chosen: within a few hops, exactly, or by an index."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn.pool import ApproxL2KNNIndex, KNNIndex, L2KNNIndex, MIPSKNNIndex
from torch_geometric.utils import to_undirected

from topox_difflift import DiffLift, _neighbors_exact, _neighbors_index
from topox_difflift.neighbors import knn


def embeddings(n_nodes: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_nodes, channels, generator=generator)


def lift(hops: int | None, domain: str, data: Data) -> DiffLift:
    torch.manual_seed(0)
    return DiffLift(domain, hops=hops, in_channels=3, hidden_channels=8).double().eval()(data)


def ring_of(n_nodes: int, seed: int = 0) -> Data:
    ring = torch.arange(n_nodes)
    edge_index = to_undirected(torch.stack([ring, ring.roll(-1)]))
    return Data(x=embeddings(n_nodes, 3, seed).double(), edge_index=edge_index)


@pytest.mark.parametrize("domain", ["hypergraph", "simplicial", "cell", "combinatorial"])
def test_a_lifting_within_reach_of_everything_is_the_lifting(domain: str) -> None:
    data = Batch.from_data_list([ring_of(9), ring_of(6, seed=1)])
    near, anywhere = lift(4, domain, data), lift(None, domain, data)
    for rank in range(1, len(near.num_cells)):
        assert near.cells(rank) == anywhere.cells(rank)


def test_learned_edges_join_nodes_within_reach() -> None:
    data = ring_of(20)
    original = lift(1, "cell", data)
    assert original.num_cells[1] == 20
    learned = lift(2, "cell", data).cells(1)
    steps = {min((u - v) % 20, (v - u) % 20) for u, v in learned}
    assert steps == {1, 2}
    assert max(min((u - v) % 20, (v - u) % 20) for u, v in lift(None, "cell", data).cells(1)) > 2


def test_hyperedges_hold_nodes_within_reach() -> None:
    for cell in lift(1, "hypergraph", ring_of(20)).cells(1):
        assert len(cell) <= 3
        assert any({node, (node + 1) % 20, (node - 1) % 20} >= set(cell) for node in cell)


@pytest.mark.parametrize("hops", [0, -1, 1.5, True, "two"])
def test_hops_are_checked(hops: object) -> None:
    with pytest.raises(ValueError, match="'hops' to be an integer of at least 1, or None"):
        DiffLift(hops=hops)  # type: ignore[arg-type]


def test_hops_are_shown() -> None:
    assert "hops" not in repr(DiffLift())
    assert repr(DiffLift(hops=2)).endswith("near_misses=3, hops=2)")


@pytest.fixture
def faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs of more than 100 nodes be big."""
    pytest.importorskip("faiss", reason="faiss, an optional package, is not installed")
    monkeypatch.setattr(_neighbors_exact, "_BIG", 100)


def batch_of(*sizes: int) -> Tensor:
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.usefixtures("faiss")
def test_a_flat_index_finds_the_same(dtype: torch.dtype, include_self: bool) -> None:
    batch = batch_of(7, 400, 1, 90, 130)
    # Far from the origin, and few ties: up to as many as an index is asked for beyond k.
    z = 100 + (embeddings(len(batch), 5).to(dtype) * 8).round() / 8
    found = knn(z, batch, 6, include_self=include_self, index=L2KNNIndex())
    assert torch.equal(found, knn(z, batch, 6, include_self=include_self))


@pytest.mark.usefixtures("faiss")
def test_an_index_finds_all_there_are() -> None:
    z, batch = embeddings(120, 3), batch_of(120)
    assert torch.equal(knn(z, batch, 130, index=L2KNNIndex()), knn(z, batch, 130))


@pytest.mark.usefixtures("faiss")
def test_every_graph_has_an_index_of_its_own() -> None:
    sizes = [300, 20, 500]
    z, batch, index = embeddings(820, 4), batch_of(*sizes), KNNIndex("IVF8,Flat")
    together, first = knn(z, batch, 5, index=index), 0
    for size in sizes:
        nodes = slice(first, first + size)
        alone = knn(z[nodes], batch[nodes] * 0, 5, index=index)
        assert torch.equal(torch.where(alone >= 0, alone + first, -1), together[nodes])
        first += size
    assert index.index is None
    # It misses some, or this test says nothing.
    assert not torch.equal(together, knn(z, batch, 5))


@pytest.mark.usefixtures("faiss")
def test_an_index_that_misses_some() -> None:
    z, batch = embeddings(900, 8), batch_of(400, 500)
    found = knn(z, batch, 40, index=KNNIndex("IVF20,Flat"))
    none = found < 0
    assert found.dtype == torch.int64
    assert bool(none.any())
    assert bool((none.long().diff(dim=1) >= 0).all())  # only at the end
    node = torch.arange(900).unsqueeze(1).expand_as(found)
    assert bool((batch[found] == batch[node])[~none].all())
    assert bool((found != node).all())
    distance = torch.linalg.vector_norm(z[found] - z[node], dim=2).masked_fill(none, torch.inf)
    assert bool((distance[:, 1:] >= distance[:, :-1] - 1e-4).all())
    for row in found.tolist():
        there = [other for other in row if other >= 0]
        assert len(set(there)) == len(there)
    exact = knn(z, batch, 40)
    recall = (found.unsqueeze(2) == exact.unsqueeze(1)).any(2).double().mean()
    assert 0.1 < recall < 0.9


def big_ring(n_nodes: int) -> Data:
    data = ring_of(n_nodes)
    return Data(x=data.x.float(), edge_index=data.edge_index)


@pytest.mark.usefixtures("faiss")
def test_a_lifting_searches_by_an_index() -> None:
    data = Batch.from_data_list([big_ring(150), big_ring(20)])
    torch.manual_seed(0)
    exact = DiffLift("hypergraph", in_channels=3).eval()
    torch.manual_seed(0)
    filled = L2KNNIndex(torch.ones(3, 2))
    flat = DiffLift("hypergraph", in_channels=3, search=filled).eval()
    assert repr(flat).endswith("search=L2KNNIndex)")
    assert exact(data).cells(1) == flat(data).cells(1)
    for other in (copy.deepcopy(flat), pickle.loads(pickle.dumps(flat))):
        assert other(data).cells(1) == flat(data).cells(1)
    assert filled.numel == 3
    torch.manual_seed(0)
    coarse = DiffLift("hypergraph", in_channels=3, search=KNNIndex("IVF8,Flat")).eval()
    assert coarse(data).cells(1) != exact(data).cells(1)
    DiffLift("cell", in_channels=3, search="faiss")(data).incidence_1.sum().backward()


@pytest.mark.usefixtures("faiss")
def test_an_approximate_index_of_pyg_is_taken() -> None:
    assert isinstance(DiffLift(search=ApproxL2KNNIndex(4, 2, 2)).index, ApproxL2KNNIndex)
    assert isinstance(DiffLift(search="faiss").index, L2KNNIndex)
    with pytest.raises(ValueError, match=r"'search' to be 'exact', .*Euclidean .*MIPSKNNIndex"):
        DiffLift(search=MIPSKNNIndex())
    with pytest.raises(ValueError, match=r"'search' to be 'exact' with 'hops' .*'faiss' and 2"):
        DiffLift(search="faiss", hops=2)


@pytest.mark.parametrize("search", ["fast", None, 3])
def test_search_is_checked(search: object) -> None:
    with pytest.raises(ValueError, match=r"'search' to be 'exact', 'faiss', or an index"):
        DiffLift(search=search)  # type: ignore[arg-type]


def test_faiss_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbors_index.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'topox-difflift\[faiss\]'"):
        DiffLift(search="faiss")
