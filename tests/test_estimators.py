"""Gradients of the estimators: closed forms, bias, and what training sees."""

import itertools

import pytest
import torch

from topox_difflift.estimators import GumbelSigmoid, StraightThrough, Threshold

P = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
TARGET = 0.4


def curved(b):
    """A loss on three gates that is curved in each of them."""
    return (b @ WEIGHT - TARGET) ** 2


def affine(b):
    """A loss that is affine in each gate given the others."""
    return b @ WEIGHT + 3 * b[..., 0] * b[..., 1] * b[..., 2]


def outcomes():
    """Yield all 2^3 outcomes with their probabilities."""
    for bits in itertools.product([0.0, 1.0], repeat=3):
        b = torch.tensor(bits, dtype=torch.float64)
        yield b, torch.prod(torch.where(b > 0, P, 1 - P))


def exact_gradient(loss):
    p = P.clone().requires_grad_()
    total = sum(loss(b) * torch.prod(torch.where(b > 0, p, 1 - p)) for b, _ in outcomes())
    return torch.autograd.grad(total, p)[0]


def expected_estimate(loss):
    """E[dL/db] over all outcomes, which is what straight-through returns on average."""
    total = torch.zeros(3, dtype=torch.float64)
    for b, weight in outcomes():
        b = b.clone().requires_grad_()
        total += weight * torch.autograd.grad(loss(b), b)[0]
    return total


def sampled_estimate(estimator, loss, n_samples, seed=0):
    logits = torch.logit(P).expand(n_samples, 3).contiguous().requires_grad_()
    acceptance = estimator.accept(logits, torch.Generator().manual_seed(seed))
    loss(acceptance.mask()).sum().backward()
    # dL/dp from dL/dlogit.
    return (logits.grad / (P * (1 - P))).mean(0)


def test_closed_form_of_one_draw():
    """On three candidates, dL/dp of one draw is 2 (b.w - t) w, with b the gates drawn."""
    logits = torch.logit(P).requires_grad_()
    acceptance = StraightThrough().accept(logits, torch.Generator().manual_seed(3))
    acceptance.prob.retain_grad()
    mask = acceptance.mask()
    curved(mask).backward()
    closed = 2 * (mask.detach() @ WEIGHT - TARGET) * WEIGHT
    torch.testing.assert_close(acceptance.prob.grad, closed)
    torch.testing.assert_close(logits.grad, closed * P * (1 - P))


def test_unbiased_for_affine_losses():
    torch.testing.assert_close(expected_estimate(affine), exact_gradient(affine))


def test_bias_for_curved_losses():
    """
    The bias is w_i^2 (2 p_i - 1) for the squared loss.

    The estimate is E[2 (b.w - t)] w_i; the exact gradient is the finite difference
    E[L | b_i = 1] - E[L | b_i = 0] = w_i (w_i + 2 (sum_{j != i} w_j p_j - t)).
    """
    bias = expected_estimate(curved) - exact_gradient(curved)
    torch.testing.assert_close(bias, WEIGHT**2 * (2 * P - 1))
    assert bias.abs().max() > 0.1  # not a rounding error: it vanishes only at p = 1/2


@pytest.mark.parametrize("loss", [affine, curved])
def test_samples_average_to_the_expectation(loss):
    estimate = sampled_estimate(StraightThrough(), loss, 200_000)
    torch.testing.assert_close(estimate, expected_estimate(loss), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("estimator", [StraightThrough(), GumbelSigmoid(), GumbelSigmoid(0.2)])
def test_acceptance_rate_is_the_probability(estimator):
    logits = torch.logit(P).expand(100_000, 3)
    _, mask = estimator(logits, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mask.mean(0), P, atol=0.01, rtol=0)


def test_gumbel_bias_shrinks_with_the_temperature():
    def error(temperature):
        estimate = sampled_estimate(GumbelSigmoid(temperature), affine, 400_000)
        return (estimate - exact_gradient(affine)).abs().max()

    assert error(0.1) < error(2.0)


def gumbel_slopes(monkeypatch, p, temperature, loss):
    """Estimates of dE[L]/dlogit for evenly spaced quantiles of the noise, in place of draws."""
    n = 200_000
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda draw, **_: draw.copy_(quantiles))
    logits = torch.full((n,), p, dtype=torch.float64).logit().requires_grad_()
    loss(GumbelSigmoid(temperature).accept(logits).mask()).sum().backward()
    return logits.grad


#: Losses of one gate, and (L'(0) + L'(1)) / 2. For the first two it is L(1) - L(0), the exact
#: gradient over p (1 - p); for the last one that is 1.
LOSSES = {
    "affine": (lambda b: 3 * b - 1, 3.0),
    "quadratic": (lambda b: (b - TARGET) ** 2, 1 - 2 * TARGET),
    "cubic": (lambda b: b**3, 1.5),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_gumbel_bias_as_stated(monkeypatch, p, loss):
    function, limit = LOSSES[loss]
    means = [
        float(gumbel_slopes(monkeypatch, p, temperature, function).mean()) / (p * (1 - p))
        for temperature in (1.0, 0.1, 0.01)
    ]
    assert means[2] == pytest.approx(limit, abs=0.02)
    assert abs(means[0] - limit) > abs(means[1] - limit) > abs(means[2] - limit)
    assert abs(means[0] - limit) > 0.05


def test_gumbel_variance_as_stated(monkeypatch):
    p = 0.3
    squares = [
        float(gumbel_slopes(monkeypatch, p, t, lambda b: b).square().mean()) * 6 * t / (p * (1 - p))
        for t in (0.3, 0.1, 0.03)
    ]
    assert squares[2] == pytest.approx(1, abs=0.01)
    assert abs(squares[0] - 1) > abs(squares[1] - 1) > abs(squares[2] - 1)


def test_gumbel_temperature_can_be_annealed():
    estimator = GumbelSigmoid(2.0)
    logits = torch.zeros(1000, requires_grad=True)
    spreads = []
    for temperature in (2.0, 0.5, 0.1):
        estimator.temperature = temperature
        surrogate = estimator.accept(logits, torch.Generator().manual_seed(0)).surrogate
        spreads.append(float(surrogate.detach().std()))
    assert spreads == sorted(spreads)
    with pytest.raises(ValueError, match=r"temperature.*positive.*got 0"):
        estimator.temperature = 0


def test_threshold():
    logits = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    for training in (True, False):
        estimator = Threshold(0.7).train(training)
        assert estimator(logits)[1].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("estimator", [StraightThrough(), GumbelSigmoid(), Threshold()])
def test_mode_in_evaluation(estimator):
    logits = torch.tensor([-2.0, -0.1, 0.1, 2.0])
    _, mask = estimator.eval()(logits)
    assert mask.tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("estimator", [StraightThrough(), GumbelSigmoid(), Threshold()])
def test_saturated_logits_are_finite(estimator):
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    prob, mask = estimator(logits, torch.Generator().manual_seed(0))
    (prob.sum() + mask.sum()).backward()
    assert mask.tolist() == [0.0, 1.0]
    assert torch.isfinite(logits.grad).all()
