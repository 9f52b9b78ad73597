"""The guide tells the truth: its code runs, and below it stands what it prints or raises."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import shlex
import sys
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
import torch

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "tutorials"
GUIDE = [TUTORIALS / "index.md", *sorted((TUTORIALS / "guide").glob("*.md"))]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(
    r"^(?:<!-- without (?P<missing>\w+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


class Step(NamedTuple):
    """A block of code, and what the page says that it prints or raises."""

    line: int
    code: str
    missing: str | None
    expected: str | None


def steps_of(text: str) -> list[Step]:
    """Pair each block of code with the block of text that follows it, if one does."""
    fences = list(FENCE.finditer(text))
    steps = []
    for fence, after in zip_longest(fences, fences[1:]):
        if fence["kind"] == "python":
            line = text.count("\n", 0, fence.start("body"))
            shown = after["body"] if after and after["kind"] == "text" else None
            steps.append(Step(line, fence["body"], fence["missing"], shown))
    return steps


def run(step: Step, page: Path, names: dict) -> str:
    """Return what the code prints, and the error or warning that it ends with."""
    printed = io.StringIO()
    # As many lines above it as in the page, so that a traceback names the right one.
    code = compile("\n" * step.line + step.code, str(page), "exec")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        if step.missing is not None:
            parts = [name for name in sys.modules if name.startswith(f"{step.missing}.")]
            for name in (step.missing, *parts):
                patch.setitem(sys.modules, name, None)
        try:
            exec(code, names)
        except (Exception, SystemExit) as error:  # pytest makes warnings errors
            if step.expected is None:
                raise
            kind = "" if isinstance(error, SystemExit) else f"{type(error).__name__}: "
            printed.write(f"{kind}{error}")
    return printed.getvalue()


def matches(expected: str, found: str) -> bool:
    """Compare words; ``...`` stands for any."""
    pattern = re.escape(" ".join(expected.split())).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, " ".join(found.split())) is not None


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_code_of_the_guide_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "guide"}
    with torch.random.fork_rng(devices=[]):
        for step in steps_of(page.read_text()):
            found = run(step, page, names)
            if step.expected is not None:
                where = f"{page.name}, line {step.line + 1}"
                assert matches(step.expected, found), (
                    f"{where} shows\n{step.expected}\nnot\n{found}"
                )


def test_what_is_shown_can_be_wrong():
    step = steps_of("```python\nprint(1)\nraise ValueError('no')\n```\n\n```text\n2\n```\n")[0]
    found = run(step, Path("page.md"), {})
    assert found == "1\nValueError: no"
    assert not matches("2", found)
    assert matches("1 ...: no\n", found)


def test_every_problem_of_the_faq_shows_its_message():
    for problem in (TUTORIALS / "guide" / "faq.md").read_text().split("\n## ")[1:]:
        title = problem.splitlines()[0]
        assert any(step.expected for step in steps_of("\n" + problem)), title


def commands(start: str) -> list[str]:
    """Commands in the guide and in the README, in blocks and between backquotes."""
    text = "\n".join([README, *(page.read_text() for page in GUIDE)])
    found = re.findall(rf"^{start}.*$|(?<=`){start}[^`]*", text, re.MULTILINE)
    return sorted({" ".join(words.split()).split(" && ")[0] for words in found})


@pytest.mark.parametrize("command", commands(r"python (?:-m )?benchmarks[/.]"))
def test_benchmarks_that_are_named_have_these_options(command):
    words = [word for word in shlex.split(command)[1:] if word != "-m"]
    script = words[0] if words[0].endswith(".py") else words[0].replace(".", "/") + "/__main__.py"
    source = (ROOT / script).read_text()
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


@pytest.mark.parametrize("command", commands("topox-difflift train"))
def test_training_commands_of_the_guide_are_possible(command):
    typer = pytest.importorskip("typer")
    from topox_difflift.commands import app
    from topox_difflift.config import TrainingConfig

    train = typer.main.get_command(app).commands["train"]
    words = [word for word in shlex.split(command)[2:] if word != "--help"]
    chosen = train.make_context("train", words).params
    del chosen["out"], chosen["resume"]
    TrainingConfig(**chosen)


@pytest.mark.parametrize("command", commands("topox-difflift compare "))
def test_comparisons_of_the_guide_are_possible(command, tmp_path, monkeypatch):
    testing = pytest.importorskip("typer.testing")
    from topox_difflift.commands import app

    monkeypatch.chdir(tmp_path)
    found = testing.CliRunner().invoke(app, [*shlex.split(command)[1:], "--dry-run"])
    assert found.exit_code == 0, found.output


def test_reference_covers_every_public_module():
    pages = "".join(page.read_text() for page in (TUTORIALS / "api").glob("*.rst"))
    listed = set(re.findall(r"public-names:: topox_difflift\.(\S+)", pages))
    assert {
        "lift", "complex", "summary", "domains", "estimators", "encoders", "liftings", "nn",
        "products", "schedules", "datasets", "plotting", "testing", "integrations.toponetx",
        "integrations.topobench",
    } <= listed  # fmt: skip


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((tutorials/[^)#]+)", README))))
def test_links_of_the_readme_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_picture_of_the_readme_is_the_one_of_its_tutorial():
    notebook = nbformat.read(TUTORIALS / "01_lift_a_graph.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    picture = base64.b64encode((TUTORIALS / "learned.png").read_bytes()).decode()
    assert picture in ["".join(p.split()) for p in pictures]


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stored_with_clean_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr)/", str(outputs))
