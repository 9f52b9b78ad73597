"""More than one process: the same gradients, the same files, and no graph counted twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning", reason='needs the extra "train"')
pytest.importorskip("typer", reason='needs the extra "train"')

import ddp_step
from torch_geometric.data import Batch
from typer.testing import CliRunner

import topox_difflift
from topox_difflift import datasets
from topox_difflift.commands import app
from topox_difflift.compare.grid import Run
from topox_difflift.config import TrainingConfig
from topox_difflift.job import Job
from topox_difflift.options import OPTIONS, available
from topox_difflift.pool import Pool
from topox_difflift.training import TrainingModule, _Graphs

# Lightning's own call of a torch function that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SMALL = (
    "--dataset",
    "molecules",
    "--hidden-channels",
    "8",
    "--estimator",
    "threshold",
    "--max-epochs",
    "3",
)


@pytest.fixture(autouse=True)
def few_molecules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.SYNTHETIC, "molecules", lambda seed=0: datasets.molecules(40))


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def read(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "metrics.json").read_text())
    del found["timing"], found["config"]
    return found


def numbers(found: object) -> list[float]:
    """List all numbers of a nested value, in order."""
    if isinstance(found, dict):
        return [number for key in sorted(found) for number in numbers(found[key])]
    if isinstance(found, list):
        return [number for one in found for number in numbers(one)]
    return [found] if isinstance(found, int | float) else []


@pytest.mark.laws
def test_gradients_of_two_processes_are_those_of_one_on_all_graphs(tmp_path: Path) -> None:
    pool: Pool[ddp_step.Share] = Pool(ddp_step.step, jobs=2)
    outcomes = []
    try:
        for rank in range(2):
            pool.start(ddp_step.Share(rank, tmp_path / "meeting"))
        for _ in range(2):
            outcomes += [outcome for _, outcome in pool.finished(timeout=300)]
    finally:
        pool.stop()
    assert [outcome.error for outcome in outcomes] == [None, None]
    first, second = (outcome.value for outcome in outcomes)
    everything = Batch.from_data_list([graph for part in ddp_step.graphs() for graph in part])
    alone = Batch.from_data_list(ddp_step.graphs()[1])
    missing = {}
    for tnn in ddp_step.CASES:
        expected = ddp_step.gradients(ddp_step.model(tnn), everything)
        missing[tnn] = expected.keys() - ddp_step.gradients(ddp_step.model(tnn), alone).keys()
        assert first[tnn].keys() == second[tnn].keys() == expected.keys()
        for name, gradient in expected.items():
            for found in (first[tnn][name], second[tnn][name]):
                torch.testing.assert_close(
                    torch.from_numpy(found), torch.from_numpy(gradient), rtol=1e-10, atol=1e-13
                )
        assert any(gradient.any() for gradient in expected.values())
    # Where nothing is proposed, sizes and distances of rank 2 have no gradient.
    assert any("sizes.2" in name for name in missing["sca_cmps"])


@pytest.mark.filterwarnings("always:The lifting has collapsed")
def test_two_processes_leave_what_one_leaves(tmp_path: Path) -> None:
    """A step of all 32 graphs is the same, whether one process takes them or two take 16 each."""
    alone = call(*SMALL, "--batch-size", 32, "--out", tmp_path / "one")
    together = call(*SMALL, "--batch-size", 16, "--devices", 2, "--out", tmp_path / "two")
    # "threshold" draws nothing, and begins by accepting all: both say so.
    for said in (alone, together):
        assert "accepted everything at rank 1 in epoch 2" in " ".join(said.split())
    files = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert files[0] == files[1]
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert [epoch["lifting"] for epoch in two["epochs"]] == [
        epoch["lifting"] for epoch in one["epochs"]
    ]
    assert numbers(two) == pytest.approx(numbers(one), rel=1e-3)
    saved = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two")
    ]
    begun = TrainingModule(**saved[0]["hyper_parameters"]).state_dict()
    here, there = (checkpoint["state_dict"] for checkpoint in saved)
    assert here.keys() == there.keys() == begun.keys()
    moved = torch.cat([(here[name] - begun[name]).flatten() for name in begun])
    apart = torch.cat([(here[name] - there[name]).flatten() for name in begun])
    assert apart.norm() < 0.02 * moved.norm()
    assert json.loads((tmp_path / "two" / "config.json").read_text())["devices"] == 2
    before = (tmp_path / "two" / "metrics.json").read_text()
    assert "two" in call("--resume", tmp_path / "two")
    assert (tmp_path / "two" / "metrics.json").read_text() == before


def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    job = Job.start(TrainingConfig("molecules", hidden_channels=8, devices=2), tmp_path)
    with pytest.raises(RuntimeError, match=r"One of 2 processes failed: RuntimeError: no luck"):
        job.train(callbacks=[ddp_step.Failing()])


class Of:
    """What a data module asks its trainer."""

    def __init__(self, global_rank: int, world_size: int) -> None:
        self.global_rank, self.world_size = global_rank, world_size


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_graphs(processes: int) -> None:
    listed = datasets.molecules(7)
    for number, graph in enumerate(listed):
        graph.number = number
    train, val, steps = Counter[int](), Counter[int](), set()
    for rank in range(processes):
        data = _Graphs(listed, listed, batch_size=2, seed=3)
        data.trainer = Of(rank, processes)
        loader = data.train_dataloader()
        steps.add(len(loader))
        for batch in loader:
            train.update(batch.number.tolist())
        for batch in data.val_dataloader():
            val.update(batch.number.tolist())
    assert val == Counter(range(7))
    assert len(steps) == 1
    assert train.keys() == set(range(7))
    assert train.total() == -(-7 // processes) * processes


def test_each_process_draws_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    for rank in range(3):
        monkeypatch.setattr(TrainingModule, "global_rank", rank)
        module = TrainingModule({"hidden_channels": 8, "seed": 5}, 7, 4, 2)
        module.on_train_epoch_start()
        seeds.append(module.model.lift.lift.generator.initial_seed())
    assert len(set(seeds)) == 3
    assert seeds[0] == 5 * 1_000_003 ^ 0x5EED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--devices", 0), "'devices' to be an integer of at least 1"),
        (("--devices", 5), "'devices' to be at most 4, so that each process has a graph"),
        (("--devices", 5), "take fewer processes"),
    ],
)
def test_devices_that_are_too_many_are_refused(
    options: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    arguments = ["train", *SMALL, *map(str, options), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "run").exists()


def test_nodes_of_one_graph_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = datasets.molecules(1)[0]
    graph.y = torch.arange(graph.num_nodes) % 3
    graph.mask = torch.ones(graph.num_nodes, dtype=torch.bool)
    monkeypatch.setattr("topox_difflift.job.load_splits", lambda *_: ([graph],) * 3)
    config = TrainingConfig(dataset="Cora", devices=2)
    with pytest.raises(ValueError, match=r"'devices' to be at most 1.*leave 'devices' out"):
        Job.start(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_devices_than_there_are_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="'devices' to be at most 1, the number of GPUs"):
        Job.start(TrainingConfig("molecules", device="cuda", devices=2), tmp_path)


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Add the options that came later, as in the paper's form: what there was before a choice."""
    level = TrainingConfig(config["dataset"]).task.level
    there = available(config["lifting"], config["domain"], level)
    return {**config, "options": {name: OPTIONS[name] for name in there} | config["options"]}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_runs_on_record_are_still_the_same_runs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        Run("difflift", TrainingConfig("molecules", devices=1)).id
        == Run("difflift", TrainingConfig("molecules")).id
    )
    assert (
        Run("difflift", TrainingConfig("molecules", devices=2)).id
        != Run("difflift", TrainingConfig("molecules")).id
    )
    records = {record["id"]: record for record in map(json.loads, path.read_text().splitlines())}

    def run_of(record: dict[str, Any]) -> Run:
        source = None if record["source"] is None else run_of(records[record["source"]])
        return Run(record["arm"], TrainingConfig(**_complete(record["config"])), source)

    for number, record in records.items():
        monkeypatch.setattr(topox_difflift, "__version__", record["version"])
        assert run_of(record).id == number
