"""What is declared, installed and shipped."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import topox_difflift

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_exactly_one_distribution_provides_torch_geometric() -> None:
    assert len(set(packages_distributions()["torch_geometric"])) == 1


def test_torch_geometric_is_not_declared_a_second_time(project: dict) -> None:
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {Requirement(line).name.lower() for group in groups for line in group}
    assert {"torch", "toponetx", "topomodelx", "scipy", "networkx", "numpy"} <= names
    assert not names & {"torch-geometric", "pyg-nightly", "torch-cluster", "pyg-lib"}


def test_version_is_one_and_is_in_the_changelog_and_the_citation(project: dict) -> None:
    assert "version" in project["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {topox_difflift.__version__}\n" in citation
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_package_is_typed() -> None:
    assert files("topox_difflift").joinpath("py.typed").is_file()


def test_every_public_name_is_there() -> None:
    assert all(hasattr(topox_difflift, name) for name in topox_difflift.__all__)


def test_console_script_is_declared(project: dict) -> None:
    assert project["scripts"] == {"topox-difflift": "topox_difflift.cli:main"}
    installed = [e for e in entry_points(group="console_scripts") if e.name == "topox-difflift"]
    assert not installed or installed[0].load().__name__ == "main"


OPTIONAL = ("entmax", "lightning", "matplotlib", "numba", "rich", "torchmetrics", "typer")


@pytest.mark.parametrize("module", ["topox_difflift", "topox_difflift.cli"])
def test_import_needs_no_optional_package(module: str) -> None:
    code = (
        "import sys\n"
        f"for name in {OPTIONAL}: sys.modules[name] = None\n"
        f"import {module}\n"
        f"assert not [n for n in {OPTIONAL} if sys.modules[n] is not None]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_plotting_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from topox_difflift.plotting import new_figure

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"topox-difflift\[plot\]"):
        new_figure()


def test_the_command_line_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from topox_difflift.cli import main

    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"topox-difflift\[train\]"):
        main()
