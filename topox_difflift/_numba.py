"""How loops are compiled; imported only when numba is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]

# Sums may be taken in any order, so that they run on several numbers at once. Nothing is
# assumed about NaN and infinity.
_MATH = {"reassoc", "contract", "nsz"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Compile at the first call; keep the result on disk where that is possible.

    Parameters
    ----------
    function : callable
        Loops over arrays.

    Returns
    -------
    callable
        The same, compiled for each combination of types that it is called with.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _MATH}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(**options)(function)
