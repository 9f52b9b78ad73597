"""Controls: the candidates of `DiffLift`, accepted all or by chance."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch

from topox_difflift import DOMAINS, DiffLift
from topox_difflift.datasets import molecules
from topox_difflift.liftings import FixedRate, accept_all, random_acceptance
from topox_difflift.testing import check_batch, check_equivariance, check_untouched, loss_of, zoo


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 8) -> Batch:
    return Batch.from_data_list(molecules(n))


def initialised(lift: DiffLift) -> DiffLift:
    """Give a lifting parameters that depend on nothing but its shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lift(batch(1))
        lift.reset_parameters()
    return lift


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_candidates_and_parameters_are_those_of_the_learned_lifting(domain: str) -> None:
    options = {"max_rank": 1, "generator": seeded()}
    learned = initialised(DiffLift(domain, **options))
    for control in (accept_all(domain, **options), random_acceptance(domain, **options)):
        initialised(control)
        assert control.state_dict().keys() == learned.state_dict().keys()
        control.load_state_dict(learned.state_dict())
        options["generator"].manual_seed(1)
        expected = learned(batch())
        options["generator"].manual_seed(1)
        found = control(batch())
        assert found.cells(1) == expected.cells(1)
        assert torch.equal(found.candidates_1, expected.candidates_1)
        assert torch.equal(found.prob_1, expected.prob_1)


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_rate_one_accepts_every_candidate_and_rate_zero_none(domain: str) -> None:
    for training in (True, False):
        whole = initialised(accept_all(domain)).train(training)(batch())
        for rank, found in enumerate(whole.summary().ranks, start=1):
            assert found.accepted == int(whole[f"candidates_{rank}"].sum()) > 0
        empty = initialised(random_acceptance(domain, rate=0.0)).train(training)(batch())
        assert all(found.accepted == 0 for found in empty.summary().ranks)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_about_the_given_rate_is_accepted(rate: float, training: bool) -> None:
    lift = initialised(random_acceptance("hypergraph", rate=rate, generator=seeded()))
    data = batch(128)
    data.x = torch.randn(data.x.shape, generator=seeded())  # no two candidates are alike
    found = lift.train(training)(data).summary().ranks[0]
    deviation = (rate * (1 - rate) / found.candidates) ** 0.5
    assert abs(found.acceptance_rate - rate) < 5 * deviation


def test_draws_in_training_depend_on_the_generator_alone() -> None:
    lift = initialised(random_acceptance("cell", rate=0.5, generator=seeded()))
    state = torch.get_rng_state()
    masks = []
    for seed in (3, 3, 4):
        lift.generator.manual_seed(seed)
        masks.append(lift(batch()).mask_1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(masks[0], masks[1])
    assert masks[0].shape != masks[2].shape or not torch.equal(masks[0], masks[2])


@pytest.mark.laws
@pytest.mark.filterwarnings("ignore:'edge_index' has:UserWarning")
@pytest.mark.parametrize("rate", [0.5, 1.0])
@pytest.mark.parametrize("domain", DOMAINS)
def test_evaluation_is_a_function_of_the_graph(domain: str, rate: float) -> None:
    lift = random_acceptance(domain, rate=rate, in_channels=3).double().eval()
    graphs = zoo(torch.float64)
    check_batch(lift, [data for name, data in graphs.items() if name != "batch"])
    check_equivariance(lift, graphs["path"])
    check_untouched(lift, graphs["batch"])
    state = torch.get_rng_state()
    first, again = lift(graphs["batch"]), lift(graphs["batch"])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.batch_1, again.batch_1)


@pytest.mark.laws
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradient_reaches_everything_but_the_acceptance(domain: str) -> None:
    lift = initialised(random_acceptance(domain, rate=0.6, generator=seeded()))
    loss_of(lift(batch())).backward()
    for part in (lift.encoder, lift.sizes, lift.kernels):
        grads = [parameter.grad for parameter in part.parameters()]
        assert all(grad is not None and bool(torch.isfinite(grad).all()) for grad in grads)
        assert any(bool(grad.any()) for grad in grads)
    assert all(parameter.grad is None for parameter in lift.scorers.parameters())


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_has_to_be_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match="'rate' to be a probability"):
        FixedRate(rate)


def test_controls_name_their_rate() -> None:
    assert "FixedRate(rate=0.3)" in repr(random_acceptance(rate=0.3))
    assert "FixedRate(rate=1.0)" in repr(accept_all("hypergraph"))
