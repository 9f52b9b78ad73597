"""The benchmark suite in its smallest form: all sections have rows, and a failure is one too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TIME = {"cpu", "wall"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("suite")
    command = [sys.executable, "-m", "benchmarks.suite", "--plan", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "suite.json").read_text())


def test_files_lie_beside_each_other(folder, results):
    assert {path.name for path in folder.iterdir()} == {
        "growth.png", "stages.png", "suite.json", "suite.md",
    }  # fmt: skip
    text = (folder / "suite.md").read_text()
    assert all(mark["what"] in text for mark in results["marks"])
    assert results["machine"]["torch"] in text


def test_every_stage_is_watched_forward_and_backward(results):
    rows = results["stages"]
    assert {row["name"] for row in rows} == {"molecules-8", "er-200", "er-800"}
    for row in rows:
        stages = row["stages"]
        # A search within hops is part of the pairs.
        exact = {"search"} if row["name"].startswith("molecules") else set()
        assert set(stages) == exact | {
            "embed", "pairs", "cycles", "accept", "attach", "matrices", "TNN", "readout", "rest",
        }  # fmt: skip
        assert set(row["step"]) == TIME
        # What is learned has a backward pass of its own; a search has none.
        for stage in ("embed", "pairs", "accept", "attach", "TNN", "readout"):
            assert all(stages[stage][direction]["cpu"] > 0 for direction in ("forward", "backward"))
        for stage in exact | {"cycles"}:
            assert set(stages[stage]) == {"forward"}
        assert row["engine"] == "tensors"
        assert row["memory_stages"].keys() == stages.keys()
        assert 0 < row["memory"] < row["process"]
        assert row["entries"] > sum(row["cells"][1:])


def test_growth_is_that_of_the_rows(results):
    entries = [row["entries"] for row in results["stages"] if row["name"].startswith("er-")]
    (found,) = (row for row in results["growth"] if row["quantity"] == "entries")
    assert found["values"] == entries
    assert found["exponent"] == pytest.approx(found["exponent_last"])
    assert 0.9 < found["exponent"] < 1.3


def test_peers_and_limits_have_figures(results):
    topics = {row["topic"] for row in results["peers"]}
    assert topics == {
        "nearest neighbours in a batch, forward + backward",
        "nearest neighbours in one graph",
        "cycle bases",
        "edge_index to B_1, B_2",
        "training step",
    }
    for row in results["peers"]:
        for name, time in row["contenders"].items():
            assert ("reason" in time) != (set(time) >= {*TIME, "ratio"}), name
        assert "reason" not in row["contenders"][row["ours"]]
        assert row["topic"] != "training step" or "reason" not in row["contenders"]["dense"]
    bases = [row["contenders"] for row in results["peers"] if row["topic"] == "cycle bases"]
    for row in bases:
        assert len({time["cycles"] for time in row.values() if "cycles" in time}) == 1
    (limits,) = results["limits"]
    assert limits["gflops_sgemm"] > limits["gflops_dgemm"] > limits["gflops_search"] > 0


def test_bare_network_runs_on_the_complex_of_the_step(results):
    assert {row["rejected"] for row in results["bare"]} == {"keep", "drop"}
    for row in results["bare"]:
        assert row["ratio"] == pytest.approx(row["step"]["cpu"] / row["bare"]["cpu"])
        assert row["ratio"] > 1


def test_verdicts_follow_from_figures(results):
    marks = results["marks"]
    for mark in marks:
        sign = 1 if mark["at_most"] else -1
        if mark["figure"] is None:
            assert mark["verdict"] == "not measured"
        else:
            reached = sign * mark["figure"] <= sign * mark["target"]
            assert mark["verdict"] == ("reached" if reached else "not reached")
    verdicts = {mark["what"]: mark["verdict"] for mark in marks}
    assert verdicts["kNN of 100000 nodes / faiss flat"] == "not measured"
    assert len(verdicts) == len(marks)


def test_a_measurement_that_fails_is_a_row():
    """One with an error, and one that takes too long."""
    code = """
from benchmarks.suite.children import Task, run
for function, settings, seconds in (
    ("memory.resident", {}, 60), ("timing.reason", {"error": ValueError("no")}, 0.0),
):
    print(run(Task("peers", function, settings, seconds=seconds), {}, 1))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    error, late = (line for line in done.stdout.splitlines() if line.startswith("[{"))
    assert "TypeError: resident() missing" in error
    assert "stopped after 0 s" in late
