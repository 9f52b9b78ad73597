"""How the search for neighbours is chosen: within a few hops, exactly, or by an index."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_undirected

from topox_difflift import DiffLift


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
