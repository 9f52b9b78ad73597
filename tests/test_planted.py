"""A small version of the planted experiment in benchmarks/planted.py."""

import runpy
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "planted.py"


def test_default_finds_the_groups_and_the_paper_form_does_not():
    planted = runpy.run_path(str(BENCHMARK))
    small = {"n_train": 1500, "n_test": 300, "num_nodes": 12, "epochs": 20}
    default = planted["run"](0, **small)
    paper = planted["run"](0, **small, **planted["ROWS"]["paper"])
    assert default["accuracy"] > 0.9
    assert default["purity"] > 0.7
    assert paper["accuracy"] < default["accuracy"] - 0.1
    assert paper["purity"] < 0.5
