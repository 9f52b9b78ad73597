"""∂lift within TopoBench and the ICML 2024 challenge, where a checkout of them is importable."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

with warnings.catch_warnings():
    # TopoBench needs torch_cluster, of which PyG says that it does not.
    warnings.simplefilter("ignore")
    import torch_geometric  # noqa: F401

from test_topobench import OfAccepted

from topox_difflift.datasets import molecules
from topox_difflift.testing import AcceptAll, RejectAll

SEARCH = "hydra.searchpath=[pkg://topox_difflift.integrations.topobench_configs]"
MODELS = {
    "cell/cwn_difflift": True,
    "cell/ccxn_difflift": True,
    "cell/topotune_difflift": True,
    "simplicial/sccn_difflift": True,
    "simplicial/scn_difflift": True,
    "simplicial/topotune_difflift": True,
    "hypergraph/unignn_difflift": True,
    "hypergraph/unignn2_difflift": False,
    "combinatorial/topotune_difflift": True,
}

pytestmark = pytest.mark.filterwarnings("default")
needs_topobench = pytest.mark.skipif(
    find_spec("topobench") is None,
    reason="needs TopoBench: PYTHONPATH=<checkout of geometric-intelligence/TopoBench> "
    "python -m pytest tests/test_topobench_integration.py",
)


def checkout() -> Path:
    spec = find_spec("topobench")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1]


@pytest.fixture(scope="module")
def compose():
    import hydra
    import topobench.run  # noqa: F401 -- registers the resolvers

    def composed(*overrides: str):
        with hydra.initialize_config_dir(str(checkout() / "configs"), version_base="1.3"):
            fixed = ["trainer=cpu", "logger=csv", "paths=test", SEARCH, "dataset=graph/MUTAG"]
            return hydra.compose("run.yaml", overrides=[*fixed, *overrides])

    return composed


@pytest.fixture
def build(compose):
    import hydra

    def built(name: str, *overrides: str):
        torch.manual_seed(0)
        config = compose(f"model={name}", "experiment=difflift", *overrides)
        return hydra.utils.instantiate(
            config.model, evaluator=None, optimizer=None, loss=config.loss
        )

    return built


def collated(n: int = 6):
    from topobench.dataloader.utils import collate_fn

    graphs = molecules(n)
    for graph in graphs:
        graph.train_mask = torch.ones(1, dtype=torch.long)
    rows = [[list(graph.to_dict().values()), list(graph.to_dict())] for graph in graphs]
    return collate_fn(rows)


def logits(model: torch.nn.Module) -> Tensor:
    return model(collated())["logits"]


@needs_topobench
@pytest.mark.parametrize("name", MODELS)
def test_replacing_the_acceptances_changes_the_prediction(build, name: str) -> None:
    model = build(name).eval()
    found = {}
    for estimator in (AcceptAll(), RejectAll()):
        model.feature_encoder.lift.estimator = estimator
        found[type(estimator)] = logits(model)
    assert all(torch.isfinite(values).all() for values in found.values())
    assert not torch.allclose(found[AcceptAll], found[RejectAll], atol=1e-4)


@needs_topobench
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_the_lifting_is_trained(build, name: str) -> None:
    from topobench.loss.base import AbstractLoss
    from topobench.nn.encoders.base import AbstractFeatureEncoder

    model = build(name)
    assert isinstance(model.feature_encoder, AbstractFeatureEncoder)
    assert all(isinstance(loss, AbstractLoss) for loss in model.loss.losses)
    batch = collated()
    loss = model.loss(model(batch), batch)["loss"]
    loss.backward()
    untrained = [
        key
        for key, parameter in model.feature_encoder.lift.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert not untrained


@needs_topobench
@pytest.mark.parametrize("name", [name for name, keeps in MODELS.items() if keeps])
def test_rejected_cells_that_are_kept_are_absent(build, name: str) -> None:
    model = build(name)
    found, sizes = [], []
    for lift in (model.feature_encoder.lift, OfAccepted(model.feature_encoder.lift)):
        model.feature_encoder.lift = lift
        torch.manual_seed(1)
        batch = collated()
        found.append(model(batch)["logits"])
        sizes.append(batch["lifted"].num_cells)
    assert sizes[0] > sizes[1]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
