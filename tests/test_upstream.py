"""What other projects get is complete, in their style, passes its tests, and comes from here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("ruff", reason='needs the extra "upstream"')
pytest.importorskip("typer", reason='needs the extra "train"')

import nbformat
import yaml
from typer.testing import CliRunner

from topox_difflift.commands import app
from topox_difflift.upstream import KITS, checkout, generate, topobench, write
from topox_difflift.upstream.bundle import bundle, source_of
from topox_difflift.upstream.tutorials import LEFT, TUTORIALS

CONFIGURATIONS = Path(__file__).parent / "checkouts"
ROOT = Path(__file__).parents[1]
TUTORIAL_NAMES = (ROOT / "tests/checkouts/topomodelx/tutorials.txt").read_text().split()
FILES = {
    "topobench": {
        "topobench/nn/encoders/difflift_encoder.py",
        "configs/difflift/model.yaml",
        "configs/difflift/topotune.yaml",
        "configs/experiment/difflift.yaml",
        "configs/model/cell/ccxn_difflift.yaml",
        "configs/model/cell/cwn_difflift.yaml",
        "configs/model/cell/topotune_difflift.yaml",
        "configs/model/combinatorial/topotune_difflift.yaml",
        "configs/model/hypergraph/unignn2_difflift.yaml",
        "configs/model/hypergraph/unignn_difflift.yaml",
        "configs/model/simplicial/sccn_difflift.yaml",
        "configs/model/simplicial/scn_difflift.yaml",
        "configs/model/simplicial/topotune_difflift.yaml",
        "test/nn/encoders/test_difflift_encoder.py",
        "test/pipeline/test_difflift.py",
        "tutorials/tutorial_difflift.ipynb",
    },
    "topomodelx": {
        "topomodelx/utils/products.py",
        "test/utils/test_products.py",
        "benchmarks/products.py",
    },
    "topomodelx-tutorials": {
        f"tutorials/{name}_difflift_train.ipynb" for name in TUTORIAL_NAMES if name not in LEFT
    },
}
#: What the encoder's module and its tests need of TopoBench.
TOPOBENCH = {
    "topobench/__init__.py": "",
    "topobench/loss/__init__.py": "",
    "topobench/loss/base.py": "class AbstractLoss:\n    pass\n",
    "topobench/nn/__init__.py": "",
    "topobench/nn/encoders/__init__.py": (
        "from topobench.nn.encoders.difflift_encoder import DiffLiftFeatureEncoder\n"
    ),
    "topobench/nn/encoders/base.py": (
        "import torch\n\n\nclass AbstractFeatureEncoder(torch.nn.Module):\n    pass\n"
    ),
}


def skeleton(name: str, root: Path) -> Path:
    """Make the folders of a checkout, its lint configuration, and the package it is of."""
    # Under another name in this repository, where ruff would take it for ours.
    configuration = CONFIGURATIONS / name.partition("-")[0] / "pyproject.txt"
    shutil.copyfile(configuration, root / "pyproject.toml")
    for folder in KITS[name].folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    if name == "topobench":
        for path, text in TOPOBENCH.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    else:
        overlay(root / "topomodelx")
    return root


def overlay(package: Path) -> None:
    """Fill a package with what is installed of it."""
    (installed,) = find_spec(package.name).submodule_search_locations
    package.mkdir(exist_ok=True)
    for folder in (package, *(entry for entry in package.rglob("*") if entry.is_dir())):
        for entry in (Path(installed) / folder.relative_to(package)).iterdir():
            if not (folder / entry.name).exists() and entry.name != "__pycache__":
                (folder / entry.name).symlink_to(entry)


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
    # As pre-commit does, which leaves out what the project excludes.
    options = ["--no-cache", "--force-exclude"]
    run("-m", "ruff", "check", *options, *code, at=root)
    run("-m", "ruff", "format", *options, "--check", *code, at=root)
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


def notebooks(root: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in root.glob("tutorials/**/*.ipynb")}


def test_notebooks_are_valid_and_their_code_compiles(written):
    name, root = written
    found = notebooks(root)
    assert len(found) == sum(path.endswith(".ipynb") for path in FILES[name])
    for path, notebook in found.items():
        nbformat.validate(notebook)
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                compile("".join(cell["source"]), path, "exec")
            else:
                assert "$" not in "".join(cell["source"])


def test_every_tutorial_of_topomodelx_is_known():
    """A tutorial is written again, or there is a reason why not."""
    taken = [tutorial.path for tutorial in TUTORIALS]
    assert sorted([*taken, *LEFT]) == TUTORIAL_NAMES


def test_one_line_sets_the_lifting(tmp_path):
    root = skeleton("topomodelx-tutorials", tmp_path)
    write(KITS["topomodelx-tutorials"], root)
    for notebook in notebooks(root).values():
        code = [
            "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"
        ]
        lines = [line for source in code for line in source.splitlines()]
        assert sum(line.startswith("lift = DiffLift(") for line in lines) == 1
        assert sum("DiffLift(" in line for line in lines) == 1


def test_the_configurations_name_what_exists(tmp_path):
    root = skeleton("topobench", tmp_path)
    write(KITS["topobench"], root)
    targets = set()
    for path in root.glob("configs/**/*.yaml"):
        yaml.safe_load(path.read_text())
        targets |= set(re.findall(r"_target_: *(\S+)", path.read_text()))
    encoder = "topobench.nn.encoders.${model.feature_encoder.encoder_name}"
    assert encoder in targets
    assert (
        "encoder_name: DiffLiftFeatureEncoder" in (root / "configs/difflift/model.yaml").read_text()
    )
    ours = {target for target in targets if target.startswith("topox_difflift.")}
    assert targets - ours - {encoder} == {"topobench.model.TBModel"}
    for target in ours:
        module, _, attribute = target.rpartition(".")
        assert hasattr(import_module(module), attribute), target


def test_the_encoder_is_generated_from_ours(tmp_path):
    def changed(module: str) -> str:
        text = source_of(module)
        for old, new in [
            ("proj_dropout: float = 0,\n", "proj_dropout: float = 0.5,\n"),
            ("Lift the graphs of a batch", "Lift graphs"),
        ]:
            assert old in text
            text = text.replace(old, new, 1)
        return text

    before, after = topobench.encoder(), topobench.encoder(changed)
    assert "proj_dropout=0," in before
    assert "proj_dropout=0.5," in after
    assert "Lift graphs, and encode" in after


def test_the_tests_that_topobench_gets_pass(tmp_path):
    root = skeleton("topobench", tmp_path)
    write(KITS["topobench"], root)
    test = "test/nn/encoders/test_difflift_encoder.py"
    said = run("-m", "pytest", "-q", test, at=root, path=str(root))
    assert "10 passed" in said


def test_the_tests_that_topobench_gets_can_fail(tmp_path):
    """A lifting without gradient is found out."""
    root = skeleton("topobench", tmp_path)
    write(KITS["topobench"], root)
    module = root / "topobench/nn/encoders/difflift_encoder.py"
    text = module.read_text()
    body = "        import torch\n\n        with torch.no_grad():\n    "
    call = "        return super().forward(data)"
    assert call in text
    module.write_text(text.replace(call, body + call))
    with pytest.raises(AssertionError, match="test_the_gradient_reaches_the_acceptances"):
        run("-m", "pytest", "-q", "test/nn/encoders/test_difflift_encoder.py", at=root,
            path=str(root))  # fmt: skip
