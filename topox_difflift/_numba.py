"""How loops are compiled; imported only when numba is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["check_range", "compiled"]

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


@compiled
def check_range(index: np.ndarray, n_rows: int) -> None:
    """
    Check that rows exist: compiled loops would read and write whatever lies there.

    Parameters
    ----------
    index : numpy.ndarray, shape = (n,), int64
        Rows.
    n_rows : int
        Number of rows.

    Raises
    ------
    IndexError
        If one does not.
    """
    for row in index:
        if row < 0 or row >= n_rows:
            raise IndexError("Expected indices from 0 to the number of rows (got one outside)")
