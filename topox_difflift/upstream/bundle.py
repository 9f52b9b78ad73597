"""One function of this package, with all that it needs of it, as a module that stands alone."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bundle", "source_of"]

_PACKAGE = __name__.partition(".")[0]
#: What asks whether compiled loops are there; a module that stands alone has none.
_OPTIONAL = {"usable"}

_Definition: TypeAlias = ast.FunctionDef | ast.ClassDef
#: A module, and a name that it defines.
_Place: TypeAlias = tuple[str, str]


def source_of(module: str) -> str:
    """
    Read the source of a module.

    Parameters
    ----------
    module : str
        Its full name.

    Returns
    -------
    str
        The text of its file.

    Raises
    ------
    ValueError
        If it is not a file.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.has_location:
        raise ValueError(f"Expected 'module' to be one with a source file (got {module!r})")
    return Path(spec.origin).read_text(encoding="utf-8")


def bundle(module: str, name: str, read: Callable[[str], str] = source_of) -> str:
    """
    Write a function down with the functions, classes and methods of this package that it needs.

    Imports of the package vanish, and with them the compiled loops, which are optional; methods
    that nothing calls are left out.

    Parameters
    ----------
    module, name : str
        Where the function is defined, and its name.
    read : callable
        From the name of a module to its source.

    Returns
    -------
    str
        Source of imports and definitions, the function last; without a docstring of the module.

    Raises
    ------
    ValueError
        If two definitions have one name, or a name is not a function or a class.
    """
    return _Bundle(read).written(module, name)


@dataclass
class _Module:
    """A module, read."""

    lines: list[str]
    definitions: dict[str, _Definition]
    #: Local name of what is imported: the module it comes from, and its name there if it has one.
    imports: dict[str, tuple[str, str | None]]

    @classmethod
    def read(cls, text: str) -> _Module:
        tree = ast.parse(text)
        definitions = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        return cls(text.splitlines(), definitions, dict(_imports(tree)))


def _imports(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, (alias.name, None)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                yield alias.asname or alias.name, (str(node.module), alias.name)


@dataclass
class _Bundle:
    """What has been found to be needed so far."""

    read: Callable[[str], str]
    modules: dict[str, _Module] = field(default_factory=dict)
    needed: dict[_Place, None] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)

    def written(self, module: str, name: str) -> str:
        self._need(module, name)
        known = (0, 0)
        # A method is needed once its name stands anywhere, which may be in another method.
        while known != (known := (len(self.needed), len(self.names))):
            for place in list(self.needed):
                self._follow(*place)
        defined = [name for _, name in self.needed]
        if twice := {name for name in defined if defined.count(name) > 1}:
            raise ValueError(f"Expected one definition of each name (got two of {sorted(twice)})")
        parts = [self._text(*place) for place in reversed(self.needed)]
        return "\n\n\n".join(["\n".join(sorted(self.imports)), *parts]) + "\n"

    def _module(self, module: str) -> _Module:
        if module not in self.modules:
            self.modules[module] = _Module.read(self.read(module))
        return self.modules[module]

    def _need(self, module: str, name: str) -> None:
        if name not in self._module(module).definitions:
            raise ValueError(
                f"Expected {name!r} to be a function or a class of {module} (got another name)"
            )
        # Last come the first that is needed, since what a definition needs stands before it.
        self.needed.pop((module, name), None)
        self.needed[module, name] = None

    def _follow(self, module: str, name: str) -> None:
        """Add what a definition needs."""
        here = self._module(module)
        for node in _kept(here.definitions[name], self.names):
            if isinstance(node, ast.Attribute):
                self.names.add(node.attr)
                if isinstance(node.value, ast.Name) and self._is_ours(here, node.value.id):
                    package, submodule = here.imports[node.value.id]
                    self._once(f"{package}.{submodule}", node.attr)
            elif isinstance(node, ast.Name):
                self._resolve(module, node.id)

    def _resolve(self, module: str, name: str) -> None:
        here = self._module(module)
        if name in here.definitions:
            self._once(module, name)
        elif name in here.imports and not self._is_ours(here, name):
            origin, original = here.imports[name]
            if origin.startswith(_PACKAGE):
                self._once(origin, str(original))
            elif original is None:
                self.imports.add(f"import {origin}" + (f" as {name}" if name != origin else ""))
            else:
                self.imports.add(f"from {origin} import {original}")

    def _once(self, module: str, name: str) -> None:
        if (module, name) not in self.needed:
            self._need(module, name)

    @staticmethod
    def _is_ours(here: _Module, name: str) -> bool:
        """Whether a name is a module of the package."""
        return here.imports.get(name, ("", None))[0] == _PACKAGE

    def _text(self, module: str, name: str) -> str:
        here = self._module(module)
        node = here.definitions[name]
        kept = set(_kept(node, self.names))
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        lines = {number: here.lines[number - 1] for number in range(first, _end(node) + 1)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.stmt) and inner not in kept:
                start = min([inner.lineno, *(d.lineno for d in _decorators(inner))])
                for number in range(start, _end(inner) + 1):
                    lines.pop(number, None)
        text = "\n".join(lines.values()).rstrip()
        for local in here.imports:
            if self._is_ours(here, local):
                text = re.sub(rf"\b{local}\.", "", text)
        return text


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _decorators(node: ast.AST) -> list[ast.expr]:
    return getattr(node, "decorator_list", [])


def _kept(node: ast.AST, names: set[str]) -> Iterator[ast.AST]:
    """Walk through a definition, but for methods of other names and what is optional."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.ClassDef) and isinstance(child, ast.FunctionDef):
            called = child.name in names or child.name.startswith("__")
            # PyTorch calls those of autograd's functions.
            if not called and child.name not in ("forward", "backward"):
                continue
        elif isinstance(child, ast.If) and _is_optional(child.test):
            continue
        yield from _kept(child, names)


def _is_optional(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id in _OPTIONAL
    )
