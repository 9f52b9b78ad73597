"""Patterns of neighborhood matrices as compiled loops; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled
from topox_difflift._sparse_numba import sort_by

__all__ = ["pair_pattern"]

Array = np.ndarray


@compiled
def pair_pattern(
    group: Array, item: Array, n_groups: int, n_items: int
) -> tuple[Array, Array, Array, Array]:
    """
    List all ordered pairs of entries that lie in the same group.

    Parameters
    ----------
    group : numpy.ndarray, shape = (nnz,), int64
        Group of each entry, ascending.
    item : numpy.ndarray, shape = (nnz,), int64
        Row, and column, of the product that the entry stands for.
    n_groups, n_items : int
        Number of groups, and of rows of the product.

    Returns
    -------
    index : numpy.ndarray, shape = (2, n_entries), int64
        Row and column of each entry of the product, sorted by row, then by column.
    left, right : numpy.ndarray, shape = (n_pairs,), int64
        Positions of the two entries of each pair.
    slot : numpy.ndarray, shape = (n_pairs,), int64
        Entry of the product that each pair adds to.
    """
    check_range(group, n_groups)
    check_range(item, n_items)
    first = np.zeros(n_groups + 1, np.int64)
    for g in group:
        first[g + 1] += 1
    n_pairs = 0
    for g in range(n_groups):
        n_pairs += first[g + 1] ** 2
        first[g + 1] += first[g]
    left, right = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
    filled = 0
    for entry, g in enumerate(group):
        for other in range(first[g], first[g + 1]):
            left[filled], right[filled] = entry, other
            filled += 1
    order = sort_by(item[right], np.arange(n_pairs), n_items)
    order = sort_by(item[left], order, n_items)
    index, slot = np.empty((2, n_pairs), np.int64), np.empty(n_pairs, np.int64)
    filled = -1
    for pair in order:
        row, column = item[left[pair]], item[right[pair]]
        if filled < 0 or index[0, filled] != row or index[1, filled] != column:
            filled += 1
            index[0, filled], index[1, filled] = row, column
        slot[pair] = filled
    return index[:, : filled + 1].copy(), left, right, slot
