"""The main job: what it leaves, that it can be interrupted, and what it refuses."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

pytest.importorskip("lightning", reason='needs the extra "train"')
pytest.importorskip("typer", reason='needs the extra "train"')

import toponetx as tnx
from lightning.pytorch import Callback
from raw_files import PARTS, write_minesweeper, write_molhiv, write_zinc
from typer.testing import CliRunner

from topox_difflift import datasets
from topox_difflift.commands import app
from topox_difflift.config import TrainingConfig
from topox_difflift.diagnostics import CollapsedLifting
from topox_difflift.domains import DOMAINS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.job import Job, Result, Splits
from topox_difflift.liftings import LIFTINGS, KNNLifting
from topox_difflift.options import OPTIONS, available, parse_options, spell
from topox_difflift.training import TrainingModule, _Checkpoints

if TYPE_CHECKING:
    from pathlib import Path

# Lightning's own call of a torch function that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

SMALL = [
    "--dataset",
    "molecules",
    "--max-epochs",
    "2",
    "--hidden-channels",
    "8",
    "--batch-size",
    "16",
]
ARMS = [
    ("difflift", "cell", "cwn", tnx.CellComplex),
    ("difflift", "simplicial", "cwn", tnx.SimplicialComplex),
    ("difflift", "combinatorial", "cwn", tnx.CombinatorialComplex),
    ("difflift", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
    ("accept_all", "cell", "cwn", tnx.CellComplex),
    ("random", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
    ("cycle", "cell", "cwn", tnx.CellComplex),
    ("clique", "simplicial", "cwn", tnx.SimplicialComplex),
    ("khop_simplicial", "simplicial", "cwn", tnx.SimplicialComplex),
    ("khop", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
    ("knn", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
    ("kernel", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
    ("oracle", "simplicial", "cwn", tnx.SimplicialComplex),
    ("none", "cell", "cwn", tnx.CellComplex),
    ("none", "hypergraph", "unigcn", tnx.ColoredHyperGraph),
]


@pytest.fixture(autouse=True)
def few_molecules(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(num_graphs: int = 40, seed: int = 0) -> list[Data]:
        return datasets.molecules(num_graphs, seed)

    def plant(seed: int = 0) -> list[Data]:
        return datasets.planted_cells("triangles", 40, seed=seed)

    monkeypatch.setitem(datasets.SYNTHETIC, "molecules", make)
    monkeypatch.setitem(datasets.SYNTHETIC, "planted_triangles", plant)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def metrics(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "metrics.json").read_text())
    del found["timing"]
    return found


def test_a_collapse_is_said_in_words(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always", CollapsedLifting)
        done = call(*SMALL, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "On the test set the lifting has collapsed" in " ".join(done.output.split())
    # A sentence for the reader, not the line of code that found it.
    assert "job.py" not in done.output


@pytest.mark.parametrize(("lifting", "domain", "tnn", "cls"), ARMS)
def test_run_leaves_everything_under_its_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lifting: str,
    domain: str,
    tnn: str,
    cls: type,
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = "planted_triangles" if lifting == "oracle" else "molecules"
    arm = ("--dataset", dataset, "--lifting", lifting, "--domain", domain, "--tnn", tnn)
    done = call(*SMALL, *arm, "--out", "run")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    out = tmp_path / "run"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    checkpoints = {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    static = lifting not in ("difflift", "accept_all", "random")
    pictures = {"lifted.png"} if static else {"lifted.png", "acceptance.png"}
    assert names == {"config.json", "metrics.json", "lifted.pkl"} | pictures | checkpoints
    found = metrics(out)
    assert found["metric"] == "accuracy"
    assert 0 <= found["test"] <= 1
    assert len(found["epochs"]) == 2
    best = max(found["epochs"], key=lambda epoch: epoch["val"])
    assert (found["best_epoch"], found["val"]) == (best["epoch"], best["val"])
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    with (out / "lifted.pkl").open("rb") as file:
        assert isinstance(pickle.load(file), cls)
    for text in ("test accuracy", "seconds per epoch", "rank 1: accepted", "mean size"):
        assert text in done.output
    assert ("none proposed" in done.output) == static


@pytest.mark.parametrize(
    ("options", "draws", "rates"),
    [
        ({"lifting": "accept_all"}, 1, (1, 1)),
        ({"lifting": "random", "rate": 0.25, "tnn": "unigcn"}, 1, (0.2, 0.3)),
        ({"estimator": "score_function"}, 4, (0.01, 0.99)),
        ({"lifting": "cycle"}, 1, None),
    ],
)
def test_history_tells_what_was_accepted_of_the_training_graphs(
    tmp_path: Path, options: dict[str, Any], draws: int, rates: tuple[float, float] | None
) -> None:
    config = TrainingConfig("molecules", max_epochs=2, hidden_channels=8, **options)
    job = Job.start(config, tmp_path)
    result = job.run()
    written = metrics(tmp_path)["epochs"]
    assert len(result.summaries) == len(written) == 2
    for summary, epoch in zip(result.summaries, written, strict=True):
        assert summary.num_graphs == draws * len(job.splits.train)
        assert summary.num_nodes == draws * sum(g.num_nodes for g in job.splits.train)
        for rank in summary.ranks:
            found = epoch["lifting"][str(rank.rank)]
            assert (found["accepted"], found["candidates"]) == (rank.accepted, rank.candidates)
            assert found["acceptance_rate"] == rank.acceptance_rate
            if rates is None:
                assert rank.acceptance_rate is None
            else:
                assert rates[0] <= rank.acceptance_rate <= rates[1]


@pytest.mark.parametrize("lifting", ["difflift", "none"])
def test_a_run_on_planted_cells_says_how_well_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifting: str
) -> None:
    few = lambda seed=0: datasets.planted_cells("hyperedges", 40, seed=seed)  # noqa: E731
    monkeypatch.setitem(datasets.SYNTHETIC, "planted_hyperedges", few)
    done = call("--max-epochs", 1, "--lifting", lifting, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    found = metrics(tmp_path / "run")["recovery"]
    if lifting == "none":
        assert found is None
        assert "planted cells" not in done.output
    else:
        assert set(found) == {"auroc", "candidate_recall", "accepted_recall", "purity"}
        assert f"{found['purity']:.1%}" in done.output
        assert "accepted cells planted" in done.output


def test_checkpoint_gives_back_the_model_that_was_tested(tmp_path: Path) -> None:
    result = Job.start(TrainingConfig("molecules", max_epochs=2, hidden_channels=8), tmp_path).run()
    path = tmp_path / "checkpoints" / "best.ckpt"
    module = TrainingModule.load_from_checkpoint(path, weights_only=True).eval()
    test = Splits.of(result.config).test
    batch = Batch.from_data_list(test)
    right = (module(batch).argmax(1) == batch.y).double().mean()
    assert float(right) == pytest.approx(result.test)


def test_repetition_gives_the_same_figures_and_another_seed_others(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert call(*SMALL, "--seed", seed, "--out", tmp_path / name).exit_code == 0
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (metrics(tmp_path / name) for name in "abc")
    assert first == again
    assert first["epochs"] != other["epochs"]


@pytest.mark.parametrize("domain", ["cell", "hypergraph"])
@pytest.mark.parametrize("hook", ["on_train_epoch_start", "training_step"])
def test_interrupted_run_ends_with_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str, hook: str
) -> None:
    options = [*SMALL, "--domain", domain, "--max-epochs", "4"]
    assert call(*options, "--out", tmp_path / "whole").exit_code == 0
    original = getattr(TrainingModule, hook)

    def interrupt(self: TrainingModule, *args: Any) -> Any:
        if self.current_epoch == 2:
            raise RuntimeError("pulled the plug")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, hook, interrupt)
        broken = call(*options, "--out", tmp_path / "broken")
    assert "pulled the plug" in str(broken.exception)
    assert "--resume" in broken.output
    assert not (tmp_path / "broken" / "metrics.json").exists()
    # A run may be moved before it is continued.
    moved = (tmp_path / "broken").rename(tmp_path / "moved")
    done = call("--resume", moved)
    assert done.exit_code == 0, done.output
    assert metrics(moved) == metrics(tmp_path / "whole")


@pytest.mark.parametrize("estimator", ["straight_through", "score_function"])
def test_training_adds_the_price_of_the_cells(
    monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    monkeypatch.setattr(TrainingModule, "log", lambda *_, **__: None)
    batch, found = Batch.from_data_list(datasets.molecules(4)), {}
    for price in (0.0, 2.0):
        torch.manual_seed(0)
        prices = {"cell_price": price, "entropy_price": -price / 4}
        options = {"estimator": estimator, "options": prices, "hidden_channels": 8}
        module = TrainingModule(options, 7, 4, 2)
        module.on_train_epoch_start()
        loss = module.training_step(batch, 0)
        found[price] = loss - module.model.lift.lift.cost()
        assert torch.equal(loss, found[price]) == (price == 0)
    torch.testing.assert_close(found[0.0], found[2.0])


def test_run_that_was_interrupted_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    config = TrainingConfig("molecules", max_epochs=1, hidden_channels=8)
    Job.start(config, tmp_path / "begun")
    whole = Job.start(config, tmp_path / "whole").run()
    resumed = Job.resume(tmp_path / "begun").run()
    assert resumed.history[0]["train_loss"] == whole.history[0]["train_loss"]


def test_finished_run_can_be_reported_again(tmp_path: Path) -> None:
    assert call(*SMALL, "--out", tmp_path / "run").exit_code == 0
    before = metrics(tmp_path / "run")
    assert call("--resume", tmp_path / "run").exit_code == 0
    assert metrics(tmp_path / "run") == before


def ended_in_collapse(epoch: int) -> Any:
    """Expect to be warned that the last epoch accepted everything."""
    return pytest.warns(CollapsedLifting, match=rf"accepted everything at rank . in epoch {epoch}")


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_every_estimator_trains_the_acceptance(tmp_path: Path, estimator: str) -> None:
    # So that there are candidates of rank 2 whatever is accepted of rank 1.
    config = TrainingConfig(
        "molecules",
        estimator=estimator,
        options={"rings": True},
        max_epochs=1,
        hidden_channels=8,
    )
    # These two draw nothing, and begin by accepting all.
    with ended_in_collapse(epoch=0) if estimator in ("threshold", "entmax") else nullcontext():
        Job.start(config, tmp_path).run()
    path = tmp_path / "checkpoints" / "last.ckpt"
    trained = TrainingModule.load_from_checkpoint(path, weights_only=True).model.lift.lift.scorers
    start = TrainingModule(**torch.load(path)["hyper_parameters"]).model.lift.lift.scorers
    before = start.state_dict()
    same = [key for key, value in trained.state_dict().items() if torch.equal(value, before[key])]
    # The last bias of each rank adds the same to all candidates of a competition.
    assert not same or ESTIMATORS[estimator].competing
    assert all(key.endswith("rho.lins.1.bias") for key in same)


REFUSED = [
    (["--domain", "hypergraph", "--tnn", "cwn"], "for domain 'hypergraph' (got 'cwn'"),
    (["--domain", "cell", "--tnn", "unigcn"], "'tnn' to be cwn or ccxn"),
    (["--domain", "torus"], "hypergraph, simplicial, cell, combinatorial"),
    (["--tnn", "gcn"], "cwn, ccxn, can"),
    (["--encoder", "gat"], "gin, gps"),
    (["--estimator", "reinforce"], "straight_through, gumbel, threshold"),
    (["--lifting", "spectral"], "difflift, accept_all, random, none, cycle, clique"),
    (["--lifting", "cycle", "--domain", "simplicial"], "'domain' to be 'cell'"),
    (["--lifting", "cycle", "--tnn", "unigcn"], "for domain 'cell' (got 'unigcn'"),
    (["--lifting", "khop", "--estimator", "gumbel"], "no 'estimator' with lifting 'khop'"),
    (["--lifting", "none", "--option", "k_max=3"], "no 'k_max' with lifting 'none'"),
    (["--lifting", "accept_all", "--option", "dispersion=false"], "or take lifting 'difflift'"),
    (["--domain", "hypergraph", "--option", "rings=true"], "or take domain 'cell'"),
    (["--option", "rings"], "name=value, such as rings=true, or paper (got 'rings')"),
    (["--option", "k=3"], "'options' to be one of k_min, k_max, memberships"),
    (["--option", "memberships=soft"], "'memberships' to be one of kernel, hard"),
    (["--domain", "cell", "--option", "rings=1"], "False, 'given', 'apart' or 'only' (got 1)"),
    (["--option", "readout=median"], "'readout' to be one of mean, apart, sum, max, propagate"),
    (["--lifting", "cycle", "--option", "readout=apart"], "no 'readout' with lifting 'cycle'"),
    (["--dataset", "Cora", "--option", "readout=apart"], "no 'readout' where nodes are predicted"),
    (["--lifting", "clique", "--domain", "cell"], "'domain' to be 'simplicial'"),
    (["--lifting", "knn", "--tnn", "cwn"], "for domain 'hypergraph' (got 'cwn'"),
    (["--lifting", "random", "--estimator", "gumbel"], "or take lifting 'difflift'"),
    (["--lifting", "random", "--rate", "1.5"], "'rate' to be a probability"),
    (["--rate", "0.5"], "no 'rate' with lifting 'difflift'"),
    (["--option", "k_min=0"], "'k_min'"),
    (["--option", "k_min=4,k_max=3"], "'k_max'"),
    (["--project", "-1"], "'project' to be an integer of at least 0, 0 for no projection"),
    (["--dropout", "1"], "'dropout' to be at least 0 and below 1"),
    (["--weight-decay", "-1"], "'weight_decay' to be at least 0"),
    (["--device", "tpu"], "'device' to be one of cpu, cuda"),
    (["--max-epochs", "0"], "'max_epochs'"),
    (["--batch-size", "0"], "'batch_size'"),
    (["--lr", "0"], "'lr' to be positive"),
    (["--lr", "nan"], "'lr' to be positive"),
    (["--seed", "-1"], "'seed'"),
    (["--fold", "10"], "'fold' to be from 0 to 9"),
    (
        ["--protocol", "public"],
        "'protocol' to be one of stratified for dataset 'planted_hyperedges'",
    ),
    (["--dataset", "PROTEINS", "--protocol", "paper"], "'protocol' to be one of stratified"),
    (["--dataset", "Cora", "--fold", "1"], "leave it out, or take protocol 'geom-gcn'"),
    (["--max-epochs", "many"], "valid integer"),
    (["--epochs", "3"], "No such option"),
    (["--tnn", "hypersage"], "a network that a lifting can learn through"),
    (["--resume", "nowhere"], "config.json"),
    (["--resume", "nowhere", "--max-epochs", "3"], "leave out --max-epochs"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda value: str(value))
def test_impossible_options_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("y", [torch.zeros(20, dtype=torch.long), torch.zeros(1)])
def test_dataset_without_a_class_for_each_graph_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: torch.Tensor
) -> None:
    graphs = datasets.molecules(3)
    for graph in graphs:
        graph.y = y
    monkeypatch.setattr("topox_difflift.datasets.protocols.load_dataset", lambda *_: graphs)
    with pytest.raises(ValueError, match=r"one class for each graph .* such as 'MUTAG'"):
        Job.start(TrainingConfig(dataset="QM9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "config.json").write_text("{}")
    done = call("--out", tmp_path)
    assert done.exit_code == 2
    assert "--resume" in done.output


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = call("--device", "cuda", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "'device'" in done.output
    assert not (tmp_path / "run").exists()


def test_default_folder_version_and_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*SMALL, "--lifting", "none").exit_code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert CliRunner().invoke(app, ["--version"]).output.strip()
    assert "--resume" in call("--help").output


@pytest.mark.parametrize(
    ("given", "domain", "tnn"),
    [
        ({}, "hypergraph", "unigcn"),
        ({"dataset": "molecules"}, "cell", "cwn"),
        ({"dataset": "planted_cycles"}, "cell", "cwn"),
        ({"dataset": "planted_triangles"}, "simplicial", "cwn"),
        ({"dataset": "planted_triangles", "tnn": "topotune"}, "simplicial", "topotune"),
        ({"dataset": "planted_cycles", "tnn": "topotune"}, "cell", "topotune"),
        ({"dataset": "planted_triangles", "tnn": "gnn", "lifting": "none"}, "cell", "gnn"),
        ({"dataset": "planted_cycles", "tnn": "unigcn"}, "hypergraph", "unigcn"),
        ({"dataset": "molecules", "tnn": "cwn"}, "cell", "cwn"),
        ({"tnn": "cwn"}, "cell", "cwn"),
        ({"tnn": "unigcn"}, "hypergraph", "unigcn"),
        ({"lifting": "khop"}, "hypergraph", "unigcn"),
        ({"lifting": "cycle"}, "cell", "cwn"),
        ({"lifting": "clique"}, "simplicial", "cwn"),
        ({"lifting": "random", "tnn": "unigcn"}, "hypergraph", "unigcn"),
        ({"domain": "simplicial"}, "simplicial", "cwn"),
        ({"tnn": "hmc"}, "combinatorial", "hmc"),
        ({"tnn": "scn2"}, "simplicial", "scn2"),
        (
            {"tnn": "scn2", "lifting": "oracle", "dataset": "planted_triangles"},
            "simplicial",
            "scn2",
        ),
        ({"tnn": "scn2", "lifting": "cycle"}, "cell", "scn2"),
        ({"tnn": "sccn", "domain": "combinatorial"}, "combinatorial", "sccn"),
        ({"tnn": "unigin", "lifting": "kernel"}, "hypergraph", "unigin"),
        ({"tnn": "hypersage", "estimator": "score_function"}, "hypergraph", "hypersage"),
    ],
)
def test_domain_and_network_follow_from_each_other(
    given: dict[str, str], domain: str, tnn: str
) -> None:
    config = TrainingConfig(**given)  # type: ignore[arg-type]
    assert (config.domain, config.tnn) == (domain, tnn)


def test_gps_has_a_lower_learning_rate_by_default() -> None:
    rates = [
        TrainingConfig("molecules", encoder="gin").lr,
        TrainingConfig("molecules", encoder="gps").lr,
    ]
    assert rates == [0.003, 0.001]
    assert TrainingConfig("molecules", encoder="gps", lr=0.01).lr == 0.01


# ---------------------------------------------------------------------- other tasks


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Tiny files of the three datasets that the tests of tasks train on."""
    root = tmp_path / "data"
    for folder, write in (
        ("ogbg_molhiv/raw", write_molhiv),
        ("ZINC/raw", write_zinc),
        ("minesweeper/raw", write_minesweeper),
    ):
        (root / folder).mkdir(parents=True)
        write(root / folder)
    return root


OTHERS = ["ogbg-molhiv", "ZINC", "Minesweeper"]


def trained(dataset: str, root: Path, out: Path, **options: Any) -> Result:
    config = TrainingConfig(
        dataset=dataset, root=str(root), **{"max_epochs": 2, "hidden_channels": 8, **options}
    )
    return Job.start(config, out).run()


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    ("dataset", "tnn"), [("ogbg-molhiv", "unigcn"), ("ZINC", "cwn"), ("Minesweeper", "cwn")]
)
def test_every_task_selects_on_validation_in_its_direction(
    raw: Path, tmp_path: Path, dataset: str, tnn: str
) -> None:
    # The few molecules of the test set have few candidates, and all of them are taken.
    taken = "On the test set the lifting has collapsed: it accepted everything at rank 1"
    with pytest.warns(CollapsedLifting, match=taken) if dataset == "ZINC" else nullcontext():
        options = {"rings": True} if tnn == "cwn" else None
        result = trained(
            dataset, raw, tmp_path / "run", tnn=tnn, options=options, max_epochs=5, lr=0.03
        )
    task, found = result.config.task, metrics(tmp_path / "run")
    assert (found["metric"], found["test"]) == (task.metric, result.test)
    best = (max if task.higher_is_better else min)(found["epochs"], key=lambda epoch: epoch["val"])
    assert (found["best_epoch"], found["val"]) == (best["epoch"], best["val"])
    # The figures are those of the model that was kept, on what counts.
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    module = TrainingModule.load_from_checkpoint(path, weights_only=True).eval()
    splits = Splits.of(result.config)
    for part, figure in ((splits.val, result.val), (splits.test, result.test)):
        batch = Batch.from_data_list(part)
        predictions, targets = task.examples(module(batch).detach(), batch)
        if task.metric == "MAE":
            right = (predictions[:, 0] - targets).abs().mean()
        else:
            ahead = predictions[targets == 1] - predictions[targets == 0].t()
            right = (ahead > 0).double().mean() + (ahead == 0).double().mean() / 2
        assert float(right) == pytest.approx(figure, abs=1e-6)


def relabel(root: Path, dataset: str, part: str) -> None:
    """Give all of one part of a dataset the opposite targets, in its raw files."""
    if dataset == "Minesweeper":
        path = root / "minesweeper" / "raw" / "minesweeper.npz"
        arrays = dict(np.load(path))
        arrays["node_labels"] ^= arrays[f"{part}_masks"][0]
        np.savez(path, **arrays)
    elif dataset == "ZINC":
        path = root / "ZINC" / "raw" / f"{part}.pickle"
        molecules = pickle.loads(path.read_bytes())
        for molecule in molecules.values():
            molecule["logP_SA_cycle_normalized"] *= -1
        path.write_bytes(pickle.dumps(molecules))
    else:
        path = root / "ogbg_molhiv" / "raw" / "graph-label.csv.gz"
        labels = gzip.decompress(path.read_bytes()).split()
        for i in PARTS[part]:
            labels[i] = b"%d" % (1 - int(labels[i]))
        path.write_bytes(gzip.compress(b"\n".join(labels)))


@pytest.mark.parametrize("dataset", OTHERS)
def test_training_sees_neither_the_targets_of_validation_nor_those_of_the_test(
    raw: Path, tmp_path: Path, dataset: str
) -> None:
    def run(name: str) -> tuple[Result, dict[str, torch.Tensor]]:
        return trained(dataset, raw, tmp_path / name, tnn="unigcn"), weights(tmp_path / name)

    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(a[key], b[key]) for key in a)

    first, learned = run("first")
    relabel(raw, dataset, "test")
    other, again = run("test")
    assert same(learned, again)
    curves = [[(e["train_loss"], e["val"]) for e in r.history] for r in (first, other)]
    assert curves[0] == curves[1]
    assert (first.best_epoch, first.val) == (other.best_epoch, other.val)
    assert first.test != other.test
    relabel(raw, dataset, "val")
    chosen, again = run("val")
    assert same(learned, again)
    assert [e["val_loss"] for e in chosen.history] != [e["val_loss"] for e in first.history]
    relabel(raw, dataset, "train")
    assert not same(learned, run("train")[1])


@pytest.mark.parametrize("dataset", OTHERS)
def test_interrupted_run_of_every_task_ends_with_the_same_figures(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    trained(dataset, raw, tmp_path / "whole", max_epochs=3)
    original = TrainingModule.on_train_epoch_start

    def interrupt(self: TrainingModule) -> None:
        if self.current_epoch == 1:
            raise RuntimeError("pulled the plug")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_epoch_start", interrupt)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            trained(dataset, raw, tmp_path / "broken", max_epochs=3)
    Job.resume(tmp_path / "broken").run()
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("dataset", ["ZINC", "Minesweeper"])
def test_score_function_trains_every_task(raw: Path, tmp_path: Path, dataset: str) -> None:
    options = {"estimator": "score_function", "options": {"rings": True}, "max_epochs": 1}
    result = trained(dataset, raw, tmp_path / "run", **options)
    start = TrainingModule(
        asdict(result.config), *Splits.of(result.config).sizes()
    ).model.lift.lift.scorers.state_dict()
    after = weights(tmp_path / "run")
    moved = [not torch.equal(after[f"model.lift.lift.scorers.{key}"], start[key]) for key in start]
    assert all(moved)


def test_part_with_one_class_only_cannot_be_ranked(raw: Path, tmp_path: Path) -> None:
    path = raw / "ogbg_molhiv" / "raw" / "graph-label.csv.gz"
    path.write_bytes(gzip.compress(b"0\n1\n" * 4 + b"0\n0\n" + b"0\n1\n"))
    with pytest.raises(ValueError, match=r"both of them in each part .* validation set"):
        trained("ogbg-molhiv", raw, tmp_path / "run")


def test_large_complex_is_left_without_a_picture(raw: Path, tmp_path: Path) -> None:
    write_minesweeper(raw / "minesweeper" / "raw", 304)
    trained("Minesweeper", raw, tmp_path / "run", max_epochs=1, tnn="unigcn")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "lifted.pkl" in names
    assert "lifted.png" not in names


needs_data = pytest.mark.skipif(
    "TOPOX_DIFFLIFT_DATA" not in os.environ,
    reason="set TOPOX_DIFFLIFT_DATA to the folder that holds OGB, TUDataset, WebKB, ZINC, ...",
)


@needs_data
@pytest.mark.parametrize(
    ("dataset", "tnn", "protocol"),
    [
        ("ogbg-molhiv", "unigcn", None),
        ("ZINC", "cwn", "paper"),
        ("Cora", "unigcn", "paper"),
        ("Texas", "cwn", None),
    ],
)
def test_published_dataset_trains(
    tmp_path: Path, dataset: str, tnn: str, protocol: str | None
) -> None:
    options = {"tnn": tnn, "protocol": protocol, "max_epochs": 2, "hidden_channels": 16}
    config = TrainingConfig(dataset=dataset, **options)
    splits = Splits.of(config)
    if splits.task.level == "graph":  # every 50th: 659 and 200 molecules for training
        parts = (splits.train[::50], splits.val[::50], splits.test[::50])
        splits = Splits(*parts, splits.task)
    result = Job(config, splits, tmp_path).run()
    losses = [epoch["train_loss"] for epoch in result.history]
    assert losses[1] < losses[0]
    assert 0 < result.test < (3 if dataset == "ZINC" else 1)


# ---------------------------------------------------------------------- the model


def test_every_arm_has_the_same_encoder_and_starts_from_the_same_weights() -> None:
    arms = [
        TrainingConfig("molecules", lifting=lifting, domain="cell").build(7, 4, 2)
        for lifting in ("difflift", "accept_all", "random", "cycle", "none")
    ]
    states = [arm.lift.encoder.state_dict() for arm in arms]
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[name], states[0][name]) for name in state)


def test_wide_features_are_projected_in_every_arm_alike() -> None:
    def projections(in_channels: int, **options: Any) -> list[Any]:
        arms = [
            TrainingConfig("molecules", hidden_channels=8, **arm, **options).build(
                in_channels, 0, 2
            )
            for arm in (
                {"lifting": "difflift"}, {"lifting": "random"}, {"lifting": "cycle"},
                {"lifting": "knn"}, {"lifting": "none", "tnn": "gnn"},
            )
        ]  # fmt: skip
        states = [arm.lift.project and arm.lift.project.state_dict() for arm in arms]
        assert len({None if s is None else str({**s}) for s in states}) == 1
        width = in_channels if states[0] is None else len(states[0]["1.weight"])
        x = torch.rand(3, in_channels)
        ring = torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
        for arm in arms:
            assert arm.eval().lifted(Data(x=x, edge_index=ring)).x_0.size(1) == width + 8
        return [width, arms[0].lift.project]

    # By default where features are more than four times as wide as the hidden layers.
    assert projections(32) == [32, None]
    assert projections(33)[0] == 8
    assert projections(32, project=5)[0] == 5
    assert projections(33, project=0) == [33, None]


def test_nearest_nodes_are_those_of_features_as_given_and_not_as_projected() -> None:
    batch = Batch.from_data_list(datasets.molecules(4))
    model = TrainingConfig("molecules", lifting="knn", project=5, dropout=0.5).build(7, 4, 2)
    lifted = model.lifted(batch)
    assert lifted.cells(1) == KNNLifting()(batch).cells(1)
    assert "given" not in lifted
    assert lifted.x_0.size(1) == 5 + 32


def test_dropout_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    def losses(name: str, **options: Any) -> list[float]:
        torch.manual_seed(len(name))
        torch.rand(len(name))
        config = TrainingConfig(
            "molecules",
            max_epochs=2,
            hidden_channels=8,
            batch_size=16,
            tnn="gnn",
            lifting="none",
            **options,
        )
        state = torch.get_rng_state()
        history = Job.start(config, tmp_path / name).train()[0].history
        assert torch.equal(torch.get_rng_state(), state)
        return [epoch["train_loss"] for epoch in history]

    dropped = losses("a", dropout=0.5, project=4)
    assert losses("again", dropout=0.5, project=4) == dropped
    assert losses("without", project=4) != dropped


def test_parameters_of_the_lifting_do_not_decay(tmp_path: Path) -> None:
    config = TrainingConfig("molecules", weight_decay=0.5, hidden_channels=8)
    module = TrainingModule(asdict(config), 7, 4, 2)
    groups = module.configure_optimizers().param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in module.named_parameters():
        assert decay[id(parameter)] == (0 if name.startswith("model.lift.lift.") else 0.5), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.003, 0.0, 0.0)),
        ({"dataset": "Cora"}, (0.01, 0.5, 5e-4)),
        ({"dataset": "Cora", "encoder": "gps"}, (0.001, 0.5, 5e-4)),
        ({"dataset": "Texas", "lr": 0.1, "dropout": 0.0, "weight_decay": 0.0}, (0.1, 0.0, 0.0)),
    ],
)
def test_recipe_is_the_usual_one_for_graphs_and_for_nodes(
    options: dict[str, Any], expected: tuple[float, ...]
) -> None:
    config = TrainingConfig(**options)
    assert (config.lr, config.dropout, config.weight_decay) == expected


@pytest.mark.parametrize("lifting", ["difflift", "accept_all", "random"])
@pytest.mark.parametrize("domain", ["cell", "simplicial", "hypergraph", "combinatorial"])
def test_options_reach_the_lifting_and_its_domain(lifting: str, domain: str) -> None:
    chosen = {"k_min": 3, "k_max": 4, "memberships": "hard"}
    chosen |= {
        "cell": {"cycles": "induced", "rings": False},
        "simplicial": {"simplices": "cycle_basis"},
    }.get(domain, {})
    if lifting == "difflift":
        chosen |= {"rejected": "drop", "cell_budget": 9, "rescue": True, "cell_price": 0.1}
        chosen |= {"entropy_price": -0.1}
    config = TrainingConfig("molecules", lifting=lifting, domain=domain, options=chosen)
    assert TrainingConfig(**json.loads(json.dumps(asdict(config)))) == config
    lift = config.build(7, 4, 2).lift.lift
    for name, value in chosen.items():
        assert getattr(lift.domain if hasattr(lift.domain, name) else lift, name) == value


@pytest.mark.parametrize("lifting", ["difflift", "accept_all", "random"])
def test_the_readout_is_an_option_where_graphs_are_predicted(lifting: str) -> None:
    for options, apart in (({}, True), ({"readout": "mean"}, False), ({"readout": "apart"}, True)):
        config = TrainingConfig("molecules", lifting=lifting, options=options)
        assert config.build(7, 4, 2).readout.apart == apart
    assert "readout" not in TrainingConfig("Cora", lifting=lifting).options
    hypergraph = TrainingConfig("molecules", domain="hypergraph", lifting=lifting)
    assert hypergraph.options["readout"] == "mean"


def test_sizes_and_the_initial_logit_reach_the_lifting() -> None:
    for sizes, expected in (((3, 2), (2, 3)), ([4], (4,)), (4, (4,))):
        options = {"sizes": sizes, "initial_logit": -2.0}
        config = TrainingConfig("molecules", domain="hypergraph", options=options)
        assert TrainingConfig(**json.loads(json.dumps(asdict(config)))) == config
        lift = config.build(7, 4, 2).lift.lift
        assert lift.domain.sizes == expected
        assert lift.scorers["1"].rho.lins[-1].bias.item() == -2
    assert parse_options(["sizes=3+4,initial_logit=4"]) == {"sizes": [3, 4], "initial_logit": 4}
    assert (
        spell({"sizes": [3, 4], "rescue": True, "hops": None}) == "hops=none,rescue=true,sizes=3+4"
    )


SCHEDULED = {
    "cell_price": "linear:0:0.5:2", "entropy_price": "step:0:-0.1:1",
    "temperature": "exponential:4:1:2",
}  # fmt: skip


def test_options_follow_their_schedules_from_epoch_to_epoch(tmp_path: Path) -> None:
    config = TrainingConfig(
        "molecules", estimator="gumbel", options=SCHEDULED, max_epochs=4, hidden_channels=8
    )
    assert config.first_epoch == 2
    assert TrainingConfig(**json.loads(json.dumps(asdict(config)))) == config
    found = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, module: TrainingModule, *_: Any) -> None:
            lift = module.model.lift.lift
            found.append((lift.cell_price, lift.entropy_price, lift.estimator.temperature))

    Job.start(config, tmp_path).train(callbacks=[Watch()])
    seen = list(dict.fromkeys(found))
    assert seen == [(0, 0, 4), (0.25, -0.1, 2), (0.5, -0.1, 1)]


def test_epochs_count_once_the_schedules_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first epoch is by far the best, and patience would end the run before the second.
    scores = iter([1.0, 0.9, 0.1, 0.2, 0.1, 0.1, 0.1])
    saved = _Checkpoints.on_train_epoch_end

    def scored(self: _Checkpoints, trainer: Any, module: Any) -> None:
        trainer.callback_metrics["val"] = torch.tensor(next(scores))
        saved(self, trainer, module)

    monkeypatch.setattr(_Checkpoints, "on_train_epoch_end", scored)
    config = TrainingConfig(
        "molecules",
        options={"cell_price": "step:0:0.1:2"},
        max_epochs=9,
        patience=2,
        hidden_channels=8,
    )
    result = Job.start(config, tmp_path).train()[0]
    assert (result.best_epoch, len(result.history)) == (3, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_price": "linear:0:-1:2"}, "'cell_price' to be a finite number of at least 0"),
        ({"cell_price": "linear:0:1"}, "curve:start:end:steps, such as linear:0:0.1:16"),
        ({"cell_price": "slope:0:1:2"}, "'curve' to be one of linear, exponential"),
        ({"k_max": "linear:2:5:3"}, "'k_max' to have one value for the whole run .*cell_price"),
        ({"cell_price": "linear:0:1:20"}, "'max_epochs' to be more than 20.*'linear:0:1:20' ends"),
        ({"temperature": 0.5}, "no 'temperature' with estimator 'straight_through'.*'gumbel'"),
    ],
)
def test_impossible_schedules(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig("molecules", options=options)


def test_impossible_temperatures() -> None:
    for temperature in (0, "linear:1:0:5"):
        with pytest.raises(ValueError, match="'temperature' to be positive"):
            TrainingConfig("molecules", estimator="gumbel", options={"temperature": temperature})
    config = TrainingConfig("molecules", estimator="gumbel", options={"temperature": 0.25})
    assert config.build(7, 4, 2).lift.lift.estimator.temperature == 0.25


def test_every_option_is_an_argument_and_the_paper_has_it_otherwise() -> None:
    defaults = {name for domain in DOMAINS for name in available("difflift", domain)}
    assert defaults == set(OPTIONS)
    settled = TrainingConfig("molecules", options={"paper": True, "k_max": 9}).options
    form = {
        "memberships": "hard",
        "rejected": "drop",
        "dispersion": False,
        "boundary_statistics": False,
        "closure_gradient": False,
        "near_misses": 0,
        "cycles": "shortest",
        "rings": False,
        "readout": "mean",
        "k_max": 9,
    }
    assert settled == {**TrainingConfig("molecules").options, **form}
    lift = TrainingConfig("molecules", options={"paper": True}).build(7, 4, 2).lift.lift
    assert (lift.memberships, lift.rejected) == ("hard", "drop")
    assert not lift.scorers["1"].dispersion
    for domain, made in DOMAINS.items():
        sees = made().sees_boundary(made.default_rank)
        assert ("boundary_statistics" in available("difflift", domain)) == sees


@pytest.mark.laws
@pytest.mark.parametrize("name", ["cwn", "unigcn"])
def test_every_parameter_has_a_finite_gradient_and_the_lifting_a_non_zero_one(name: str) -> None:
    config = TrainingConfig("molecules", tnn=name)
    model = config.build(7, 4, 2)
    model.lift.lift.generator.manual_seed(0)  # type: ignore[union-attr, operator]
    batch = Batch.from_data_list(datasets.molecules(16))
    torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert bool(torch.isfinite(parameter.grad).all()), key
    for key, parameter in model.lift.lift.named_parameters():
        assert parameter.grad is not None, key
        assert bool((parameter.grad != 0).any()), key


@pytest.mark.laws
@pytest.mark.parametrize("name", ["cwn", "unigcn"])
def test_rejected_cells_that_are_kept_do_not_change_the_answer(name: str) -> None:
    config = TrainingConfig("molecules", tnn=name)
    model = config.build(7, 4, 2)
    model.lift.lift.generator.manual_seed(0)  # type: ignore[union-attr, operator]
    lifted = model.lifted(Batch.from_data_list(datasets.molecules(4)))
    accepted = lifted.accepted()
    assert accepted.num_cells != lifted.num_cells
    torch.testing.assert_close(model.predict(accepted), model.predict(lifted))


@pytest.mark.laws
@pytest.mark.parametrize("name", ["cwn", "unigcn"])
def test_answer_for_a_graph_does_not_depend_on_its_batch(name: str) -> None:
    model = TrainingConfig("molecules", tnn=name).build(7, 4, 2).eval()
    graphs = datasets.molecules(3)
    together = model(Batch.from_data_list(graphs))
    alone = torch.cat([model(graph) for graph in graphs])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", ["cwn", "unigcn"])
def test_graphs_without_cells_have_an_answer(name: str) -> None:
    model = TrainingConfig("molecules", tnn=name, lifting="none").build(3, 0, 2)
    lone = Data(x=torch.ones(1, 3), edge_index=torch.empty(2, 0, dtype=torch.long))
    assert bool(torch.isfinite(model(Batch.from_data_list([lone, lone]))).all())


def test_every_registered_lifting_can_be_trained_with() -> None:
    assert set(LIFTINGS) == {lifting for lifting, *_ in ARMS}
    kept = (
        TrainingConfig("molecules", lifting="random", rate=0.2, options={"k_min": 7})
        .build(7, 4, 2)
        .lift.lift
    )
    assert (kept.estimator.rate, kept.k_min, kept.k_max) == (0.2, 7, 7)  # type: ignore[union-attr]


def test_nearest_nodes_do_not_depend_on_the_encoder() -> None:
    batch = Batch.from_data_list(datasets.molecules(4))
    cells = [
        TrainingConfig("molecules", lifting="knn", seed=seed).build(7, 4, 2).lifted(batch).cells(1)
        for seed in (0, 1)
    ]
    assert cells[0] == cells[1] == KNNLifting()(batch).cells(1)


@needs_data
@pytest.mark.parametrize(
    "tnn", ["cwn", "ccxn", "unigcn", "unigcnii", "unigin", "sccn", "hmc", "topotune"]
)
def test_mutag_trains(tmp_path: Path, tnn: str) -> None:
    out = tmp_path / "run"
    done = call("--dataset", "MUTAG", "--tnn", tnn, "--max-epochs", 6, "--out", out)
    assert done.exit_code == 0, done.output
    losses = [epoch["train_loss"] for epoch in metrics(out)["epochs"]]
    assert sum(losses[3:]) < sum(losses[:3])
