"""Scores of cells as compiled loops, one cell after the other, without a row for each."""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import check_range, compiled

__all__ = ["scores", "scores_backward"]

Array = np.ndarray


@compiled
def scores(
    hidden: Array,
    z: Array,
    bias: Array,
    spread: Array,
    last: Array,
    seen: Array,
    weight: Array,
    index: Array,
    sizes: Array,
    mean: bool,
) -> tuple[Array, Array]:
    """
    Score cells: pool, add bias, dispersion and statistics, relu, and one more linear layer.

    Parameters
    ----------
    hidden : numpy.ndarray, shape = (n_nodes, hidden_channels)
        What is pooled.
    z : numpy.ndarray, shape = (n_nodes, channels)
        Embeddings, for the dispersion.
    bias, spread, last : numpy.ndarray, shape = (hidden_channels,)
        Bias and weight of the dispersion before the relu, weights after it.
    seen : numpy.ndarray, shape = (n_cells, n_statistics)
        Statistics of each cell.
    weight : numpy.ndarray, shape = (n_statistics, hidden_channels)
        Weights of the statistics before the relu.
    index : numpy.ndarray, shape = (sum(sizes),), int64
        Members, cell after cell.
    sizes : numpy.ndarray, shape = (n_cells,), int64
        Number of members of each cell.
    mean : bool
        Whether members are averaged, or added up.

    Returns
    -------
    logits, dispersion : numpy.ndarray, shape = (n_cells,)
        Scores, without the last bias, and dispersions.
    """
    check_range(index, len(z))
    logits, dispersion = np.empty(len(sizes), z.dtype), np.empty(len(sizes), z.dtype)
    center, pooled = np.empty(z.shape[1], z.dtype), np.empty(hidden.shape[1], z.dtype)
    zero, end = z.dtype.type(0), 0
    for cell in range(len(sizes)):
        begin, end = end, end + sizes[cell]
        apart = dispersion[cell] = _dispersion(z, index, begin, end, center)
        _pool(hidden, index, begin, end, mean, pooled)
        _add_weighted(seen[cell], weight, pooled)
        logit = zero
        for c in range(len(pooled)):
            value = pooled[c] + bias[c] + apart * spread[c]
            value = zero if value <= zero else value  # noqa: FURB136
            logit += value * last[c]
        logits[cell] = logit
    return logits, dispersion


@compiled
def scores_backward(
    grad: Array,
    dispersion: Array,
    hidden: Array,
    z: Array,
    bias: Array,
    spread: Array,
    last: Array,
    seen: Array,
    weight: Array,
    index: Array,
    sizes: Array,
    mean: bool,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """
    Gradients of `scores`.

    Parameters
    ----------
    grad, dispersion : numpy.ndarray, shape = (n_cells,)
        Gradient of the scores, and the dispersions.
    hidden, z, bias, spread, last, seen, weight, index, sizes : numpy.ndarray
        The arguments.
    mean : bool
        Whether members are averaged, or added up.

    Returns
    -------
    by_hidden, by_z, by_bias, by_spread, by_last, by_weight : numpy.ndarray
        Gradients of the arguments that have one.
    """
    by_hidden, by_z = np.zeros_like(hidden), np.zeros_like(z)
    by_bias, by_spread, by_last = np.zeros_like(bias), np.zeros_like(spread), np.zeros_like(last)
    by_weight = np.zeros_like(weight)
    center, row = np.empty(z.shape[1], z.dtype), np.empty(hidden.shape[1], z.dtype)
    zero, one, end = z.dtype.type(0), z.dtype.type(1), 0
    for cell in range(len(sizes)):
        begin, end = end, end + sizes[cell]
        share = z.dtype.type(1.0 / max(end - begin, 1))
        above, apart, by_apart = grad[cell], dispersion[cell], zero
        _pool(hidden, index, begin, end, mean, row)
        _add_weighted(seen[cell], weight, row)
        # Over more arrays at a time, loops would not run on several numbers at once.
        for c in range(len(row)):
            value = row[c] + bias[c] + apart * spread[c]
            value = zero if value <= zero else value  # noqa: FURB136
            row[c] = value
            by_last[c] += above * value
        for c in range(len(row)):
            value, slope = row[c], above * last[c]
            slope = slope if value > zero else zero
            row[c] = slope
            by_apart += slope * spread[c]
        for c in range(len(row)):
            by_bias[c] += row[c]
            by_spread[c] += apart * row[c]
        for s in range(len(weight)):
            for c in range(len(row)):
                by_weight[s, c] += seen[cell, s] * row[c]
        each = share if mean else one
        if end - begin == 2:
            u, v = index[begin], index[begin + 1]
            for c in range(len(row)):
                by_hidden[u, c] += each * row[c]
                by_hidden[v, c] += each * row[c]
            by_apart /= z.dtype.type(2 * z.shape[1])
            for c in range(z.shape[1]):
                by_difference = by_apart * (z[u, c] - z[v, c])
                by_z[u, c] += by_difference
                by_z[v, c] -= by_difference
            continue
        by_apart *= share * z.dtype.type(2.0 / z.shape[1])
        _pool(z, index, begin, end, True, center)
        for i in range(begin, end):
            node = index[i]
            for c in range(len(row)):
                by_hidden[node, c] += each * row[c]
            for c in range(len(center)):
                by_z[node, c] += by_apart * (z[node, c] - center[c])
    return by_hidden, by_z, by_bias, by_spread, by_last, by_weight


@compiled
def _add_weighted(values: Array, weight: Array, out: Array) -> None:
    """Add the rows of `weight`, times the values, to `out`."""
    for s in range(len(values)):
        for c in range(len(out)):
            out[c] += values[s] * weight[s, c]


@compiled
def _pool(x: Array, index: Array, begin: int, end: int, mean: bool, out: Array) -> None:
    """Add up, or average, some rows."""
    # The division in float64 keeps the compiler from dividing each number.
    share = x.dtype.type(1.0 / max(end - begin, 1) if mean else 1.0)
    if end - begin < 2:
        for c in range(len(out)):
            out[c] = x[index[begin], c] if begin < end else x.dtype.type(0)
        return
    # Most cells are pairs: the first two members in one go.
    u, v = index[begin], index[begin + 1]
    for c in range(len(out)):
        out[c] = (x[u, c] + x[v, c]) * share
    for i in range(begin + 2, end):
        node = index[i]
        for c in range(len(out)):
            out[c] += x[node, c] * share


@compiled
def _dispersion(z: Array, index: Array, begin: int, end: int, center: Array) -> float:
    """Mean over channels of the variance of some rows."""
    total = z.dtype.type(0)
    if end - begin == 2:
        u, v = index[begin], index[begin + 1]
        for c in range(z.shape[1]):
            total += (z[u, c] - z[v, c]) ** 2
        return total / z.dtype.type(4 * z.shape[1])
    _pool(z, index, begin, end, True, center)
    for i in range(begin, end):
        node = index[i]
        for c in range(len(center)):
            total += (z[node, c] - center[c]) ** 2
    return total / z.dtype.type(max(end - begin, 1) * len(center))
