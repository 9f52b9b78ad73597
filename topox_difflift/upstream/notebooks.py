"""Notebooks from scripts, whose cells ``# %%`` begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["notebook"]


def notebook(name: str, script: str) -> str:
    """
    Make a notebook of a script.

    Parameters
    ----------
    name : str
        Name that the identifiers of its cells begin with.
    script : str
        Code in cells that ``# %%`` begins, and prose as comments in cells that
        ``# %% [markdown]`` begins.

    Returns
    -------
    str
        The notebook, without outputs.
    """
    cells = [_cell(f"{name}-{i}", *cell) for i, cell in enumerate(_cells(script))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    parts = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"


def _cells(script: str) -> Iterator[tuple[str, str]]:
    for cell in script.split("# %%")[1:]:
        head, _, text = cell.partition("\n")
        if head.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in text.strip().splitlines()]
            yield "markdown", "\n".join(lines)
        else:
            yield "code", text.strip()


def _cell(identifier: str, kind: str, text: str) -> dict[str, object]:
    lines = text.splitlines(keepends=True)
    cell: dict[str, object] = {"cell_type": kind, "id": identifier, "metadata": {}, "source": lines}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell
