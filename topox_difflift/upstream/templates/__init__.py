"""Texts that other projects get, but for what is generated from this package's code."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["template"]


def template(name: str) -> str:
    """
    Read a template.

    Parameters
    ----------
    name : str
        Its path below this folder.

    Returns
    -------
    str
        The text.
    """
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
