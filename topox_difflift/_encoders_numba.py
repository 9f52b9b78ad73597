"""Messages along arcs as compiled loops, without a row for each arc."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["add_messages", "add_messages_backward"]

Array = np.ndarray


@compiled
def add_messages(h: Array, weight: Array, bias: Array, values: Array, edge_index: Array) -> Array:
    """
    Add ``relu(h_j + e_ij)`` over the arcs (j, i) to the states, e linear in features of the arcs.

    Parameters
    ----------
    h : numpy.ndarray, shape = (n_nodes, channels)
        States.
    weight : numpy.ndarray, shape = (edge_channels, channels)
        Weights of the features.
    bias : numpy.ndarray, shape = (channels,)
        Bias.
    values : numpy.ndarray, shape = (n_arcs, edge_channels)
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
    total, row, zero = h.copy(), np.empty_like(bias), h.dtype.type(0)
    for arc in range(len(values)):
        _message(row, h, weight, bias, values, edge_index[0, arc], arc)
        target = edge_index[1, arc]
        for c in range(len(row)):
            message = row[c]
            # Where max would drop NaN, this keeps it.
            total[target, c] += zero if message <= zero else message  # noqa: FURB136
    return total


@compiled
def add_messages_backward(
    grad: Array, h: Array, weight: Array, bias: Array, values: Array, edge_index: Array
) -> tuple[Array, Array, Array]:
    """
    Gradients of `add_messages`.

    Parameters
    ----------
    grad : numpy.ndarray, shape = (n_nodes, channels)
        Gradient of the sums.
    h, weight, bias, values, edge_index : numpy.ndarray
        The arguments.

    Returns
    -------
    by_h, by_weight, by_bias : numpy.ndarray
        Gradients of the states, weights and bias.
    """
    by_h, by_weight, by_bias = grad.copy(), np.zeros_like(weight), np.zeros_like(bias)
    row, zero = np.empty_like(bias), h.dtype.type(0)
    for arc in range(len(values)):
        source, target = edge_index[0, arc], edge_index[1, arc]
        _message(row, h, weight, bias, values, source, arc)
        for c in range(len(row)):
            message, slope = row[c], grad[target, c]
            row[c] = zero if message <= zero else slope
        for c in range(len(row)):
            by_h[source, c] += row[c]
            by_bias[c] += row[c]
        for k in range(len(weight)):
            value = values[arc, k]
            if value != zero:
                for c in range(len(row)):
                    by_weight[k, c] += value * row[c]
    return by_h, by_weight, by_bias


@compiled
def _message(
    row: Array, h: Array, weight: Array, bias: Array, values: Array, source: int, arc: int
) -> None:
    """Write what an arc carries, before the relu."""
    for c in range(len(row)):
        row[c] = h[source, c] + bias[c]
    for k in range(len(weight)):
        value = values[arc, k]
        if value != h.dtype.type(0):  # categories are mostly zeros
            for c in range(len(row)):
                row[c] += value * weight[k, c]
