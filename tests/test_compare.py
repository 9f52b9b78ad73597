"""Comparisons: that nothing is lost or run twice, and that the report counts right."""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

pytest.importorskip("lightning", reason='needs the extra "train"')
pytest.importorskip("typer", reason='needs the extra "train"')

from typer.testing import CliRunner

from topox_difflift.commands import app
from topox_difflift.compare import ARMS, Grid, Report, Results, read_results
from topox_difflift.compare.campaign import Campaign
from topox_difflift.compare.grid import kind_of
from topox_difflift.compare.worker import Task, describe
from topox_difflift.options import ACCEPTING, OPTIONS
from topox_difflift.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["--max-epochs", "2", "--hidden-channels", "8", "--batch-size", "16"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TUDataset of 24 rings, with a chord in those of class 1."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "RINGS" / "raw"
    raw.mkdir(parents=True)
    arcs, graph, atoms, n = [], [], [], 0
    for i in range(24):
        size = 4 + i % 4
        nodes = list(range(n + 1, n + size + 1))
        edges = [*pairwise([*nodes, nodes[0]]), *([(nodes[0], nodes[2])] if i % 2 else [])]
        arcs += [f"{a}, {b}" for u, v in edges for a, b in ((u, v), (v, u))]
        graph += [str(i + 1)] * size
        atoms += [str(j % 3) for j in range(size)]
        n += size
    parts = {
        "A": arcs,
        "graph_indicator": graph,
        "graph_labels": [str(i % 2) for i in range(24)],
        "node_labels": atoms,
    }
    for name, lines in parts.items():
        (raw / f"RINGS_{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def arguments(root: Path, out: Path, *more: str) -> list[str]:
    common = ["compare", "--datasets", "RINGS", "--root", str(root), "--out", str(out)]
    return [*common, *SMALL, *more]


def call(*given: str) -> Any:
    return CliRunner().invoke(app, list(given))


def figures(record: dict[str, Any]) -> dict[str, Any]:
    measured = {"seconds", "seconds_per_epoch", "peak_memory_mib"}
    return {key: value for key, value in record.items() if key not in measured}


# ---------------------------------------------------------------------- the grid


def test_grid_has_every_arm_and_leaves_out_what_is_impossible() -> None:
    plan = Grid(datasets=("MUTAG",), tnns=("cwn", "unigcn"), folds=(0, 1)).plan()
    found = Counter((run.config.tnn, run.arm.partition("/")[0]) for run in plan.runs)
    cells = {"none", "cycle", "clique", "khop_simplicial", "accept_all", "random", "dcm"}
    sets = {"none", "khop", "knn", "kernel", "accept_all", "random"}
    assert cells | sets | {"gnn", "oracle", "difflift", "frozen"} == set(ARMS)
    expected = [("cwn", arm) for arm in cells | {"difflift", "frozen"}]
    expected += [("unigcn", arm) for arm in sets | {"difflift", "frozen"}]
    # A plain GNN is the same beside every network.
    assert found == dict.fromkeys([("gnn", "gnn"), *expected], 2)
    assert set(plan.left_out) == {
        *(f"cwn, {arm}" for arm in sets - cells),
        *(f"unigcn, {arm}" for arm in cells - sets),
        *(f"{tnn}, oracle" for tnn in ("cwn", "unigcn")),
    }
    assert "for domain 'hypergraph' (got 'cwn'" in plan.left_out["cwn, khop"]


def test_every_run_has_an_identity_of_its_own_that_does_not_depend_on_where_data_lie() -> None:
    def ids(**options: Any) -> list[str]:
        grid = Grid(
            datasets=("MUTAG", "NCI1"),
            tnns=("cwn",),
            encoders=("gin", "gps"),
            estimators=("straight_through", "gumbel"),
            seeds=(0, 1),
            settings=options,
        )
        return [run.id for run in grid.plan().runs]

    first = ids(max_epochs=5)
    # Four arms need hyperedges or planted cells; three come once for each estimator.
    assert len(set(first)) == len(first) == 2 * 2 * 2 * (len(ARMS) - 4 + 3)
    assert ids(max_epochs=5, root="elsewhere") == first
    assert not set(ids(max_epochs=6)) & set(first)


def test_rate_does_not_change_the_identity_of_a_run_that_waits_for_it() -> None:
    runs = Grid(datasets=("MUTAG",), tnns=("cwn",), liftings=("random", "difflift")).plan().runs
    difflift, by_chance = runs
    assert (difflift.waits, by_chance.waits) == (False, True)
    settled = by_chance.settled(0.3)
    assert settled.config.rate == 0.3
    assert settled.id == by_chance.id
    assert describe(settled)["source"] == difflift.id


def test_variants_and_domains_are_further_arms_named_by_what_is_not_the_default() -> None:
    plan = Grid(
        datasets=("MUTAG",),
        tnns=("topotune",),
        liftings=("gnn", "none", "cycle", "accept_all", "random", "dcm", "difflift", "frozen"),
        variants=("rings=false,k_max=8", "paper", "rejected=drop", "rejected=keep"),
        varied=("difflift", "random", "accept_all"),
        domains=("cell", "simplicial"),
    ).plan()
    found = {run.arm: run for run in plan.runs}
    assert len(found) == len(plan.runs)
    learned = ("", "k_max=8,rings=false", "paper", "rejected=drop")
    both = ("", "domain=simplicial")
    expected = {
        # Neither a plain GNN nor what makes cell complexes only differs between domains.
        *("gnn", "cycle", "dcm", "none", "accept_all", "frozen/straight_through"),
        *("none[domain=simplicial]", "accept_all[domain=simplicial]"),
        *("frozen/straight_through[domain=simplicial]",),
        *("accept_all[k_max=8,rings=false]", "accept_all[paper]"),
        *("accept_all[domain=simplicial,paper]",),
    }
    for arm in ("difflift", "random"):
        for options in learned:
            for domain in both:
                if "rings" not in options or not domain:
                    inside = ",".join(filter(None, (domain, options)))
                    expected.add(f"{arm}/straight_through" + (f"[{inside}]" if inside else ""))
    assert set(found) == expected
    assert "would have no effect" in plan.left_out["topotune on cell, accept_all[rejected=drop]"]
    assert (
        "take domain 'cell'"
        in plan.left_out["topotune on simplicial, difflift/straight_through[rings=false,k_max=8]"]
    )
    paper = found["difflift/straight_through[paper]"].config.options
    form = {"memberships": "hard", "rejected": "drop", "dispersion": False, "near_misses": 0}
    form |= {"boundary_statistics": False, "closure_gradient": False}
    form |= {"cycles": "shortest", "rings": False, "readout": "mean"}
    assert paper == {**found["difflift/straight_through"].config.options, **form}
    assert found["random/straight_through[paper]"].config.options["memberships"] == "hard"
    by_chance = found["random/straight_through[rejected=drop]"]
    assert by_chance.source == found["difflift/straight_through[rejected=drop]"]
    assert {kind_of(arm) for arm in found} <= set(ARMS)


def test_a_schedule_is_an_arm_of_its_own() -> None:
    variants = ("cell_price=step:0:0.05:8", "temperature=exponential:2:0.1:8", "sizes=3+4")
    plan = Grid(
        datasets=("MUTAG",),
        tnns=("unigcn",),
        liftings=("difflift", "accept_all"),
        estimators=("straight_through", "gumbel"),
        variants=variants,
        varied=("difflift", "accept_all"),
    ).plan()
    assert {run.arm for run in plan.runs} == {
        "accept_all", "accept_all[sizes=3+4]",
        *(f"difflift/{e}" for e in ("straight_through", "gumbel")),
        *(f"difflift/{e}[{variants[0]}]" for e in ("straight_through", "gumbel")),
        *(f"difflift/{e}[{variants[2]}]" for e in ("straight_through", "gumbel")),
        f"difflift/gumbel[{variants[1]}]",
    }  # fmt: skip
    assert len({run.id for run in plan.runs}) == len(plan.runs)


def test_new_option_that_is_off_leaves_runs_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(**options: Any) -> list[str]:
        liftings = ("cycle", "accept_all", "difflift")
        return [run.id for run in Grid(("MUTAG",), ("cwn",), liftings, **options).plan().runs]

    before = ids()
    rescued = ids(variants=("rescue=true",))
    for table in (ACCEPTING, OPTIONS):
        monkeypatch.delitem(table, "rescue")
    assert ids() == before
    assert set(before) < set(rescued)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--variants", "depth=3"], "'options' to be one of k_min, k_max, memberships"),
        (["--variants", "memberships=soft"], "'memberships' to be one of kernel, hard"),
        (["--variants", "rings"], "name=value, such as rings=true, or paper (got 'rings')"),
        (["--variants", "paper", "--varied", "cycle"], "'varied' to be one of accept_all, random"),
        (["--variants", "paper", "--liftings", "none"], "'varied' names none of 'liftings'"),
        (["--domains", "torus"], "'domains' to be one of hypergraph, simplicial, cell"),
        (["--device", "tpu"], "'device' to be one of cpu, cuda"),
        (["--tnns", "gcn"], "'tnns' to be one of cwn, ccxn"),
        (["--liftings", "spectral"], "'liftings' to be one of gnn, none, cycle"),
        (["--estimators", "reinforce"], "'estimators' to be one of"),
        (["--folds", "10"], "'fold' to be from 0 to 9"),
        (["--folds", "a-b"], "numbers and ranges"),
        (["--seeds", ","], "'seeds' to hold at least one"),
        (["--patience", "0"], "'patience'"),
        (["--liftings", "khop"], "every combination is impossible"),
        (["--liftings", "none,khop", "--strict"], "--strict"),
        (["--liftings", "random"], "add it"),
        (["--report", "other"], "--out to run"),
    ],
)
def test_impossible_comparison_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = call("compare", "--out", str(tmp_path / "results.jsonl"), *given)
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- the file


def test_torn_last_line_is_taken_away_and_a_complete_one_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}\n{"id": "c", "te')
    assert [record["id"] for record in read_results(path)] == ["a", "b"]
    with Results(path) as results:
        assert list(results.records) == ["a", "b"]
        results.append({"id": "d"})
    assert path.read_text() == '{"id": "a"}\n{"id": "b"}\n{"id": "d"}\n'
    path.write_text('{"id": "a"}\n{"id": "b"}')
    with Results(path) as results:
        assert list(results.records) == ["a", "b"]
    assert path.read_text() == '{"id": "a"}\n{"id": "b"}\n'


def test_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a"}\n{"id": \n{"id": "c"}\n')
    with pytest.raises(ValueError, match=r"one record .* in line 2"):
        Results(path)
    with pytest.raises(ValueError, match="in line 2"):
        read_results(path)


def test_second_comparison_on_one_file_is_refused(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Results(path):
        with pytest.raises(BlockingIOError, match="no other process to write"):
            Results(path)
        refused = call(*arguments(root, path, "--liftings", "none"))
        assert refused.exit_code == 2
        assert "no other process" in " ".join(refused.output.split())
    with Results(path) as results:
        results.append({"id": "a"})


# ---------------------------------------------------------------------- processes


def crash(number: int) -> int:
    if number == 1:
        raise ValueError("one is\nno good")
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    assert torch.get_num_threads() == 1
    # Read by the libraries of linear algebra when they are loaded.
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    return number * number


@pytest.mark.parametrize("gpu", [False, True], ids=["forked", "started afresh"])
def test_what_fails_or_crashes_takes_no_other_task_with_it(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A forked process cannot use a GPU that its parent has touched.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    pool: Pool[int] = Pool(crash, jobs=4)
    assert not list(pool.finished())  # nothing runs, so there is nothing to wait for
    for number in range(4):
        pool.start(number)
    assert pool.full
    found = {}
    while pool.running:
        found.update(pool.finished())
    assert {number: found[number].value for number in (0, 3)} == {0: 0, 3: 9}
    assert found[1].error == "ValueError: one is"
    assert found[1].where[-1].startswith("test_compare.py:")
    assert "SIGKILL" in found[2].error


def pretend(task: Task) -> dict[str, Any]:
    """Leave a trace of every start, and the record of a run."""
    with (task.folder.parent.parent / "starts").open("a") as file:
        file.write(task.run.id + "\n")
    if task.run.arm.startswith("difflift") and task.run.config.seed == 1:
        raise RuntimeError("no luck")
    rate = {"training_acceptance_rate": 0.1 * task.run.config.seed}
    return {**describe(task.run), "status": "done", **rate}


class Silent:
    def started(self, run: Any) -> None: ...

    def ended(self, run: Any, record: dict[str, Any]) -> None: ...


def test_random_arm_takes_the_rate_of_its_source_and_fails_with_it(tmp_path: Path) -> None:
    grid = Grid(
        datasets=("MUTAG",), tnns=("cwn",), liftings=("random", "difflift"), seeds=(1, 2, 3)
    )
    runs = grid.plan().runs
    path = tmp_path / "results.jsonl"
    with Results(path) as results:
        campaign = Campaign(results, runs, tmp_path / "scratch", work=pretend)
        campaign.run(3, Silent())
        assert campaign.missing == []
        assert len(Campaign(results, runs, tmp_path, retry=True).missing) == 2
    found = {(r["arm"].partition("/")[0], r["seed"]): r for r in read_results(path)}
    assert len(found) == len(runs) == 6
    assert found["difflift", 1]["error"] == "RuntimeError: no luck"
    assert "gave no rate of acceptance: RuntimeError: no luck" in found["random", 1]["error"]
    assert [found["random", seed]["config"]["rate"] for seed in (2, 3)] == [0.2, 0.1 * 3]
    assert len((tmp_path / "starts").read_text().split()) == 5


def test_comparison_ends_with_a_run_that_cannot_begin(tmp_path: Path) -> None:
    runs = Grid(("MUTAG",), ("cwn",), ("random", "difflift"), seeds=(1,)).plan().runs
    with Results(tmp_path / "results.jsonl") as results:
        Campaign(results, runs, tmp_path / "scratch" / "runs", work=pretend).run(2, Silent())
        assert [record["status"] for record in results.records.values()] == ["failed", "failed"]


# ---------------------------------------------------------------------- real runs


ARMS_HERE = "gnn,none,cycle,accept_all,difflift,random,frozen,dcm"


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("whole") / "results.jsonl"
    more = ["--liftings", ARMS_HERE, "--folds", "0-1", "--jobs", "2", "--baseline", "none"]
    return out, call(*arguments(root, out, *more))


def test_comparison_leaves_a_line_for_each_run_and_a_report(whole: tuple[Path, Any]) -> None:
    out, done = whole
    assert done.exit_code == 0, done.output
    names = ("results.md", "results.report.json", "results.scores.png", "results.differences.png")
    assert {path.name for path in out.parent.iterdir()} == {"results.jsonl", *names}
    records = read_results(out)
    arms = Counter(record["arm"].partition("/")[0] for record in records)
    assert arms == dict.fromkeys(ARMS_HERE.split(","), 2)
    for record in records:
        assert record["status"] == "done"
        assert 0 <= record["test"] <= 1
        assert sum(record["split"].values()) == 24
        assert record["versions"]["torch"] == torch.__version__
        assert 50 < record["peak_memory_mib"] < 20_000
        learned = record["arm"].startswith(("difflift", "dcm"))
        assert (record["collapsed"] is None) != learned
        stages = {"encoder", "network"}
        if record["arm"].startswith(("difflift", "accept_all", "random")):
            stages |= {"acceptance", "memberships", "sizes"}
        if record["arm"] == "dcm":
            stages |= {"acceptance", "sizes"}
        assert set(record["gradient_norms"]["last"]) == stages
        assert all(norm > 0 for norm in record["gradient_norms"]["first"].values()) or (
            record["arm"].startswith(("accept_all", "random"))
        )
        drawn = record["arm"].startswith(("difflift", "dcm", "accept_all", "random"))
        assert (record["prediction_variance"] is not None) == drawn
    for text in ("accepted", "minus none [95 %]", "difflift/straight_through"):
        assert text in (out.with_suffix(".md")).read_text()
    rows = json.loads(out.with_suffix(".report.json").read_text())["rows"]
    assert {row["arm"]: row["n_runs"] for row in rows} == {r["arm"]: 2 for r in records}


def test_random_and_frozen_arms_follow_their_source(whole: tuple[Path, Any]) -> None:
    found = {(r["arm"].partition("/")[0], r["fold"]): r for r in read_results(whole[0])}
    for fold in (0, 1):
        learned = found["difflift", fold]
        rate = learned["training_acceptance_rate"]
        assert found["random", fold]["config"]["rate"] == rate
        # The same cells in the test set, found by the same lifting; the network is another.
        assert found["frozen", fold]["lifting"] == learned["lifting"]
        assert found["frozen", fold]["gradient_norms"] != learned["gradient_norms"]


def test_killed_comparison_goes_on_and_ends_as_if_it_had_not_been(
    root: Path, tmp_path: Path, whole: tuple[Path, Any]
) -> None:
    out = tmp_path / "results.jsonl"
    given = arguments(root, out, "--liftings", "gnn,difflift,random", "--folds", "0-1")
    script = "from topox_difflift.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *given, "--jobs", "1"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 600
    while not out.exists() or out.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    with out.open("ab") as file:  # as if it had been killed in the middle of a line
        file.write(b'{"id": "0123')
    before = read_results(out)
    assert 2 <= len(before) < 6
    done = call(*given, "--jobs", "2")
    assert done.exit_code == 0, done.output
    records = read_results(out)
    assert records[: len(before)] == before
    assert len(records) == len({record["id"] for record in records}) == 6
    assert not (tmp_path / "results.jsonl.unfinished").exists()
    # One after the other and together, interrupted or not: the same figures.
    undisturbed = {record["id"]: figures(record) for record in read_results(whole[0])}
    for record in records:
        assert figures(record) == undisturbed[record["id"]]
    assert "0 to do" in call(*given).output
    assert read_results(out) == records


@pytest.mark.skipif("TOPOX_DIFFLIFT_DATA" not in os.environ, reason="set it to where MUTAG is")
def test_small_version_of_the_experiment(tmp_path: Path) -> None:
    out = tmp_path / "small.jsonl"
    given = [
        *("compare", "--datasets", "planted_hyperedges,MUTAG", "--folds", "0", "--tnns", "unigcn"),
        *("--liftings", "gnn,none,cycle,knn,accept_all,random,difflift,frozen"),
        *("--max-epochs", "1", "--hidden-channels", "8"),
        *("--batch-size", "200", "--jobs", "2", "--baseline", "knn", "--out", str(out)),
    ]
    done = call(*given)
    assert done.exit_code == 0, done.output
    assert "14 runs, 1 combinations left out" in done.output
    assert "left out unigcn, cycle" in done.output
    arms = {f"{kind}/straight_through" for kind in ("difflift", "random", "frozen")}
    arms |= {"gnn", "none", "knn", "accept_all"}
    records = read_results(out)
    assert Counter(r["dataset"] for r in records) == {"planted_hyperedges": 7, "MUTAG": 7}
    for dataset, sizes in (("planted_hyperedges", [4800, 600, 600]), ("MUTAG", [150, 19, 19])):
        found = {r["arm"]: r for r in records if r["dataset"] == dataset}
        assert set(found) == arms
        assert all(list(r["split"].values()) == sizes for r in found.values())
        assert all(r["device"] == "cpu" and r["epochs"] == 1 for r in found.values())
        chance = found["random/straight_through"]
        rate = found["difflift/straight_through"]["training_acceptance_rate"]
        assert chance["config"]["rate"] == rate
        assert abs(chance["training_acceptance_rate"] - rate) < 0.05
        drawn = {r["arm"] for r in found.values() if r["prediction_variance"] is not None}
        assert drawn == {*arms - {"gnn", "none", "knn", "frozen/straight_through"}}
        table = json.loads(out.with_suffix(".report.json").read_text())["rows"]
        assert {row["arm"] for row in table if row["dataset"] == dataset} == arms
        assert all((row["difference"] is None) == (row["arm"] == "knn") for row in table)
    assert "14 already done, 0 to do" in call(*given).output
    assert read_results(out) == records


def test_failing_run_is_recorded_and_the_others_go_on(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    raw = tmp_path / "data" / "BROKEN" / "raw"
    raw.mkdir(parents=True)
    (raw / "BROKEN_A.txt").write_text("not a graph\n")
    (tmp_path / "data" / "RINGS").symlink_to(root / "RINGS")
    given = ["--liftings", "gnn", "--datasets", "BROKEN,RINGS", "--jobs", "2"]
    done = call(*arguments(tmp_path / "data", out, *given))
    assert done.exit_code == 1
    assert "1 of 2 runs failed" in done.output
    found = {record["dataset"]: record for record in read_results(out)}
    assert (found["RINGS"]["status"], found["BROKEN"]["status"]) == ("done", "failed")
    assert "'dataset'" in found["BROKEN"]["error"]
    assert str(tmp_path) not in json.dumps(found["BROKEN"]["where"])
    assert "0 to do" in call(*arguments(tmp_path / "data", out, *given)).output
    assert "1 to do" in call(*arguments(tmp_path / "data", out, *given, "--retry")).output


# ---------------------------------------------------------------------- the report


def record(arm: str, fold: int, test: float, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{more.get('tnn', 'cwn')} {arm} {fold} {more.get('epochs', 5)}",
        "status": "done",
        "dataset": "MUTAG",
        "tnn": more.get("tnn", "cwn"),
        "encoder": "gin",
        "arm": arm,
        "seed": 0,
        "fold": fold,
        "version": "1",
        "config": {
            "max_epochs": more.get("epochs", 5),
            "patience": 3,
            "lifting": arm,
            "fold": fold,
        },
        "metric": "accuracy",
        "higher_is_better": True,
        "val": test,
        "test": test,
        "best_epoch": more.get("best_epoch", 2),
        "epochs": more.get("ended", 5),
        "split": {"train": 80, "val": 10, "test": 10},
        "seconds": 1.0,
        "collapsed": more.get("collapsed"),
        "lifting": {"1": {"candidates": more.get("candidates", 0), "accepted": 3}},
    }


def test_means_and_paired_differences_are_those_counted_by_hand() -> None:
    records = [record("none", fold, test) for fold, test in enumerate((0.5, 0.6, 0.7, 0.9))]
    more = {"candidates": 4, "collapsed": True}
    records += [record("cycle", f, t, **more) for f, t in enumerate((0.6, 0.8, 0.7))]
    report = Report.of(records, "none")
    none, cycle = report.rows
    assert (none.n_runs, none.mean, none.difference) == (4, pytest.approx(0.675), None)
    # Squares of deviations: 0.030625 + 0.005625 + 0.000625 + 0.050625, divided by 3.
    assert none.std == pytest.approx(math.sqrt(0.0875 / 3))
    assert (cycle.mean, cycle.std) == (pytest.approx(0.7), pytest.approx(0.1))
    assert (cycle.acceptance_rate, cycle.n_collapsed) == (0.75, 3)
    found = cycle.difference
    assert found is not None
    # Differences 0.1, 0.2, 0: mean 0.1, sd 0.1; t with 2 degrees of freedom at 0.975: 4.302653;
    # folds of one dataset, with test sets of an eighth of the training sets.
    reach = 4.302653 * 0.1 * math.sqrt(1 / 3 + 1 / 8)
    assert (found.mean, found.n_pairs, found.over) == (pytest.approx(0.1), 3, "splits")
    assert found.high == pytest.approx(0.1 + reach, rel=1e-6)
    assert found.low == pytest.approx(0.1 - reach, rel=1e-6)
    assert "| cycle | 0.700 ± 0.100 | 3 | +0.100 [-0.191, +0.391] | 75.0% |" in report.markdown()


def test_runs_that_ended_before_they_learned_have_a_column_and_a_note() -> None:
    learned = record("none", 0, 0.6)
    assert "ntrained" not in Report.of([learned]).markdown()
    ended = {"best_epoch": 0, "ended": 4}
    report = Report.of([learned, record("none", 1, 0.5, **ended), record("none", 2, 1.0, **ended)])
    assert report.rows[0].n_untrained == 1
    (columns,) = report.tables.values()
    assert columns["untrained"] == ["1"]
    assert "a longer --patience" in report.markdown()


def test_panels_keep_their_width_beside_long_names_of_arms() -> None:
    pytest.importorskip("matplotlib", reason='needs the extra "plot"')
    from topox_difflift.compare.plots import plot_scores

    long = "difflift/straight_through[" + ",".join(f"option_{i}=step:0:0.05:40" for i in range(4))
    figure = plot_scores(Report.of([record("none", 0, 0.5), record(f"{long}]", 0, 0.6)]))
    figure.savefig(io.BytesIO())  # Warnings are errors: the layout has found room.
    (axes,) = figure.axes
    assert axes.get_position().width * figure.get_size_inches()[0] > 1


def test_report_keeps_settings_apart_and_a_plain_gnn_beside_every_network() -> None:
    records = [record("gnn", fold, 0.5, tnn="gnn") for fold in (0, 1)]
    records += [record("none", fold, 0.6, tnn=tnn) for fold in (0, 1) for tnn in ("cwn", "ccxn")]
    records += [record("none", fold, 0.9, epochs=50) for fold in (0, 1)]
    report = Report.of(records, "gnn")
    found = [(row.tnn, row.arm, row.mean, row.n_runs) for row in report.rows]
    assert found == [
        ("ccxn", "gnn", 0.5, 2),
        ("ccxn", "none", 0.6, 2),
        ("cwn", "gnn", 0.5, 2),
        ("cwn", "none", 0.6, 2),
        ("cwn", "none", 0.9, 2),
    ]
    gains = [row.difference.mean for row in report.rows if row.difference is not None]
    assert gains == [pytest.approx(0.1)] * 2
    assert len(report.tables) == 3


def test_last_line_of_a_run_counts_and_failed_ones_are_counted_apart() -> None:
    failed = {**record("none", 0, 0.0), "status": "failed", "error": "no luck"}
    again = record("none", 0, 0.7)
    lost = {**failed, "id": "other"}
    report = Report.of([failed, lost, again])
    assert [row.mean for row in report.rows] == [0.7]
    assert [one["id"] for one in report.failed] == ["other"]
    assert "Runs that failed and are not in the table: 1." in report.markdown()
    with pytest.raises(ValueError, match=r"'baseline' to be one of none"):
        Report.of([again], "cycle")


def test_lock_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    script = (
        "import sys, time; from pathlib import Path; "
        "from topox_difflift.compare.results import _lock; import os; "
        "file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); "
        "_lock(file, Path(sys.argv[1]), wait=False); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    Results(path).close()
