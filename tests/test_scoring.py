"""The acceptance network against its definition, cell by cell."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topox_difflift import compiled
from topox_difflift.candidates import CandidateCells
from topox_difflift.scoring import AGGREGATIONS, CellScorer
from topox_difflift.sparse import Segments, matmul

N = 7


@pytest.fixture(params=["compiled", "tensors"], autouse=True, scope="module")
def route(request):
    """Score by compiled loops, and by tensor operations alone."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tensors":
            patch.setattr(compiled, "numba_installed", lambda: False)
        else:
            pytest.importorskip("numba")
        yield request.param


def cells_of(members: list[list[int]], left_out: list[list[int]] | None = None) -> CandidateCells:
    """Candidates; the vertices `left_out` are listed with weight 0."""
    left_out = left_out or [[] for _ in members]
    pairs = list(zip(members, left_out, strict=True))
    weight = [w for inside, out in pairs for w in [1.0] * len(inside) + [0.0] * len(out)]
    return CandidateCells(
        torch.tensor([v for inside, out in pairs for v in inside + out], dtype=torch.long),
        torch.tensor([len(inside) + len(out) for inside, out in pairs], dtype=torch.long),
        torch.zeros(len(members), dtype=torch.long),
        torch.tensor(weight, dtype=torch.float64),
    )


def embeddings(seed: int = 0, channels: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, channels, generator=generator, dtype=torch.float64)


def make(**options: object) -> CellScorer:
    torch.manual_seed(0)
    return CellScorer(5, 6, **options).double()


def statistics(scorer: CellScorer, n_cells: int) -> torch.Tensor | None:
    """Some numbers for each cell, if the scorer sees any."""
    if not scorer.statistics:
        return None
    generator = torch.Generator().manual_seed(n_cells)
    return torch.rand(n_cells, scorer.statistics, generator=generator, dtype=torch.float64)


def by_definition(
    scorer: CellScorer, z: torch.Tensor, cell: list[int], seen: torch.Tensor | None = None
) -> torch.Tensor:
    rows = z[cell]
    inner = rows if scorer.phi is None else scorer.phi(rows)
    pool = {
        "mean": lambda x: x.mean(0),
        "sum": lambda x: x.sum(0),
        "max": lambda x: x.amax(0),
        # One set alone: no other, and no padding.
        "set_transformer": lambda x: scorer.attention(x, torch.zeros(len(x)).long())[0],
    }[scorer.aggregation](inner)
    if scorer.dispersion:
        spread = (rows - rows.mean(0)).square().sum(1).mean() / z.size(1)
        pool = torch.cat([pool, spread[None]])
    if seen is not None:
        pool = torch.cat([pool, seen.to(pool.dtype)])
    return scorer.rho(pool[None]).squeeze()


sets = st.lists(
    st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True), min_size=1, max_size=6
)


def all_by_definition(
    scorer: CellScorer, z: torch.Tensor, members: list[list[int]], seen: torch.Tensor | None
) -> torch.Tensor:
    rows = [None] * len(members) if seen is None else list(seen)
    return torch.stack(
        [by_definition(scorer, z, cell, row) for cell, row in zip(members, rows, strict=True)]
    )


@pytest.mark.parametrize("deep_set", [False, True])
@pytest.mark.parametrize("dispersion", [False, True])
@pytest.mark.parametrize("n_statistics", [0, 2])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@settings(max_examples=10, deadline=None)
@given(members=sets, seed=st.integers(0, 99))
def test_against_the_definition(aggregation, n_statistics, dispersion, deep_set, members, seed):
    scorer = make(
        aggregation=aggregation, dispersion=dispersion, deep_set=deep_set, statistics=n_statistics
    )
    z, seen = embeddings(seed), statistics(scorer, len(members))
    expected = all_by_definition(scorer, z, members, seen)
    torch.testing.assert_close(scorer(z, cells_of(members), seen), expected)


@pytest.mark.parametrize("deep_set", [False, True])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@settings(max_examples=10, deadline=None)
@given(members=sets, seed=st.integers(0, 99))
def test_order_of_members_and_of_cells(aggregation, deep_set, members, seed):
    scorer, z = make(aggregation=aggregation, deep_set=deep_set), embeddings(seed)
    turned = [cell[::-1] for cell in members[::-1]]
    torch.testing.assert_close(
        scorer(z, cells_of(members)), scorer(z, cells_of(turned)).flip(0), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_members_that_the_size_leaves_out_are_not_seen(aggregation):
    scorer, z = make(aggregation=aggregation), embeddings()
    plain, listed = cells_of([[0, 1], [2]]), cells_of([[0, 1], [2]], left_out=[[5], [3, 4]])
    assert torch.equal(scorer(z, plain), scorer(z, listed))
    assert listed.members()[0].tolist() == [0, 1, 2]
    assert listed.members()[1].tolist() == [2, 1]


@pytest.mark.parametrize("deep_set", [False, True])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("in_channels", [5, -1])
@pytest.mark.parametrize("n_statistics", [0, 2])
def test_no_candidate(n_statistics, in_channels, aggregation, deep_set):
    options = {"aggregation": aggregation, "deep_set": deep_set, "statistics": n_statistics}
    scorer = CellScorer(in_channels, 6, **options).double()
    z = embeddings().requires_grad_()
    logits = scorer(z, cells_of([]), statistics(scorer, 0))
    assert logits.shape == (0,)
    logits.sum().backward()
    assert bool(torch.isfinite(z.grad).all())
    # It has learned its width all the same.
    assert scorer(z, cells_of([[0, 1]]), statistics(scorer, 1)).shape == (1,)


@pytest.mark.parametrize("deep_set", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_acceptance_starts_near_its_prior(scale, deep_set):
    members = [[a, b] for a in range(N) for b in range(a)]
    probs = []
    for seed in range(5):
        torch.manual_seed(seed)
        scorer = CellScorer(64, 64, deep_set=deep_set).double()
        z = scale * embeddings(seed, channels=64)
        probs.append(torch.sigmoid(scorer(z, cells_of(members))).detach())
    assert float(torch.stack(probs).mean()) == pytest.approx(0.73, abs=0.03)
    assert bool((torch.stack(probs) > 0.5).all())


def test_dispersion_tells_tight_from_loose():
    scorer = make()
    members = cells_of([[0, 1, 2], [3, 4, 5]])
    z = torch.zeros(N, 5, dtype=torch.float64)
    z[3], z[4] = 1, -1
    # Both cells have the same mean, zero.
    tight, loose = scorer(z, members)
    assert float((tight - loose).detach().abs()) > 1e-5  # the last weights start small
    blind = make(dispersion=False)(z, members)
    assert torch.equal(blind[0], blind[1])


def test_dispersion_of_equal_members_has_a_finite_gradient():
    z = torch.ones(N, 5, dtype=torch.float64, requires_grad=True)
    make()(z, cells_of([[0, 1], [2, 3, 4]])).sum().backward()
    assert bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("deep_set", [False, True])
def test_gradient(aggregation, deep_set):
    scorer = make(aggregation=aggregation, deep_set=deep_set)
    members = cells_of([[0, 1, 2], [3], [2, 4]])
    z = embeddings().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: scorer(z, members), (z,))


@pytest.mark.laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("deep_set", [False, True])
@pytest.mark.parametrize("n_statistics", [0, 2])
def test_every_gradient_is_that_of_the_definition(n_statistics, deep_set, aggregation, dtype):
    scorer = make(aggregation=aggregation, deep_set=deep_set, statistics=n_statistics).to(dtype)
    members = [[0, 1], [2, 6], [3], [2, 4, 1, 0], [5, 0]]
    z = embeddings().to(dtype).t().contiguous().t().requires_grad_()
    # From unlike weights, so that every relu is at work.
    scale = [torch.randn_like(p) for p in scorer.parameters()]
    torch.nn.utils.vector_to_parameters(
        torch.cat([p.flatten() for p in scale]), scorer.parameters()
    )
    seen = statistics(scorer, len(members))
    expected = all_by_definition(scorer, z, members, seen)
    found = scorer(z, cells_of(members), None if seen is None else seen.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)
    weight = torch.arange(1, 6).to(dtype)
    inputs = [z, *scorer.parameters()]
    for got, wanted in zip(
        torch.autograd.grad(found @ weight, inputs),
        torch.autograd.grad(expected @ weight, inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_half_precision_goes_by_tensor_operations():
    scorer, z = make().float(), embeddings().float()
    with torch.autocast("cpu", torch.bfloat16):
        assert scorer(z, cells_of([[0, 1], [2, 3, 4]])).dtype == torch.bfloat16


@pytest.mark.parametrize("sizes", [[2, 0, 3, 1], [0], [], [6], [0, 0, 6]])
def test_sum_of_segments(sizes):
    sizes = torch.tensor(sizes, dtype=torch.long)
    index = torch.randint(N, (int(sizes.sum()),), generator=torch.Generator().manual_seed(0))
    z = embeddings().requires_grad_()
    found = Segments(index, sizes, len(z)).sum(z)
    assert found.shape == (len(sizes), 5)
    for row, part in zip(found, index.split(sizes.tolist()), strict=True):
        torch.testing.assert_close(row, z[part].sum(0))
    assert torch.autograd.gradcheck(lambda z: Segments(index, sizes, len(z)).sum(z), (z,))


@pytest.mark.parametrize("nnz", [0, 1, 9])
def test_matmul(nnz):
    generator = torch.Generator().manual_seed(0)
    index = torch.stack(
        [torch.randint(high, (nnz,), generator=generator) for high in (4, N)]
    )  # repeats add up
    values = torch.randn(nnz, generator=generator, dtype=torch.float64, requires_grad=True)
    z = embeddings().requires_grad_()
    dense = torch.zeros(4, N, dtype=torch.float64).index_put(tuple(index), values, accumulate=True)
    torch.testing.assert_close(matmul(index, values, z, 4), dense @ z)
    assert torch.autograd.gradcheck(lambda values, z: matmul(index, values, z, 4), (values, z))
    assert torch.autograd.gradgradcheck(lambda values, z: matmul(index, values, z, 4), (values, z))
