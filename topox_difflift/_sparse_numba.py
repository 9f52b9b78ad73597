"""Sorting and sparse products as compiled loops; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["dots", "matmul", "sort_by", "sort_pairs", "stable_order"]

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
def sort_by(keys: Array, entries: Array, n_keys: int) -> Array:
    """
    Sort entries by their key, by counting; equal ones keep their order.

    Parameters
    ----------
    keys : numpy.ndarray, shape = (n,), int64
        Keys from 0 to `n_keys` - 1.
    entries : numpy.ndarray, shape = (m,), int64
        Positions in `keys`.
    n_keys : int
        Bound of the keys.

    Returns
    -------
    numpy.ndarray, shape = (m,), int64
        The entries, smallest key first.
    """
    place = np.zeros(n_keys + 1, np.int64)
    for entry in entries:
        place[keys[entry] + 1] += 1
    for key in range(n_keys):
        place[key + 1] += place[key]
    out = np.empty_like(entries)
    for entry in entries:
        out[place[keys[entry]]] = entry
        place[keys[entry]] += 1
    return out


@compiled
def sort_pairs(row: Array, column: Array, n_columns: int) -> tuple[Array, Array]:
    """
    Sort pairs by row, then by column.

    Parameters
    ----------
    row, column : numpy.ndarray, shape = (nnz,), int64
        The pairs.
    n_columns : int
        Number of columns.

    Returns
    -------
    index : numpy.ndarray, shape = (2, nnz), int64
        The sorted pairs.
    order : numpy.ndarray, shape = (nnz,), int64
        Position of each sorted pair in the input.
    """
    n_rows = row.max() + 1 if len(row) else 0
    check_range(row, n_rows)
    check_range(column, n_columns)
    order = np.arange(len(row))
    for entry in range(1, len(column)):
        if column[entry] < column[entry - 1]:
            order = sort_by(column, order, n_columns)
            break
    order = sort_by(row, order, n_rows)
    index = np.empty((2, len(row)), np.int64)
    for place, entry in enumerate(order):
        index[0, place], index[1, place] = row[entry], column[entry]
    return index, order


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
