"""Sorting and sparse products as compiled loops; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["dots", "matmul", "stable_order"]

Array = np.ndarray

_BITS = 12  # of a digit: its counters stay in the cache


@compiled
def stable_order(keys: Array) -> Array:
    """
    Stable order of non-negative integers, by radix.

    Parameters
    ----------
    keys : numpy.ndarray, shape = (n,), int64
        The integers.

    Returns
    -------
    numpy.ndarray, shape = (n,), int64
        Their positions, smallest first, equal ones in their order.
    """
    order, other = np.arange(len(keys)), np.empty(len(keys), np.int64)
    place, mask = np.empty(2**_BITS + 1, np.int64), 2**_BITS - 1
    greatest, shift = keys.max() if len(keys) else 0, 0
    while shift < 63 and greatest >> shift > 0:  # a shift by more is undefined
        place[:] = 0
        for key in keys:
            place[((key >> shift) & mask) + 1] += 1
        for digit in range(mask):
            place[digit + 1] += place[digit]
        for item in order:
            digit = (keys[item] >> shift) & mask
            other[place[digit]] = item
            place[digit] += 1
        order, other = other, order
        shift += _BITS
    return order


@compiled
def matmul(row: Array, column: Array, values: Array, x: Array, n_rows: int) -> Array:
    """
    Product of a sparse matrix and a dense one.

    Parameters
    ----------
    row, column : numpy.ndarray, shape = (nnz,), int64
        Where the values are.
    values : numpy.ndarray, shape = (nnz,)
        Values of the matrix.
    x : numpy.ndarray, shape = (n_columns, channels)
        Dense factor.
    n_rows : int
        Number of rows of the matrix.

    Returns
    -------
    numpy.ndarray, shape = (n_rows, channels)
        The product.
    """
    check_range(row, n_rows)
    check_range(column, len(x))
    out = np.zeros((n_rows, x.shape[1]), x.dtype)
    for entry in range(len(values)):
        i, j, value = row[entry], column[entry], values[entry]
        for c in range(x.shape[1]):
            out[i, c] += value * x[j, c]
    return out


@compiled
def dots(row: Array, column: Array, left: Array, right: Array) -> Array:
    """
    Inner products of pairs of rows.

    Parameters
    ----------
    row, column : numpy.ndarray, shape = (nnz,), int64
        Rows of `left` and of `right`.
    left, right : numpy.ndarray, shape = (n, channels)
        Two matrices.

    Returns
    -------
    numpy.ndarray, shape = (nnz,)
        One number for each pair.
    """
    check_range(row, len(left))
    check_range(column, len(right))
    out = np.empty(len(row), left.dtype)
    for entry in range(len(row)):
        i, j, total = row[entry], column[entry], left.dtype.type(0)
        for c in range(left.shape[1]):
            total += left[i, c] * right[j, c]
        out[entry] = total
    return out
