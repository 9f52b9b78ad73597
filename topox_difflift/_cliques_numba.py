"""Positions in edge lists as compiled loops; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import compiled

__all__ = ["edge_ids"]

Array = np.ndarray


@compiled
def edge_ids(u: Array, v: Array, smaller: Array, larger: Array, num_nodes: int) -> Array:
    """
    Position of each pair of vertices in the edge list.

    Parameters
    ----------
    u, v : numpy.ndarray, shape = (n_pairs,), int64
        Ends of the pairs, in either order.
    smaller, larger : numpy.ndarray, shape = (n_edges,), int64
        Ends of the edges, in lexicographic order.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    numpy.ndarray, shape = (n_pairs,), int64
        Position of the edge, or -1 where the pair is none.
    """
    first = np.zeros(num_nodes + 1, np.int64)
    for end in smaller:
        first[end + 1] += 1
    for node in range(num_nodes):
        first[node + 1] += first[node]
    out = np.full(len(u), -1, np.int64)
    for pair in range(len(u)):
        a, b = min(u[pair], v[pair]), max(u[pair], v[pair])
        if a < 0 or b >= num_nodes:
            continue
        low, high = first[a], first[a + 1]
        while low < high:
            middle = (low + high) // 2
            if larger[middle] < b:
                low = middle + 1
            else:
                high = middle
        if low < first[a + 1] and larger[low] == b:
            out[pair] = low
    return out
