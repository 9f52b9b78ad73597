"""∂lift within TopoBench and the ICML 2024 challenge, where a checkout of them is importable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from importlib.resources import files
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
#: Shipped models, and whether rejected cells are kept for them.
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


@needs_topobench
@pytest.mark.parametrize("name", ["cell/cwn_difflift", "simplicial/sccn_difflift"])
def test_linear_products_change_neither_prediction_nor_gradient(build, name: str) -> None:
    found = []
    for linear in (True, False):
        model = build(name)
        if not linear:
            model.backbone, model.readout = model.backbone.wrapped, model.readout.wrapped
            # The gates of cells that receive are left out within LinearProducts alone.
            model.feature_encoder.lift.rejected = "drop"
            model.feature_encoder.lift = OfAccepted(model.feature_encoder.lift)
        model.eval()
        out = logits(model)
        out.square().sum().backward()
        grads = [p.grad for p in model.backbone.parameters() if p.grad is not None]
        found.append([out, *grads])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


@needs_topobench
def test_training_in_reduced_precision(build) -> None:
    model = build("cell/cwn_difflift")
    batch = collated()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(model(batch), batch)["loss"]
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.feature_encoder.lift.parameters())


@needs_topobench
def test_registered_classes_are_found_by_topobenchs_own_configuration(compose) -> None:
    import hydra
    from topobench.transforms.data_transform import DataTransform

    from topox_difflift.integrations.topobench import DiffLiftFeatureEncoder, register

    register()
    register()
    config = compose(
        "model=cell/cwn",
        "transforms=no_transform",
        "model.feature_encoder.encoder_name=DiffLiftFeatureEncoder",
        "+model.feature_encoder.selected_dimensions=[0,1,2]",
    )
    built = hydra.utils.instantiate(config.model, evaluator=None, optimizer=None, loss=config.loss)
    assert type(built.feature_encoder) is DiffLiftFeatureEncoder
    assert logits(built).shape == (6, 2)
    lifted = DataTransform(transform_name="FrozenDiffLift", domain="cell")(molecules(1)[0])
    assert "incidence_2" in lifted


@needs_topobench
@pytest.mark.parametrize("domain", ["cell", "simplicial", "hypergraph", "combinatorial"])
def test_keys_are_those_of_the_offline_pipeline(compose, domain: str) -> None:
    """What a batch holds, once with TopoBench's default lifting and once with ours."""
    from topobench.dataloader.utils import collate_fn
    from topobench.transforms.data_transform import DataTransform

    from topox_difflift.integrations.topobench import DiffLiftFeatureEncoder, register

    register()
    config = compose("model=cell/cwn", f"transforms=liftings/graph2{domain}_default")
    theirs = dict(next(iter(config.transforms.values())))
    theirs |= {"preserve_edge_attr": False, "complex_dim": 1 if domain == "hypergraph" else 2}
    ours = {"transform_name": "FrozenDiffLift", "domain": domain}
    batches = []
    for arguments in (theirs, ours):
        graphs = [DataTransform(**arguments)(graph) for graph in molecules(3)]
        rows = [[list(graph.to_dict().values()), list(graph.to_dict())] for graph in graphs]
        batches.append(collate_fn(rows))
    dimensions = [0, 1] if domain == "hypergraph" else [0, 1, 2]
    encoder = DiffLiftFeatureEncoder([7], 8, selected_dimensions=dimensions, domain=domain)
    batches.append(encoder(collated(3)))
    first, *others = (batch.to_dict() for batch in batches)
    for other in others:
        extra = {"train_mask", "lifted", "lifting_terms"}
        assert set(first) == set(other) - extra
        for key, value in first.items():
            assert type(other[key]) is type(value), key
            if isinstance(value, Tensor):
                assert (value.dtype, value.layout, value.dim()) == (
                    other[key].dtype,
                    other[key].layout,
                    other[key].dim(),
                ), key


@needs_topobench
@pytest.mark.parametrize(
    "overrides",
    [
        ["model=cell/cwn_difflift"],
        ["model=cell/cwn_difflift", "experiment=difflift"],
        ["model=hypergraph/unignn2_difflift", "experiment=difflift"],
        ["model=cell/cwn", "transforms=liftings/graph2cell_difflift"],
    ],
    ids=" ".join,
)
def test_its_own_entry_point(overrides: list[str], tmp_path: Path) -> None:
    raw = Path(os.environ.get("TOPOX_DIFFLIFT_DATA", "data")) / "TUDataset" / "MUTAG" / "raw"
    if not raw.is_dir():
        pytest.skip("needs MUTAG in TOPOX_DIFFLIFT_DATA")
    shutil.copytree(raw, tmp_path / "graph" / "TUDataset" / "MUTAG" / "raw")
    paths = [f"paths.data_dir={tmp_path}", f"paths.log_dir={tmp_path}/logs"]
    quiet = ["extras.enforce_tags=false", "extras.print_config=false", "logger=csv", "trainer=cpu"]
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "dataset=graph/MUTAG"]
    command = [sys.executable, "-m", "topobench", SEARCH, *overrides, *paths, *quiet, *short]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout())
    assert done.returncode == 0, done.stderr
    assert "test_best_rerun/accuracy" in done.stdout + done.stderr


needs_challenge = pytest.mark.skipif(
    find_spec("modules") is None,
    reason="needs the challenge: PYTHONPATH=<checkout of pyt-team/challenge-icml-2024> "
    "python -m pytest tests/test_topobench_integration.py",
)


@needs_challenge
def test_the_challenges_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(str(find_spec("modules").submodule_search_locations[0])).parent
    monkeypatch.chdir(root)  # where it looks for its own configurations
    from modules.data.preprocess.preprocessor import PreProcessor
    from modules.data.utils.utils import load_manual_graph
    from modules.models.cell.cwn import CWNModel
    from omegaconf import OmegaConf

    from topox_difflift.integrations.challenge import register

    register()
    (path,) = Path(str(files("topox_difflift.integrations"))).glob("challenge_configs/**/*.yaml")
    config = {"lifting": OmegaConf.load(path)}
    graph = load_manual_graph()
    dataset = PreProcessor(graph, config, str(tmp_path))
    data = dataset.get(0)
    assert data["x_0"].shape == (8, 1)
    assert list(data["shape"]) == [len(data[f"x_{rank}"]) for rank in range(3)]
    model = CWNModel({"hidden_channels": 8, "n_layers": 2}, {"num_features": 1, "num_classes": 2})
    with_cells = model(data)
    assert [x.shape for x in with_cells] == [(n, 2) for n in data["shape"]]
    data.incidence_2 = 0 * data.incidence_2
    data.adjacency_1 = 0 * data.adjacency_1
    assert not torch.allclose(with_cells[1], model(data)[1])
