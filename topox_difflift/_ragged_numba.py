"""Rows of ragged lists as compiled loops; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["owners", "take"]

Array = np.ndarray


@compiled
def owners(sizes: Array) -> Array:
    """
    Row of each entry.

    Parameters
    ----------
    sizes : numpy.ndarray, shape = (n,), int64
        Number of entries of each row.

    Returns
    -------
    numpy.ndarray, shape = (sum(sizes),), int64
        Row index, ascending.
    """
    out, filled = np.empty(sizes.sum(), np.int64), 0
    for row in range(len(sizes)):
        for _ in range(sizes[row]):
            out[filled] = row
            filled += 1
    return out


@compiled
def take(sizes: Array, index: Array) -> Array:
    """
    Positions of the entries of some rows.

    Parameters
    ----------
    sizes : numpy.ndarray, shape = (n,), int64
        Number of entries of each row.
    index : numpy.ndarray, shape = (m,), int64
        The rows.

    Returns
    -------
    numpy.ndarray, shape = (sum(sizes[index]),), int64
        Positions, row after row.
    """
    check_range(index, len(sizes))
    first, total = np.empty(len(sizes), np.int64), 0
    for row in range(len(sizes)):
        first[row] = total
        total += sizes[row]
    total = 0
    for row in index:
        total += sizes[row]
    out, filled = np.empty(total, np.int64), 0
    for row in index:
        for entry in range(sizes[row]):
            out[filled] = first[row] + entry
            filled += 1
    return out
