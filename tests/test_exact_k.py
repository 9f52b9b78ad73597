"""Exactly k cells: marginals, draws and gradients against the enumeration of all subsets."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from topox_difflift import DOMAINS, DiffLift
from topox_difflift.domains import Cell
from topox_difflift.estimators import ExactK

pytestmark = pytest.mark.laws

LOGITS = torch.tensor([0.3, -1.2, 2.0, 0.9, -0.4], dtype=torch.float64)


def subsets(logits, k):
    """All subsets of min(k, n) candidates as rows of zeros and ones, with their probabilities."""
    chosen = list(itertools.combinations(range(len(logits)), min(k, len(logits))))
    rows = torch.zeros(len(chosen), len(logits), dtype=logits.dtype)
    for row, members in zip(rows, chosen, strict=True):
        row[list(members)] = 1
    return rows, torch.softmax(rows @ logits, 0)


def marginals(logits, k):
    rows, prob = subsets(logits, k)
    return prob @ rows


@st.composite
def groups(draw):
    """Logits of a few groups in any order, and k."""
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    group = torch.repeat_interleave(3 * torch.arange(len(sizes)), torch.tensor(sizes).long())
    group = group[torch.randperm(len(group), generator=generator)]
    logits = 3 * torch.randn(len(group), generator=generator, dtype=torch.float64)
    return logits, group, draw(st.integers(1, 9))


@settings(deadline=None)
@given(groups())
def test_marginals_and_their_gradient(case):
    logits, group, k = case
    logits.requires_grad_()
    found = ExactK(k).accept(logits, group=group).prob
    expected = torch.zeros_like(found)
    for each in group.unique():
        mine = group == each
        expected = expected.masked_scatter(mine, marginals(logits[mine], k))
    torch.testing.assert_close(found, expected)
    weight = torch.linspace(-1, 1, len(logits), dtype=logits.dtype)
    grads = [torch.autograd.grad((prob * weight).sum(), logits)[0] for prob in (found, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_gradcheck(k):
    logits = torch.randn(11, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    group = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 2, 1, 0])
    mine = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ExactK(k).accept(x, group=group).prob, mine)


@settings(deadline=None)
@given(groups(), st.booleans())
def test_exactly_k_and_never_none(case, training):
    logits, group, k = case
    accepted = ExactK(k).train(training).accept(logits, group=group).accepted
    for each in group.unique():
        mine = group == each
        assert int(accepted[mine].sum()) == min(k, int(mine.sum()))
        if not training:
            least = logits[mine & accepted].min()
            assert not bool((logits[mine & ~accepted] > least).any())


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_subsets_are_drawn_as_often_as_they_are_probable(k):
    n_draws = 40_000
    group = torch.arange(n_draws).repeat_interleave(5)
    generator = torch.Generator().manual_seed(k)
    accepted = ExactK(k).accept(LOGITS.repeat(n_draws), generator, group).accepted
    drawn = accepted.view(n_draws, 5).double()
    rows, prob = subsets(LOGITS, k)
    frequency = (drawn.unsqueeze(1) == rows).all(2).double().mean(0)
    assert float(frequency.sum()) == pytest.approx(1)
    error = (prob * (1 - prob) / n_draws).sqrt()
    assert bool(((frequency - prob).abs() < 4 * error).all())


def test_no_candidate():
    nothing = torch.zeros(0, requires_grad=True)
    acceptance = ExactK(2).accept(nothing, group=torch.zeros(0, dtype=torch.long))
    assert acceptance.prob.shape == acceptance.accepted.shape == (0,)
    acceptance.mask().sum().backward()


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_impossible_k(k):
    with pytest.raises(ValueError, match="'k' to be an integer of at least 1"):
        ExactK(k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_extreme_logits(dtype):
    for scale in (1e2, 1e4, 1e30):
        logits = scale * torch.tensor([-1, 1, 0.5, -1, 1, 0.25, -0.5], dtype=dtype)
        logits.requires_grad_()
        acceptance = ExactK(3).accept(logits)
        assert acceptance.prob.dtype == dtype
        expected = torch.tensor([0, 1, 1, 0, 1, 0, 0], dtype=dtype)
        torch.testing.assert_close(acceptance.prob, expected)
        assert torch.equal(acceptance.accepted, expected > 0)
        (grad,) = torch.autograd.grad(acceptance.mask()[1], logits)
        assert bool(torch.isfinite(grad).all())


def test_what_is_decided_among_certain_ones():
    """Two that are surely in and one of two equal ones, far above the others."""
    logits = torch.tensor([1e6, 5.0, -1e6, 5.0, 1e7, -3e7])
    prob = ExactK(3).accept(logits).prob
    torch.testing.assert_close(prob, torch.tensor([1, 0.5, 0, 0.5, 1, 0]))


def test_float32_is_near_float64():
    logits = 5 * torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prob = [ExactK(20).accept(logits.to(dtype)).prob for dtype in (torch.float32, torch.float64)]
    torch.testing.assert_close(prob[0].double(), prob[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sizes", [[20_000], [100] * 200, [1] * 10_000 + [10_000]])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_memory_is_linear_in_candidates_times_k(sizes, k):
    held = []
    logits = torch.randn(20_000, requires_grad=True)
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def pack(tensor):
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ExactK(k).accept(logits, group=group)
    assert sum(held) < 30 * (k + 1) * len(logits)


# ------------------------------------------------------------------ bias


def estimate(logits, k, loss):
    """E[sum_i dL/db_i dmu_i/dlogits] over all subsets."""
    rows, prob = subsets(logits.detach(), k)
    rows.requires_grad_()
    (slopes,) = torch.autograd.grad(loss(rows).sum(), rows)
    return torch.autograd.grad(prob @ slopes @ marginals(logits, k), logits)[0]


def exact(logits, k, loss):
    rows, prob = subsets(logits, k)
    return torch.autograd.grad(prob @ loss(rows), logits)[0]


def test_unbiased_for_losses_affine_in_all_gates_together():
    logits = LOGITS.clone().requires_grad_()
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.1], dtype=torch.float64)

    def loss(b):
        return b @ weight + 7

    found, expected = estimate(logits, 2, loss), exact(logits, 2, loss)
    torch.testing.assert_close(found, expected)
    assert float(expected.abs().max()) > 0.1


def test_bias_as_stated():
    logits = LOGITS[:2].clone().requires_grad_()
    mu = marginals(logits, 1)
    (slope,) = torch.autograd.grad(mu[0], logits)
    mu = mu.detach()

    def curved(b):
        return (b[:, 0] - 0.4) ** 2

    torch.testing.assert_close(estimate(logits, 1, curved), 2 * (mu[0] - 0.4) * slope)
    torch.testing.assert_close(exact(logits, 1, curved), (1 - 2 * 0.4) * slope)

    def product(b):
        return b[:, 0] * b[:, 1]

    torch.testing.assert_close(estimate(logits, 1, product), (mu[1] - mu[0]) * slope)
    torch.testing.assert_close(exact(logits, 1, product), 0 * slope)


def test_draws_average_to_the_expectation():
    """The estimator itself, not only its formula."""
    n_draws = 100_000
    logits = LOGITS[:3].repeat(n_draws).requires_grad_()
    group = torch.arange(n_draws).repeat_interleave(3)

    def loss(b):
        return (b @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) - 0.4) ** 2

    mask = ExactK(2).accept(logits, torch.Generator().manual_seed(0), group).mask()
    loss(mask.view(n_draws, 3)).sum().backward()
    samples = logits.grad.view(n_draws, 3)
    expected = estimate(LOGITS[:3].clone().requires_grad_(), 2, loss)
    error = samples.std(0) / n_draws**0.5
    assert bool(((samples.mean(0) - expected).abs() < 4 * error).all())


# ------------------------------------------------------------------ in a lifting


def strips():
    """Rings of triangles of unlike size, and a node on its own."""
    graphs = []
    for n in (9, 7, 1):
        ring = torch.arange(n)
        arcs = torch.cat([torch.stack([ring, ring.roll(-step)]) for step in (1, 2)], dim=1)
        arcs = arcs[:, : 2 * n if n > 1 else 0]
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
        graphs.append(Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], dim=1)))
    return Batch.from_data_list(graphs)


@pytest.mark.parametrize("rejected", ["keep", "drop"])
@pytest.mark.parametrize("domain", list(DOMAINS))
def test_every_graph_gets_k_cells_of_every_rank(domain, rejected):
    torch.manual_seed(0)
    # Two learned edges close no cycle: the rings are what there is to choose from.
    made = Cell(rings="apart") if domain == "cell" else domain
    lift = DiffLift(made, estimator=ExactK(2), rejected=rejected, k_min=3)
    for training in (True, False):
        lifted = lift.train(training)(strips())
        for rank in range(1, lifted.max_rank + 1):
            if lift.domain.decides(rank):
                continue
            mine = lifted[f"mask_{rank}"].detach() > 0
            if rank == 1:  # the edges of the graph stay as well
                edges = {(v, u) for v, u in strips().edge_index.t().tolist() if v < u}
                mine &= torch.tensor([c not in edges for c in lifted.cells(1)])
            found = torch.bincount(lifted[f"batch_{rank}"][mine], minlength=3)
            proposed = lifted[f"candidates_{rank}"].tolist()
            assert found.tolist() == [min(2, n) for n in proposed]
            assert max(proposed) > 2
