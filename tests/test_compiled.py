"""Compiled loops against the tensor operations that they take over from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from topox_difflift import compiled, ragged
from topox_difflift.cliques import edge_ids
from topox_difflift.compiled import usable
from topox_difflift.cycles import unite
from topox_difflift.graph import _is_canonical, check_graph
from topox_difflift.neighborhoods import PairPattern
from topox_difflift.neighbors import squared_distances
from topox_difflift.sparse import matmul, sort_pairs, stable_order

pytest.importorskip("numba")

SETTINGS = settings(max_examples=40, deadline=None)
SIZES = st.lists(st.integers(0, 4), max_size=8)


def both(function, *arguments):
    """What compiled loops give, and what tensor operations give."""
    fast = function(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "numba_installed", lambda: False)
        return fast, function(*arguments)


def agree(function, *arguments):
    fast, slow = both(function, *arguments)
    assert fast.dtype == slow.dtype
    assert torch.equal(fast, slow)


def test_when_they_are_used(monkeypatch):
    numbers = torch.ones(3), torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.long)
    assert all(usable(x, x) for x in numbers)
    assert not usable(*numbers[:2])
    assert not any(usable(x.to(dtype)) for x in numbers for dtype in (torch.half, torch.bfloat16))
    assert not usable(torch.ones(3, device="meta"))
    monkeypatch.setattr(compiled, "numba_installed", lambda: False)
    assert not usable(numbers[0])


@SETTINGS
@given(sizes=SIZES, seed=st.integers(0, 999))
def test_ragged_rows(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(sizes, dtype=torch.long)
    agree(ragged.owners, sizes)
    some = torch.randperm(len(sizes), generator=generator)[: len(sizes) // 2]
    agree(ragged.take, sizes, some)


@SETTINGS
@given(keys=st.lists(st.integers(0, 3) | st.integers(0, 2**62), max_size=40))
def test_stable_order(keys):
    keys = torch.tensor(keys, dtype=torch.long)
    agree(stable_order, keys)
    assert torch.equal(stable_order(keys), torch.argsort(keys, stable=True))


@SETTINGS
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=20),
    ascending=st.booleans(),
)
def test_sorted_pairs(pairs, ascending):
    pairs = sorted(pairs, key=lambda pair: pair[1]) if ascending else pairs
    index = torch.tensor(pairs, dtype=torch.long).view(-1, 2).t()
    for fast, slow in zip(*both(sort_pairs, index, 5), strict=True):
        assert torch.equal(fast, slow)
        assert fast.is_contiguous()


@SETTINGS
@given(n=st.integers(1, 7), share=st.sampled_from([0.0, 0.4, 1.0]), seed=st.integers(0, 999))
def test_positions_of_edges(n, share, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(n, n, generator=generator).triu(1) > 1 - share).nonzero().t()
    u, v = torch.cartesian_prod(torch.arange(n), torch.arange(n)).t().view(2, n, n)
    agree(edge_ids, u, v, edges, n)


@pytest.mark.laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nnz", [0, 1, 30])
def test_products_and_their_gradients(nnz, dtype):
    generator = torch.Generator().manual_seed(0)
    index = torch.stack([torch.randint(high, (nnz,), generator=generator) for high in (5, 6)])
    values = torch.randn(nnz, generator=generator).to(dtype).requires_grad_()
    x = torch.randn(3, 6, generator=generator).to(dtype).t().requires_grad_()
    fast, slow = both(matmul, index, values, x, 5)
    torch.testing.assert_close(fast, slow)
    weight = torch.randn(5, 3, generator=generator).to(dtype)
    for got, wanted in zip(
        torch.autograd.grad((fast * weight).sum(), (values, x)),
        torch.autograd.grad((slow * weight).sum(), (values, x)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@SETTINGS
@given(
    n=st.integers(1, 6),
    arcs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8),
    undirected=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:'edge_index'")
def test_canonical_graphs_are_those_that_the_check_leaves_alone(n, arcs, undirected):
    edge_index = torch.tensor(arcs, dtype=torch.long).view(-1, 2).t() % n
    if undirected:
        edge_index = to_undirected(edge_index, num_nodes=n)
    batch = torch.arange(n) * 2 // n
    data = Data(x=torch.ones(n, 1), edge_index=edge_index, batch=batch)
    across = bool((batch[edge_index[0]] != batch[edge_index[1]]).any())
    if across:
        assert not _is_canonical(edge_index, batch)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "numba_installed", lambda: False)
        expected = check_graph(data).edge_index
    assert _is_canonical(edge_index, batch) == torch.equal(expected, edge_index)
    assert torch.equal(check_graph(data).edge_index, expected)


@pytest.mark.parametrize("outside", [-1, 3])
def test_an_index_outside_is_an_error(outside):
    """Loops would read what lies there."""
    index, inside, x = torch.tensor([0, outside]), torch.tensor([0, 1]), torch.ones(3, 2)
    for call in (
        lambda: ragged.take(torch.ones(3, dtype=torch.long), index),
        lambda: squared_distances(x, inside, index),
        lambda: matmul(torch.stack([inside, index]), torch.ones(2), x, 3),
        lambda: matmul(torch.stack([index, inside]), torch.ones(2), x, 3),
    ):
        with pytest.raises(IndexError, match="outside"):
            call()
    assert not _is_canonical(torch.stack([index, index.flip(0)]), torch.zeros(3, dtype=torch.long))


@SETTINGS
@given(sizes=SIZES, n_items=st.integers(1, 5), seed=st.integers(0, 999))
def test_pairs_of_entries_of_a_group(sizes, n_items, seed):
    generator = torch.Generator().manual_seed(seed)
    group = ragged.owners(torch.tensor(sizes, dtype=torch.long))
    item = torch.randint(n_items, group.shape, generator=generator)
    fast, slow = both(PairPattern.of, group, item, len(sizes), n_items)
    for name in ("index", "left", "right", "slot"):
        assert torch.equal(getattr(fast, name), getattr(slow, name))


CYCLES = st.lists(st.permutations(range(4)).flatmap(lambda v: st.sampled_from([v, v[:3]])))


@SETTINGS
@given(first=CYCLES, second=CYCLES)
def test_united_cycles(first, second):
    def flat(rows):
        sizes = torch.tensor([len(row) for row in rows], dtype=torch.long)
        return torch.tensor([v for row in rows for v in row], dtype=torch.long), sizes

    fast, slow = both(unite, flat(first), flat(second))
    assert all(map(torch.equal, fast, slow))
    assert len(fast[1]) == len({*map(tuple, first), *map(tuple, second)})
