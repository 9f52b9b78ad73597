"""The page of results, and the notebook, say what the recorded lines say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import nbformat
import pytest

pytest.importorskip("lightning", reason='needs the extra "train"')
pytest.importorskip("typer", reason='needs the extra "train"')

import results_page
from results_page import NOTEBOOK, PAGE, RESULTS, page

from topox_difflift.compare import read_folder

if TYPE_CHECKING:
    from pathlib import Path


def tables(text: str) -> list[str]:
    return re.findall(r"(?:^\| .*\|\n)+", text, re.MULTILINE)


def test_page_is_what_the_lines_give() -> None:
    assert page(RESULTS) == PAGE.read_text(), "run python tests/results_page.py"


def test_notebook_is_stored_with_the_tables_and_sentences_of_the_page() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = "\n".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    text = PAGE.read_text()
    assert len(tables(text)) >= 3
    for table in tables(text):
        assert table in shown, "run python tests/results_page.py"
    for sentence in re.findall(r"^\* .*$", text, re.MULTILINE):
        assert sentence in shown


def test_readme_says_what_the_page_says() -> None:
    readme = (PAGE.parents[2] / "README.md").read_text()
    readme = readme.split("## Does it pay?", 1)[1].split("\n## ", 1)[0]
    text = PAGE.read_text()
    rows = re.findall(r"^\| (\w+) \|(.*±.*)\|$", readme, re.MULTILINE)
    assert len(rows) == 4
    for network, cells in rows:
        row = re.search(rf"^\| MUTAG \| {network.lower()} \| .*±.*$", text, re.MULTILINE)
        assert row
        assert all(f" {cell} (10) " in row[0] for cell in re.findall(r"[\d.]+ ± [\d.]+", cells))
    said = re.search(r"(\d+) pairs .* best of these in (\d+)", readme.replace("\n", " "))
    assert said
    assert f"at least as good as the best static arm in {said[2]} of {said[1]} pairs" in text
    assert f"significantly better than the best static arm in 2 of {said[1]} pairs" in text
    assert f"significantly worse in 0 of {said[1]}" in text


def test_lines_are_of_runs_that_are_done_and_small() -> None:
    for path in RESULTS.glob("*.jsonl"):
        assert path.stat().st_size < 5_000_000
    for lines in read_folder(RESULTS).values():
        assert len({line["id"] for line in lines if line["status"] == "done"}) > 0


def test_page_changes_with_the_lines(tmp_path: Path) -> None:
    lines = [line for of_file in read_folder(RESULTS).values() for line in of_file]
    planted = [line for line in lines if line["dataset"].startswith("planted_")]
    better = [{**line, "test": 1.0} for line in planted if line["arm"].startswith("difflift/")]
    path = tmp_path / "planted.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in planted + better))
    found = page(tmp_path)
    assert "∂lift closes 100% of the gap. Mark, 90%: reached." in found
    assert found.count("No run is recorded yet.") == 3
    assert results_page.listed(["a", "b"]) == "* a\n* b"
