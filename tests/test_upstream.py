"""What other projects get is complete, in their style, passes its tests, and comes from here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("ruff", reason='needs the extra "upstream"')
pytest.importorskip("typer", reason='needs the extra "train"')

from typer.testing import CliRunner

from topox_difflift.commands import app
from topox_difflift.upstream import KITS, checkout, generate, write
from topox_difflift.upstream.bundle import bundle, source_of

CONFIGURATIONS = Path(__file__).parent / "checkouts"
ROOT = Path(__file__).parents[1]
FILES = {
    "topomodelx": {
        "topomodelx/utils/products.py", "test/utils/test_products.py", "benchmarks/products.py",
    },
}  # fmt: skip


def skeleton(name: str, root: Path) -> Path:
    """Make the folders of a checkout, its lint configuration, and the package that is installed."""
    shutil.copytree(CONFIGURATIONS / name.split("-", maxsplit=1)[0], root, dirs_exist_ok=True)
    for folder in KITS[name].folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    package = root / KITS[name].project.lower()
    (spec,) = find_spec(package.name).submodule_search_locations
    for folder in (package, *(f for f in package.rglob("*") if f.is_dir())):
        for entry in (Path(spec) / folder.relative_to(package)).iterdir():
            if not (folder / entry.name).exists() and entry.name != "__pycache__":
                (folder / entry.name).symlink_to(entry)
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def run(*command: str, at: Path, path: str = "") -> str:
    """Run a command of the checkout; what fails says why."""
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=at, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=KITS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A skeleton with the files of a kit."""
    root = skeleton(request.param, tmp_path)
    before = set(tree(root))
    result = CliRunner().invoke(app, ["upstream", request.param, str(root)])
    assert result.exit_code == 0, result.output
    assert set(tree(root)) - before == FILES[request.param]
    return request.param, root


def test_the_files_pass_the_linters(written):
    name, root = written
    code = sorted(path for path in FILES[name] if path.endswith((".py", ".ipynb")))
    run("-m", "ruff", "check", "--no-cache", *code, at=root)
    run("-m", "ruff", "format", "--no-cache", "--check", *code, at=root)
    if python := [path for path in code if path.endswith(".py")]:
        pytest.importorskip("numpydoc", reason='needs the extra "dev"')
        run("-m", "numpydoc.cli", "lint", *python, at=root)


def test_writing_again_changes_nothing_and_never_overwrites_unasked(written):
    name, root = written
    first = tree(root)
    assert not any(write(KITS[name], root).values())
    assert tree(root) == first
    path = root / min(FILES[name])
    path.write_text("# mine\n")
    mine = tree(root)
    result = CliRunner().invoke(app, ["upstream", name, str(root)])
    assert result.exit_code == 2
    assert "--force" in result.output
    assert tree(root) == mine
    changed = write(KITS[name], root, force=True)
    assert [file.name for file, new in changed.items() if new] == [path.name]
    assert tree(root) == first


@pytest.mark.parametrize("name", KITS)
def test_nothing_is_written_into_another_folder(name, tmp_path):
    for prepare, message in [
        (lambda: None, "No such file"),
        (lambda: (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'"), "project 'x'"),
        (lambda: (tmp_path / "pyproject.toml").write_text("["), "got .*: "),
        (
            lambda: (tmp_path / "pyproject.toml").write_text(
                f"[project]\nname = '{KITS[name].project}'"
            ),
            "no folder",
        ),
    ]:
        prepare()
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=f"Expected 'checkout' to be one of .*{message}"):
            write(KITS[name], tmp_path)
        assert tree(tmp_path) == before


def test_all_or_nothing(tmp_path, monkeypatch):
    root = skeleton("topomodelx", tmp_path)
    (root / "test/utils/test_products.py").write_text("# mine\n")
    before, folders = tree(root), sorted(root.rglob("*"))
    real = Path.write_bytes

    def failing(path: Path, content: bytes) -> int:
        if path.parent.name == "benchmarks":
            raise OSError("disk full")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="disk full"):
        write(KITS["topomodelx"], root, force=True)
    assert tree(root) == before
    assert sorted(root.rglob("*")) == folders


def test_a_file_that_breaks_a_rule_is_not_written(tmp_path):
    root = skeleton("topomodelx", tmp_path)
    kit = checkout.Kit("TopoModelX", "x/y", (), lambda: {"a.py": "a = b\n"}, ())
    with pytest.raises(RuntimeError, match=r"ruff check finds in a\.py(.|\n)*F821"):
        write(kit, root)
    assert not (root / "a.py").exists()


def test_the_command_refuses_what_it_does_not_know(tmp_path):
    result = CliRunner().invoke(app, ["upstream", "toponetx", str(tmp_path)])
    assert result.exit_code == 2
    assert "topomodelx" in result.output


def test_the_product_is_generated_from_our_source(tmp_path, monkeypatch):
    def changed(module: str) -> str:
        text = source_of(module)
        return text.replace("def starts(sizes: Tensor) -> Tensor:", "def starts(sizes):")

    ours = bundle("topox_difflift.sparse", "sparse_mm")
    other = bundle("topox_difflift.sparse", "sparse_mm", changed)
    assert other == ours.replace("def starts(sizes: Tensor) -> Tensor:", "def starts(sizes):")
    assert other != ours
    root = skeleton("topomodelx", tmp_path)
    before = generate(KITS["topomodelx"], root)
    monkeypatch.setattr("topox_difflift.upstream.topomodelx.bundle", lambda *_: other)
    after = generate(KITS["topomodelx"], root)
    different = {path.name for path in before if before[path] != after[path]}
    assert different == {"products.py"}


def test_a_bundle_stands_alone_and_holds_nothing_more():
    text = bundle("topox_difflift.sparse", "sparse_mm")
    code = text.replace("from topox_difflift.sparse import sparse_mm", "")
    assert "topox_difflift" not in code
    assert "numba" not in code
    for gone in ("dispersion", "def grouped", "def mean", "usable", "reverse"):
        assert gone not in code
    scope: dict = {}
    exec("from __future__ import annotations\n" + text, scope)
    assert {"sparse_mm", "Segments", "starts", "owners"} <= set(scope)


def test_a_bundle_names_what_it_cannot_find():
    with pytest.raises(
        ValueError, match=r"'nothing' to be a function .* of topox_difflift\.sparse"
    ):
        bundle("topox_difflift.sparse", "nothing")
    with pytest.raises(ValueError, match="source file"):
        source_of("builtins")
    twice = {
        "a": "from topox_difflift.b import f\ndef g(): ...\ndef root(): f(); g()",
        "topox_difflift.b": "def g(): ...\ndef f(): g()",
    }
    with pytest.raises(ValueError, match=r"one definition of each name \(got two of \['g'\]"):
        bundle("a", "root", twice.__getitem__)


def test_the_tests_that_topomodelx_gets_pass(tmp_path):
    root = skeleton("topomodelx", tmp_path)
    write(KITS["topomodelx"], root)
    said = run("-m", "pytest", "-q", "test/utils/test_products.py", at=root, path=str(root))
    assert "7 passed" in said


def test_the_tests_that_topomodelx_gets_can_fail(tmp_path):
    """PyTorch's own product in the place of ours makes a dense gradient."""
    root = skeleton("topomodelx", tmp_path)
    write(KITS["topomodelx"], root)
    module = root / "topomodelx/utils/products.py"
    module.write_text(module.read_text() + "\n\nsparse_mm = torch.sparse.mm\n")
    with pytest.raises(AssertionError, match="test_nothing_of_rows_times_columns_is_made"):
        run("-m", "pytest", "-q", "test/utils/test_products.py", at=root, path=str(root))


def test_the_benchmark_that_topomodelx_gets_runs(tmp_path):
    root = skeleton("topomodelx", tmp_path)
    write(KITS["topomodelx"], root)
    small = ["--cells", "100", "--repetitions", "1"]
    said = run("benchmarks/products.py", *small, at=root, path=str(root))
    assert [line.split()[0] for line in said.splitlines()] == [
        "product", "sparse_mm", "torch.sparse.mm",
    ]  # fmt: skip
    row = run("benchmarks/products.py", "--only", "sparse_mm", *small, at=root, path=str(root))
    assert set(json.loads(row)) == {"seconds", "megabytes"}
