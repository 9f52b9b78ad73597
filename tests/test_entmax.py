"""Entmax: the estimator, the neighbourhoods, and DCM's rule made of them."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

pytest.importorskip("entmax", reason='needs the extra "dcm"')

from topox_difflift import DiffLift
from topox_difflift.domains import DCM
from topox_difflift.entmax import entmax
from topox_difflift.estimators import Entmax
from topox_difflift.neighbors import knn
from topox_difflift.proximity import EntmaxSupport, search
from topox_difflift.testing import assert_same, check_batch, check_gradient, loss_of

pytestmark = pytest.mark.laws

ALPHAS = [1.25, 1.5, 2.0, 3.0]


def bisection(scores: torch.Tensor, alpha: float) -> torch.Tensor:
    """Entmax of one row: p = [(alpha - 1) s - tau]_+ ^ (1 / (alpha - 1)) with total 1."""
    scaled = (alpha - 1) * scores
    low, high = scaled.max() - 1, scaled.max()
    for _ in range(100):
        tau = (low + high) / 2
        total = (scaled - tau).clamp(min=0).pow(1 / (alpha - 1)).sum()
        low, high = (tau, high) if total >= 1 else (low, tau)
    return (scaled - low).clamp(min=0).pow(1 / (alpha - 1))


@st.composite
def groups(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    group = torch.repeat_interleave(2 * torch.arange(len(sizes)), torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator)]
    logits = torch.randn(len(group), generator=generator, dtype=torch.float64)
    return draw(st.sampled_from([0.3, 1.0, 5.0])) * logits, group


@settings(deadline=None)
@given(groups(), st.sampled_from(ALPHAS))
def test_probabilities_of_each_group(case, alpha):
    logits, group = case
    found = Entmax(alpha).accept(logits, group=group)
    for each in group.unique():
        mine = group == each
        expected = bisection(logits[mine], alpha)
        torch.testing.assert_close(found.prob[mine], expected, rtol=1e-6, atol=1e-9)
        clear = (expected > 1e-9) | (expected == 0)
        assert torch.equal(found.accepted[mine][clear], (expected > 0)[clear])
        assert bool(found.accepted[mine].any())
    assert torch.equal(found.accepted, found.prob > 0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradient(alpha):
    logits = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    group = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 2, 1, 0, 3])
    mine = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Entmax(alpha).accept(x, group=group).prob, mine)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_extreme_logits(alpha, dtype):
    logits = torch.tensor([1e30, -1e30, 1e4, 0, -1e4], dtype=dtype, requires_grad=True)
    group = torch.tensor([0, 0, 1, 1, 1])
    acceptance = Entmax(alpha).accept(logits, group=group)
    assert acceptance.prob.tolist() == [1, 0, 1, 0, 0]
    acceptance.mask().sum().backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_groups_of_very_unlike_size_are_not_padded_to_the_largest():
    group = torch.cat([torch.zeros(4000).long(), torch.arange(1, 4001)])
    held = []

    def pack(tensor):
        held.append(tensor.numel())
        return tensor

    logits = torch.randn(8000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        prob = Entmax().accept(logits, group=group).prob
    torch.testing.assert_close(prob[4000:], torch.ones(4000))
    assert sum(held) < 30 * len(logits)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rows_without_anything(alpha):
    scores = torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]], requires_grad=True)
    prob = entmax(scores, alpha)
    assert prob.tolist() == [[1, 0], [0, 0]]
    prob.sum().backward()
    assert bool(torch.isfinite(scores.grad).all())
    assert entmax(scores[:0], alpha).shape == (0, 2)


@pytest.mark.parametrize("make", [Entmax, DCM])
@pytest.mark.parametrize("alpha", [1, 0.5, float("nan"), float("inf")])
def test_impossible_alpha(make, alpha):
    with pytest.raises(ValueError, match="'alpha' to be greater than 1"):
        make(alpha)


@pytest.mark.parametrize("make", [Entmax, DCM])
def test_missing_package_names_its_extra(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "entmax", None)
    with pytest.raises(ImportError, match=r"topox-difflift\[dcm\]"):
        make()


# ------------------------------------------------------------------ neighbourhoods


def embeddings(n=40, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(n, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_support_is_that_over_all_nodes_where_it_is_small(alpha):
    z, k_max = embeddings(scale=2.0), 12
    rule = EntmaxSupport(k_max, alpha).double()
    torch.nn.init.constant_(rule.log_scale, 0.4)
    batch = torch.zeros(len(z), dtype=torch.long)
    found = search(
        z, batch, 1, rule, None,
        include_self=False, sample=True, two_sided=True, near_misses=3, generator=None,
    )  # fmt: skip
    scores = -rule.log_scale.exp().detach() * torch.cdist(z, z).square() / 4
    scores.fill_diagonal_(-torch.inf)
    small = 0
    for v in range(len(z)):
        whole = bisection(scores[v], alpha)
        taken = set(found.index[v][found.taken[v]].tolist())
        if int((whole > 0).sum()) <= k_max:
            small += 1
            assert taken == set(whole.nonzero().flatten().tolist())
            torch.testing.assert_close(
                found.prob[v], whole[found.index[v]], rtol=1e-6, atol=1e-8, check_dtype=False
            )
        else:
            assert len(taken) == k_max
    assert small > 20
    assert torch.equal(found.listed, found.taken)
    assert float(rule.expected_size(found)) == float(found.taken.sum()) / len(z)


def test_gradient_of_neighbourhoods():
    z = embeddings(9).requires_grad_()
    rule = EntmaxSupport(5, 1.5).double()
    index = knn(z.detach(), torch.zeros(9, dtype=torch.long), 5)

    def prob(z, scale):
        return torch.func.functional_call(rule, {"log_scale": scale}, (z, index, False))[1]

    scale = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prob, (z, scale))


# ------------------------------------------------------------------ the whole rule


def ring(n, seed, dtype=torch.float64):
    nodes = torch.arange(n)
    arcs = torch.stack([nodes, nodes.roll(-1)])
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Data(x=x.to(dtype), edge_index=torch.cat([arcs, arcs.flip(0)], dim=1))


def make(**options):
    torch.manual_seed(0)
    options = {"in_channels": 3, "hidden_channels": 16, "memberships": "hard"} | options
    return DiffLift(DCM(), estimator="entmax", **options).double()


@pytest.mark.parametrize("rejected", ["keep", "drop"])
def test_laws_of_the_whole_rule(rejected):
    lift, graphs = make(rejected=rejected), [ring(n, n) for n in (9, 12, 7)]
    check_gradient(lift, Batch.from_data_list(graphs))
    check_batch(lift, graphs)
    assert_same(lift(graphs[0]).accepted(), lift.eval()(graphs[0]))  # nothing is random


def test_cells_are_those_of_the_rule():
    """By brute force: who takes whom, all short induced cycles, and their support."""
    lift, data = make(k_max=4), ring(10, 3)
    torch.nn.init.constant_(lift.sizes["1"].log_scale, 3.0)
    with torch.no_grad():
        lift.scorers["2"].rho.lins[-1].weight.mul_(3000)
    lifted = lift(data)
    z = lift.encoder(data.x, data.edge_index, torch.zeros(10).long()).detach()
    scores = -lift.sizes["1"].log_scale.exp().detach() * torch.cdist(z, z).square() / z.size(1)
    scores.fill_diagonal_(-torch.inf)
    p = torch.zeros(10, 10, dtype=torch.float64)
    for v in range(10):
        nearest = scores[v].topk(4).indices
        p[v, nearest] = bisection(scores[v, nearest], 1.5)
    edges = {(v, u) for v in range(10) for u in range(v) if p[v, u] > 0 or p[u, v] > 0}
    edges = {(u, v) for v, u in edges} | {(v, u) for v, u in data.edge_index.t().tolist() if v < u}
    assert set(lifted.cells(1)) == edges
    assert 10 < len(edges) < 26
    for (u, v), prob in zip(lifted.cells(1), lifted.prob_1.tolist(), strict=True):
        original = abs(u - v) in (1, 9)
        either = float(p[u, v] + (1 - p[u, v]) * p[v, u])
        assert prob == pytest.approx(1 if original else either)
    polygons = set()
    around = {v: {u for edge in edges for u in edge if v in edge and u != v} for v in range(10)}
    for a in range(10):
        for b in around[a]:
            polygons |= {frozenset((a, b, c)) for c in around[a] & around[b]}
            for c in around[b] - around[a] - {a}:
                others = around[c] & around[a]
                polygons |= {frozenset((a, b, c, d)) for d in others if d not in around[b] | {b}}
    assert {frozenset(cell) for cell in lifted.cells(2)} == polygons
    assert bool((lifted.mask_2 == (lifted.prob_2 > 0)).all())
    assert 0 < int(lifted.mask_2.sum()) < len(polygons)
    assert float(lifted.prob_2.detach().sum()) == pytest.approx(1)


def test_gradient_reaches_the_embeddings_through_the_pairs_alone():
    lift = make(max_rank=1)
    lifted = lift(ring(12, 0))
    assert list(lift.scorers) == []
    loss_of(lifted).backward()
    assert float(lift.sizes["1"].log_scale.grad.abs()) > 0
    grads = [p.grad for p in lift.encoder.parameters()]
    assert all(bool(torch.isfinite(grad).all()) and bool(grad.any()) for grad in grads)
    learned = lifted.prob_1 < 1
    assert bool(learned.any())
    assert bool((lifted.mask_1 == 1).all())


def test_regularization():
    lift = make()
    lifted = lift(Batch.from_data_list([ring(9, 0), ring(7, 1)]))
    terms = lift.regularization()
    p = torch.cat([lifted.prob_1, lifted.prob_2]).detach()
    n_edges, n_learned = 9 + 7, int(lifted.candidates_1.sum() + lifted.candidates_2.sum())
    assert len(p) == n_edges + n_learned
    torch.testing.assert_close(terms["expected_cells"].detach(), (p.sum() - n_edges) / 2)
    entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum() / n_learned
    torch.testing.assert_close(terms["entropy"].detach(), entropy)
    assert 1 <= float(terms["expected_size"]) <= 5
    (terms["entropy"] + terms["expected_cells"]).backward()
    assert all(bool(torch.isfinite(q.grad).all()) for q in lift.encoder.parameters())
