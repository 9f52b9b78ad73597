"""The check of an edge list as a compiled loop; imported only when numba is installed."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import compiled

__all__ = ["is_canonical"]

Array = np.ndarray


@compiled
def is_canonical(source: Array, target: Array, batch: Array) -> bool:
    """
    Whether arcs are those of simple undirected graphs, both directions, sorted.

    Parameters
    ----------
    source, target : numpy.ndarray, shape = (n_arcs,), int64
        The arcs.
    batch : numpy.ndarray, shape = (n_nodes,), int64
        Graph of each node.

    Returns
    -------
    bool
        False if anything is amiss.
    """
    n_nodes, n_arcs = len(batch), len(source)
    first = np.zeros(n_nodes + 1, np.int64)
    for arc in range(n_arcs):
        u, v = source[arc], target[arc]
        if not (0 <= u < n_nodes and 0 <= v < n_nodes) or u == v or batch[u] != batch[v]:
            return False
        if arc > 0 and (source[arc - 1] > u or (source[arc - 1] == u and target[arc - 1] >= v)):
            return False
        first[u + 1] += 1
    for node in range(n_nodes):
        first[node + 1] += first[node]
    # In this order the arcs into a node come as its own arcs do: by the other end.
    place = first.copy()
    for arc in range(n_arcs):
        u, v = source[arc], target[arc]
        if place[v] == first[v + 1] or target[place[v]] != u:
            return False
        place[v] += 1
    return True
