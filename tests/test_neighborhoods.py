"""Neighborhoods against their dense, multilinear definition."""

from __future__ import annotations

import pytest
import torch
from random_complexes import DOMAINS, dense, random_complex
from toponetx import CellComplex

from topox_difflift.complex import LiftedComplex
from topox_difflift.neighborhoods import (
    GatedEntries,
    PairPattern,
    add_entries,
    empty_entries,
    magnitude,
    without_diagonal,
)

KINDS = ["adjacency", "coadjacency", "up_laplacian", "down_laplacian", "hodge_laplacian"]
ORIENTED = ["simplicial", "cell"]


def dense_weights(c, rank, signed):
    """Dense boundary without masks, differentiable in the memberships."""
    weights = c[f"membership_{rank}"]
    weights = weights * c[f"orientation_{rank}"] if signed else weights
    shape = (c.num_cells[rank - 1], c.num_cells[rank])
    return weights.new_zeros(shape).index_put(tuple(c[f"faces_{rank}"]), weights)


def dense_up(c, rank, signed):
    if rank == c.max_rank:
        return torch.zeros(c.num_cells[rank], c.num_cells[rank], dtype=c.x_0.dtype)
    w = dense_weights(c, rank + 1, signed)
    return w @ torch.diag(c[f"mask_{rank + 1}"]) @ w.T


def dense_down(c, rank, signed):
    if rank == 0:
        return torch.zeros(c.num_cells[0], c.num_cells[0], dtype=c.x_0.dtype)
    w, m = dense_weights(c, rank, signed), c[f"mask_{rank}"]
    both = m[:, None] * m[None]
    return (w.T @ w) * (both - torch.diag(both.diagonal()) + torch.diag(m))


def definition(c, kind, rank, signed):
    """The formula of the module, entry by entry, on dense matrices."""
    oriented = c.domain in ORIENTED
    sign = oriented if "laplacian" in kind else signed and c.domain == "simplicial"
    up, down = dense_up(c, rank, sign), dense_down(c, rank, sign)
    if "adjacency" in kind:
        value = down if kind.startswith("co") else up
        return value - torch.diag(value.diagonal())
    return {"up": up, "down": down, "hodge": up + down}[kind.split("_")[0]]


def signs(domain):
    return [False, True] if domain in ORIENTED else [False]


@pytest.mark.parametrize("domain", DOMAINS)
def test_values_and_gradients_equal_the_dense_definition(domain):
    for seed in range(15):
        c = random_complex(domain, seed, n_graphs=2, dtype=torch.float64, leaf=True)
        leaves = [c[f"{n}_{r}"] for n in ("mask", "membership") for r in range(1, c.max_rank + 1)]
        for kind in KINDS:
            for rank in range(c.max_rank + 1):
                for signed in signs(domain):
                    ours = dense(getattr(c, kind)(rank, signed=signed))
                    expected = definition(c, kind, rank, signed)
                    if domain in ORIENTED and not signed and "laplacian" in kind:
                        assert torch.equal(ours, expected.abs())
                        continue
                    assert torch.equal(ours, expected)
                    _assert_same_gradients(ours, expected, leaves)


def _assert_same_gradients(ours, expected, leaves):
    if not (ours.requires_grad and expected.requires_grad):
        assert ours.numel() == 0 or not ours.any()
        return
    probe = torch.rand(ours.shape, dtype=ours.dtype)
    pair = [
        torch.autograd.grad((m * probe).sum(), leaves, allow_unused=True, retain_graph=True)
        for m in (ours, expected)
    ]
    for leaf, first, second in zip(leaves, *pair, strict=True):
        first, second = (torch.zeros_like(leaf) if g is None else g for g in (first, second))
        assert torch.allclose(first, second)


@pytest.mark.parametrize("domain", ORIENTED)
def test_unsigned_laplacians_have_the_gradient_of_the_absolute_value(domain):
    for seed in range(10):
        c = random_complex(domain, seed, dtype=torch.float64, leaf=True)
        for kind in KINDS[2:]:
            for rank in range(c.max_rank + 1):
                unsigned, signed = (getattr(c, kind)(rank, signed=s) for s in (False, True))
                assert torch.equal(unsigned.indices(), signed.indices())
                if not unsigned.requires_grad:
                    continue
                u, s = unsigned.values(), signed.values()
                nonzero = s.detach() != 0
                probe = torch.rand_like(s) * nonzero
                for r in range(1, c.max_rank + 1):
                    a, b = (
                        torch.autograd.grad(
                            (v * probe).sum(), c[f"mask_{r}"], retain_graph=True, allow_unused=True
                        )[0]
                        for v in (u, s.abs())
                    )
                    assert (a is None and b is None) or torch.allclose(a, b)


def triangle(mask):
    """A triangle whose 2-cell is gated."""
    c = _filled_triangle()
    c["mask_2"] = mask
    return c


def _filled_triangle():
    cx = CellComplex()
    cx.add_cell([0, 1, 2], rank=2)
    return LiftedComplex.from_toponetx(cx)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["adjacency", "up_laplacian", "hodge_laplacian"])
def test_rejected_cells_receive_gradient(kind, signed):
    mask = torch.zeros(1, requires_grad=True)
    matrix = getattr(triangle(mask), kind)(1, signed=signed)
    row, column = matrix.indices()
    matrix.values()[row != column][0].backward()
    assert mask.grad is not None
    assert mask.grad.abs() == 1


def test_matrix_values_follow_the_gate():
    on, off = triangle(torch.ones(1)), triangle(torch.zeros(1))
    assert dense(on.adjacency_1).sum() == 6
    assert dense(off.adjacency_1).sum() == 0
    # Explicit zeros keep the pattern while a rejected cell is kept.
    assert torch.equal(on.adjacency_1.indices(), off.adjacency_1.indices())
    assert dense(off.coadjacency_2).shape == (1, 1)
    assert off.coadjacency_2.values().numel() == 0
    assert dense(off.down_laplacian_2).tolist() == [[0.0]]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_diagonal_in_the_pattern_of_adjacencies(domain):
    for seed in range(20):
        c = random_complex(domain, seed, n_graphs=3)
        for rank in range(c.max_rank + 1):
            for matrix in (c.adjacency(rank), c.coadjacency(rank)):
                row, column = matrix.indices()
                assert (row != column).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("domain", DOMAINS)
def test_dtype_is_that_of_the_gates(domain, dtype):
    c = random_complex(domain, 4, dtype=dtype)
    for rank in range(c.max_rank + 1):
        for kind in ["incidence", *KINDS]:
            assert getattr(c, kind)(rank).dtype == dtype


@pytest.mark.parametrize("domain", ORIENTED)
def test_boundaries_compose_to_zero(domain):
    for seed in range(20):
        c = random_complex(domain, seed, n_graphs=3).accepted()
        for rank in range(1, c.max_rank):
            product = dense(c.incidence(rank, True)) @ dense(c.incidence(rank + 1, True))
            assert not product.any()
            unsigned, signed = c.incidence(rank), c.incidence(rank, True)
            assert torch.equal(unsigned.indices(), signed.indices())


def test_pairs_equal_brute_force():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        group = torch.randint(0, 4, (9,), generator=generator).sort().values
        item = torch.randint(0, 5, (9,), generator=generator)
        pairs = PairPattern.of(group, item, 4, 5)
        expected = torch.zeros(5, 5)
        for i in range(9):
            for j in range(9):
                if group[i] == group[j]:
                    expected[item[i], item[j]] += 1
        total = pairs.total(torch.ones(pairs.left.numel()))
        got = torch.zeros(5, 5)
        got[tuple(pairs.index)] = total
        assert torch.equal(got, expected)
        assert torch.equal(group[pairs.left], group[pairs.right])


def test_empty_patterns():
    nothing = torch.empty(0, dtype=torch.long)
    pairs = PairPattern.of(nothing, nothing, 0, 0)
    assert pairs.index.shape == (2, 0)
    entries = empty_entries(3, torch.ones(1))
    assert dense(entries.matrix()).shape == (3, 3)
    assert dense(add_entries(entries, entries).matrix()).shape == (3, 3)
    assert dense(without_diagonal(magnitude(entries, entries)).matrix()).shape == (3, 3)


def test_magnitude_takes_the_sign_of_all_candidates_where_the_value_vanishes():
    values = torch.tensor([-2.0, 0.0, 0.0, 3.0], requires_grad=True)
    index = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    candidates = GatedEntries(index, torch.tensor([1.0, -1.0, 0.0, 3.0]), 2)
    out = magnitude(GatedEntries(index, values, 2), candidates).values
    assert out.tolist() == [2, 0, 0, 3]
    out.sum().backward()
    assert values.grad.tolist() == [-1, -1, 1, 1]
