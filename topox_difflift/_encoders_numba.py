"""Messages along arcs as compiled loops, without a matrix of their size."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["add_messages", "add_messages_backward"]

Array = np.ndarray


@compiled
def add_messages(h: Array, e: Array, edge_index: Array) -> Array:
    """
    Add ``relu(h_j + e_ij)`` over the arcs (j, i) to the states.

    Parameters
    ----------
    h : numpy.ndarray, shape = (n_nodes, channels)
        States.
    e : numpy.ndarray, shape = (n_arcs, channels)
        Features of the arcs.
    edge_index : numpy.ndarray, shape = (2, n_arcs), int64
        The arcs.

    Returns
    -------
    numpy.ndarray, shape = (n_nodes, channels)
        The sums.
    """
    check_range(edge_index[0], len(h))
    check_range(edge_index[1], len(h))
    total, zero = h.copy(), h.dtype.type(0)
    for arc in range(len(e)):
        source, target = edge_index[0, arc], edge_index[1, arc]
        for c in range(h.shape[1]):
            message = h[source, c] + e[arc, c]
            # Where max would drop NaN, this keeps it.
            total[target, c] += zero if message <= zero else message  # noqa: FURB136
    return total


@compiled
def add_messages_backward(
    grad: Array, h: Array, e: Array, edge_index: Array
) -> tuple[Array, Array]:
    """
    Gradients of `add_messages`.

    Parameters
    ----------
    grad : numpy.ndarray, shape = (n_nodes, channels)
        Gradient of the sums.
    h, e, edge_index : numpy.ndarray
        The arguments.

    Returns
    -------
    by_h, by_e : numpy.ndarray
        Gradients of the states and of the features of the arcs.
    """
    by_h, by_e, zero = grad.copy(), np.empty_like(e), h.dtype.type(0)
    for arc in range(len(e)):
        source, target = edge_index[0, arc], edge_index[1, arc]
        for c in range(h.shape[1]):
            slope = zero if h[source, c] + e[arc, c] <= zero else grad[target, c]
            by_e[arc, c] = slope
            by_h[source, c] += slope
    return by_h, by_e
