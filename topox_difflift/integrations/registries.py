"""Entering classes in the registries of other packages, once and for all to see."""

from __future__ import annotations

from typing import Any

__all__ = ["enter"]


def enter(registry: dict[str, Any], cls: type, where: str) -> None:
    """
    Enter a class under its name; a second time changes nothing.

    Parameters
    ----------
    registry : dict
        The registry.
    cls : type
        The class.
    where : str
        Name of the registry, for messages.

    Raises
    ------
    ValueError
        If another class has the name.
    """
    found = registry.setdefault(cls.__name__, cls)
    if found is not cls:
        raise ValueError(
            f"Expected the name {cls.__name__!r} to be free in {where} (got "
            f"{found.__module__}.{found.__qualname__}); rename that class, or remove its entry"
        )
