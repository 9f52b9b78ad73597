"""The score function estimate against the exact gradient, by enumeration of all draws."""

import itertools

import pytest
import torch
from torch_geometric.data import Batch, Data

from topox_difflift import DiffLift, Estimator
from topox_difflift.estimators import (
    Acceptance,
    ScoreFunction,
    StraightThrough,
    leave_one_out,
    repeat_graphs,
)

pytestmark = pytest.mark.laws

LOGITS = torch.tensor([-1.0, 0.3, 1.5], dtype=torch.float64)
N_DRAWS, N_GRAPHS = 3, 40_000


def curved(b, theta):
    """A loss that is curved in the gates and in a parameter, and far from 0."""
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return (b @ weight - theta) ** 2 + b.prod(-1) + 5


def drawn():
    """Independent draws, with what is to be differentiated."""
    shape = (N_DRAWS, N_GRAPHS, 3)
    logits = LOGITS.expand(shape).clone().requires_grad_()
    theta = torch.full(shape[:2], 0.4, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    acceptance = ScoreFunction().accept(logits.flatten(), generator)
    losses = curved(acceptance.mask().view(shape), theta)
    return logits, theta, losses, acceptance.log_prob.view(shape).sum(-1)


def exact():
    """Gradient of the expected loss to the logits and to theta."""
    logits = LOGITS.clone().requires_grad_()
    theta = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    p = logits.sigmoid()
    prob = torch.where(bits > 0, p, 1 - p).prod(-1)
    return torch.autograd.grad(prob @ curved(bits, theta), (logits, theta))


def test_unbiased():
    logits, theta, losses, log_prob = drawn()
    loss = leave_one_out(losses, log_prob)
    torch.testing.assert_close(loss, losses.mean())
    for found, expected in zip(torch.autograd.grad(loss, (logits, theta)), exact(), strict=True):
        samples = found.sum(0) * N_GRAPHS  # what each graph alone would have given
        error = samples.std(0) / N_GRAPHS**0.5
        assert bool(((samples.mean(0) - expected).abs() < 4 * error).all())
        assert float(expected.abs().max()) > 20 * float(error.max())  # a bias would be seen


def test_baseline_lowers_the_variance():
    logits, _, losses, log_prob = drawn()
    with_it = torch.autograd.grad(leave_one_out(losses, log_prob), logits, retain_graph=True)[0]
    plain = torch.autograd.grad((losses.detach() * log_prob).mean(), logits)[0]
    for mean in zip(with_it.sum((0, 1)), plain.sum((0, 1)), strict=True):
        assert float(mean[0]) == pytest.approx(float(mean[1]), abs=0.2)
    assert bool((with_it.sum(0).std(0) < 0.6 * plain.sum(0).std(0)).all())


def test_gates_have_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    for training in (True, False):
        acceptance = ScoreFunction().train(training).accept(logits)
        assert not acceptance.mask().requires_grad
        assert acceptance.prob.requires_grad
        assert (acceptance.log_prob is not None) == training
    assert acceptance.accepted.tolist() == [False, True, True]


def test_draws_are_those_of_straight_through():
    accepted = [
        estimator.accept(LOGITS.repeat(50), torch.Generator().manual_seed(3)).accepted
        for estimator in (ScoreFunction(), StraightThrough())
    ]
    assert torch.equal(*accepted)


def test_saturated_logits_are_finite():
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    log_prob = ScoreFunction().accept(logits, torch.Generator().manual_seed(0)).log_prob
    assert log_prob.tolist() == [0, 0]
    log_prob.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("shapes", [((1, 5), (1, 5)), ((3, 5), (5, 3)), ((6,), (6,))])
def test_impossible_shapes(shapes):
    with pytest.raises(ValueError, match=r"'losses' and 'log_prob'.*at least 2.*repeat_graphs"):
        leave_one_out(*(torch.zeros(shape) for shape in shapes))


# ------------------------------------------------------------------ repeated graphs


def path(n, seed=0):
    nodes = torch.arange(n - 1)
    arcs = torch.stack([nodes, nodes + 1])
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    arcs = torch.cat([arcs, arcs.flip(0)], dim=1)
    return Data(x=x, edge_index=arcs, y=torch.tensor([n]))


def test_repeat_graphs():
    graphs = [path(n, n) for n in (4, 2, 3)]
    for data in graphs:
        data.edge_attr = data.edge_index[0] / 2
    found = repeat_graphs(Batch.from_data_list(graphs), 2)
    expected = Batch.from_data_list(graphs + graphs)
    assert found.y.view(2, -1).tolist() == [[4, 2, 3]] * 2
    for key in expected.keys():  # noqa: SIM118
        assert torch.equal(found[key], expected[key])
    assert torch.equal(repeat_graphs(graphs[0], 3).y, torch.full((3,), 4))
    with pytest.raises(ValueError, match="'times'"):
        repeat_graphs(graphs[0], 0)
    loose = Data(**graphs[0].to_dict(), batch=torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"'data'.*Batch\.from_data_list"):
        repeat_graphs(loose, 2)


# ------------------------------------------------------------------ in a lifting


class Forced(Estimator):
    """Takes its decisions from a list, and asks for more when it has run out of them."""

    stochastic = False

    def accept(self, logits, generator=None, group=None):
        prob = logits.sigmoid()
        self.wanted = len(logits)
        bits, self.bits = self.bits[: len(logits)], self.bits[len(logits) :]
        if len(bits) < len(logits):
            raise LookupError
        accepted = torch.tensor(bits, dtype=torch.bool)
        log_prob = torch.where(accepted, prob, 1 - prob).log()
        return Acceptance(prob, accepted, prob.detach(), log_prob)


def outcomes(lift, data, bits=()):
    """Yield the log-probability and the complex of everything that can be drawn."""
    lift.estimator.bits = bits
    try:
        lifted = lift(data)
    except LookupError:
        for more in itertools.product([False, True], repeat=lift.estimator.wanted):
            yield from outcomes(lift, data, bits + more)
    else:
        yield lift.log_prob(), lifted


def value(lifted):
    """A curved function of the incidences for each graph."""
    out = torch.zeros(lifted.num_graphs, dtype=torch.float64)
    for r in range(1, lifted.max_rank + 1):
        matrix = lifted.incidence(r).coalesce()
        cell = matrix.indices()[1]
        degree = torch.zeros(lifted.num_cells[r], dtype=torch.float64)
        degree = degree.index_add(0, cell, matrix.values() * (1 + lifted[f"x_{r}"][cell, 0] ** 2))
        out = out.index_add(0, lifted[f"batch_{r}"], r * degree)
    return (out - 6).square() / 10


@pytest.mark.parametrize(
    "options", [{}, {"rescue": True}, {"cell_budget": 2}, {"rejected": "drop"}], ids=str
)
@pytest.mark.parametrize("domain", ["hypergraph", "cell"])
def test_estimate_of_a_lifting_is_unbiased(domain, options):
    torch.manual_seed(0)
    options = {"k_min": 2, "k_max": 2, "memberships": "hard", "in_channels": 3} | options
    lift = DiffLift(domain, estimator=ScoreFunction(), hidden_channels=8, **options).double()
    data = path(4)
    lift(data)
    with torch.no_grad():  # away from the start, where all candidates are alike
        for scorer in lift.scorers.values():
            scorer.rho.lins[-1].weight.mul_(20)
            scorer.rho.lins[-1].bias.fill_(0)
    parameters = [scorer.rho.lins[-1].bias for scorer in lift.scorers.values()]
    parameters.append(lift.scorers["1"].rho.lins[0].weight)

    sampled, lift.estimator = lift.estimator, Forced()
    probability, expected = 0, 0
    for log_prob, lifted in outcomes(lift, data):
        probability = probability + log_prob.exp().sum()
        expected = expected + (log_prob.exp() * value(lifted)).sum()
    assert float(probability.detach()) == pytest.approx(1)
    expected = torch.autograd.grad(expected, parameters)
    flat = torch.cat([grad.flatten() for grad in expected])

    lift.estimator, lift.generator = sampled, torch.Generator().manual_seed(1)
    many, rows = repeat_graphs(repeat_graphs(data, 100), 4), []
    for _ in range(60):
        losses = value(lift(many)).view(4, -1)
        loss = leave_one_out(losses, lift.log_prob().view(4, -1))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    samples = torch.stack(rows)
    error = samples.std(0) / len(rows) ** 0.5
    assert bool(((samples.mean(0) - flat).abs() <= 4.5 * error + 1e-12).all())
    assert float(flat.abs().max()) > 8 * float(error.max())


def test_only_candidates_that_matter_count():
    """Pairs that the drawn sizes leave out have draws without effect."""

    class Heard(ScoreFunction):
        def accept(self, logits, generator=None, group=None):
            self.found = super().accept(logits, generator, group)
            self.group = group
            return self.found

    torch.manual_seed(0)
    lift = DiffLift("cell", max_rank=1, estimator=Heard()).double()
    batch = Batch.from_data_list([path(9), path(7)])
    lift(batch)
    group, log_prob = lift.estimator.group, lift.estimator.found.log_prob
    assert bool((group % 2 == 1).any())
    expected = [log_prob[group == 2 * graph].sum() for graph in (0, 1)]
    torch.testing.assert_close(lift.log_prob(), torch.stack(expected))


def test_log_prob_needs_draws():
    data = path(6)
    for lift in (DiffLift().double(), DiffLift(estimator="score_function").double().eval()):
        lift(data)
        with pytest.raises(RuntimeError, match=r"training mode.*score_function.*training="):
            lift.log_prob()


def test_graph_without_a_candidate():
    lone = Data(x=torch.ones(1, 3), edge_index=torch.zeros(2, 0).long())
    lift = DiffLift(estimator="score_function")
    lift(lone)
    assert lift.log_prob().tolist() == [0]
