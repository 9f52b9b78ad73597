"""What TopoBench gets: the feature encoder, configurations, tests and a tutorial."""

from __future__ import annotations

import ast
import inspect
import textwrap
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from topox_difflift.upstream.bundle import source_of
from topox_difflift.upstream.checkout import Kit
from topox_difflift.upstream.notebooks import notebook
from topox_difflift.upstream.templates import template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.resources.abc import Traversable

__all__ = ["TOPOBENCH"]

_OURS = "topox_difflift.integrations.topobench"
_NAME = "DiffLiftFeatureEncoder"
#: Folders of our configurations that are of use without a change of TopoBench's registries.
_CONFIGS = ("difflift", "experiment", "model")


def encoder(read: Callable[[str], str] = source_of) -> str:
    """
    Write the feature encoder: ours, where TopoBench discovers it.

    Parameters
    ----------
    read : callable
        From the name of a module to its source.

    Returns
    -------
    str
        A module of TopoBench's, whose signature and documentation are those of ours.
    """
    tree = ast.parse(read(f"{_OURS}.encoder"))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == _NAME)
    methods = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
    signature, arguments = _signature(methods["__init__"].args)
    return Template(template("topobench/encoder.py.txt")).substitute(
        name=_NAME,
        docstring=_docstring(cls, 1).replace(f"from {_OURS} ", "from topobench.nn.encoders "),
        signature=signature,
        arguments=arguments,
        forward=_docstring(methods["forward"], 2),
    )


def _docstring(node: ast.ClassDef | ast.FunctionDef, depth: int) -> str:
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    return textwrap.indent(f'r"""{text}\n"""', "    " * depth)


def _signature(arguments: ast.arguments) -> tuple[str, str]:
    """Write down how a method is called, and how it calls the same one of its base."""
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    passed = [argument.arg for argument in arguments.args[1:]]
    passed += [f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs]
    if arguments.kwarg is not None:
        passed.append(f"**{arguments.kwarg.arg}")
    return ast.unparse(arguments), ", ".join(passed)


def _configs() -> Iterator[tuple[str, str]]:
    root = files("topox_difflift.integrations.topobench_configs")
    for folder in _CONFIGS:
        for path, text in _files_below(root / folder, f"configs/{folder}"):
            target = "topobench.nn.encoders.${model.feature_encoder.encoder_name}"
            yield path, text.replace(f"{_OURS}.{_NAME}", target)


def _files_below(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files_below(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".yaml"):
            yield f"{path}/{entry.name}", entry.read_text(encoding="utf-8")


def _files() -> dict[str, str]:
    tutorial = template("topobench/tutorial.txt")
    return {
        "topobench/nn/encoders/difflift_encoder.py": encoder(),
        **dict(_configs()),
        "test/nn/encoders/test_difflift_encoder.py": template("topobench/test_encoder.py.txt"),
        "test/pipeline/test_difflift.py": template("topobench/test_pipeline.py.txt"),
        "tutorials/tutorial_difflift.ipynb": notebook("difflift", tutorial),
    }


TOPOBENCH = Kit(
    project="TopoBench",
    repository="geometric-intelligence/TopoBench",
    folders=("topobench/nn/encoders", "configs/model", "test/nn/encoders", "test/pipeline"),
    files=_files,
    checks=(
        "pip install topox-difflift",
        "pre-commit run --files {files}",
        "python -m pytest test/nn/encoders/test_difflift_encoder.py test/pipeline/test_difflift.py",
        "python -m topobench model=cell/cwn_difflift dataset=graph/MUTAG experiment=difflift",
    ),
    note="To declare the package, add it to the optional dependencies in pyproject.toml:\n"
    '  difflift = ["topox-difflift"]',
)
