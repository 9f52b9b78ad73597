"""
Neighbours, their pairs and distances as compiled loops; imported only when numba is installed.

Same tolerance and same order as the tensor operations, hence the same results (see
`neighbors`). Distances are taken from the differences of embeddings, one row at a time.
"""

from __future__ import annotations

import math

import numpy as np

from topox_difflift._numba import check_range, compiled
from topox_difflift._sparse_numba import sort_by

__all__ = [
    "distances", "distances_backward", "keep_smallest", "nearest_others", "nearest_within",
    "pairs", "ranked_lengths",
]  # fmt: skip

Array = np.ndarray

_STRIDE = 64  # numbers that are looked at together


@compiled
def nearest_others(
    z: Array, start: Array, size: Array, k: int, expansion_noise: float, input_noise: float
) -> tuple[Array, int]:
    """
    Find the nearest other nodes of every node within its own graph.

    Parameters
    ----------
    z : numpy.ndarray, shape = (n_nodes, channels)
        Embeddings; distances are computed in float64.
    start, size : numpy.ndarray, shape = (n_graphs,), int64
        First node and number of nodes of each graph; graphs of size 0 are left out.
    k : int
        Number of neighbours.
    expansion_noise, input_noise : float
        What rounding may do, relative to the radius, and to radius plus norm of the mean.

    Returns
    -------
    index : numpy.ndarray, shape = (n_nodes, k), int64
        Nodes, nearest first, -1 where a graph has no more.
    broken : int
        First node of a graph with embeddings that are not finite, or -1.
    """
    index = np.full((len(z), k), -1, np.int64)
    longest = size.max() if len(size) else 0
    distance, wide = np.empty(longest), np.empty((longest, z.shape[1]))
    mean = np.empty(z.shape[1])
    values, columns = np.empty(k + 1), np.empty(k + 1, np.int64)
    for graph in range(len(size)):
        first, n_nodes = start[graph], size[graph]
        if n_nodes == 0:
            continue
        rows = wide[:n_nodes]
        rows[:] = z[first : first + n_nodes]
        tolerance = _tolerance(rows, mean, expansion_noise, input_noise)
        if not math.isfinite(tolerance):
            return index, first
        kept = min(k, n_nodes - 1)
        for i in range(n_nodes):
            if kept < 1:
                break
            for j in range(n_nodes):
                square = 0.0
                for c in range(z.shape[1]):
                    square += (rows[i, c] - rows[j, c]) ** 2
                distance[j] = math.sqrt(square)
            distance[i] = np.inf
            _select(distance, n_nodes, kept, tolerance, values, columns)
            for j in range(kept):
                index[first + i, j] = first + columns[j]
    return index, -1


@compiled
def keep_smallest(tile: Array, begin: int, nodes: Array, values: Array, columns: Array) -> None:
    """
    Update the smallest numbers of each row of a matrix with those of a tile of its columns.

    Parameters
    ----------
    tile : numpy.ndarray, shape = (n_rows, n_columns)
        The tile.
    begin : int
        Its first column in the matrix.
    nodes : numpy.ndarray, shape = (n_rows,), int64
        Column of each row that is left out.
    values, columns : numpy.ndarray, shape = (n_rows, count)
        What was kept so far, the smallest first, and in which columns it is; changed.
    """
    last = values.shape[1] - 1
    for row in range(len(tile)):
        greatest = values[row, last]
        for start in range(0, tile.shape[1], _STRIDE):
            piece, smaller = tile[row, start : start + _STRIDE], np.int32(0)
            # Counting has no branches, and most often there is nothing to be found.
            for j in range(len(piece)):
                smaller += np.int32(piece[j] < greatest)
            if smaller == 0:
                continue
            for j in range(len(piece)):
                column = begin + start + j
                if piece[j] < greatest and column != nodes[row]:
                    _insert(piece[j], column, last, values[row], columns[row])
                    greatest = values[row, last]


@compiled
def nearest_within(
    z: Array,
    start: Array,
    size: Array,
    begin: Array,
    degree: Array,
    target: Array,
    hops: int,
    k: int,
    expansion_noise: float,
    input_noise: float,
) -> tuple[Array, int]:
    """
    Find the nearest other nodes of every node among those within some hops.

    Parameters
    ----------
    z : numpy.ndarray, shape = (n_nodes, channels)
        Embeddings; distances are computed in float64.
    start, size : numpy.ndarray, shape = (n_graphs,), int64
        First node and number of nodes of each graph.
    begin, degree : numpy.ndarray, shape = (n_nodes,), int64
        Where the neighbours of each node begin in `target`, and their number.
    target : numpy.ndarray, shape = (n_arcs,), int64
        Neighbours in the graph, node after node.
    hops : int
        How far candidates may be.
    k : int
        Number of neighbours.
    expansion_noise, input_noise : float
        What rounding may do, relative to the radius, and to radius plus norm of the mean.

    Returns
    -------
    index : numpy.ndarray, shape = (n_nodes, k), int64
        Nodes, nearest first, -1 where no more are within reach.
    broken : int
        First node of a graph with embeddings that are not finite, or -1.
    """
    check_range(target, len(z))
    index = np.full((len(z), k), -1, np.int64)
    longest = size.max() if len(size) else 0
    distance, wide = np.empty(longest), np.empty((longest, z.shape[1]))
    mean = np.empty(z.shape[1])
    values, places = np.empty(k + 1), np.empty(k + 1, np.int64)
    reached, seen = np.empty(longest, np.int64), np.full(len(z), -1, np.int64)
    for graph in range(len(size)):
        first, n_nodes = start[graph], size[graph]
        if n_nodes == 0:
            continue
        rows = wide[:n_nodes]
        rows[:] = z[first : first + n_nodes]
        tolerance = _tolerance(rows, mean, expansion_noise, input_noise)
        if not math.isfinite(tolerance):
            return index, first
        for i in range(n_nodes):
            count = _reach(first + i, begin, degree, target, hops, seen, reached)
            if count == 1:
                continue
            # By index, so that equal distances are resolved by it.
            found = np.sort(reached[1:count]) - first
            for place in range(len(found)):
                square = 0.0
                for c in range(z.shape[1]):
                    square += (rows[i, c] - rows[found[place], c]) ** 2
                distance[place] = math.sqrt(square)
            kept = min(k, len(found))
            _select(distance, len(found), kept, tolerance, values, places)
            for j in range(kept):
                index[first + i, j] = first + found[places[j]]
    return index, -1


@compiled
def _reach(
    node: int, begin: Array, degree: Array, target: Array, hops: int, seen: Array, reached: Array
) -> int:
    """List the nodes within some hops of a node, itself first, and return their number."""
    reached[0], seen[node] = node, node
    done, count = 0, 1
    for _ in range(hops):
        end = count
        if done == end:
            break
        for entry in range(done, end):
            other = reached[entry]
            for arc in range(begin[other], begin[other] + degree[other]):
                if seen[target[arc]] != node:
                    seen[target[arc]] = node
                    reached[count] = target[arc]
                    count += 1
        done = end
    return count


@compiled
def ranked_lengths(
    z: Array,
    start: Array,
    size: Array,
    u: Array,
    v: Array,
    expansion_noise: float,
    input_noise: float,
) -> Array:
    """
    Rank the edges of each graph by their length, from 1 on; see `rank_by_length`.

    Parameters
    ----------
    z : numpy.ndarray, shape = (n_nodes, channels)
        Embeddings; lengths are computed in float64.
    start, size : numpy.ndarray, shape = (n_graphs,), int64
        First node and number of nodes of each graph.
    u, v : numpy.ndarray, shape = (n_edges,), int64
        Ends of the edges, graph after graph.
    expansion_noise, input_noise : float
        What rounding may do, relative to the radius, and to radius plus norm of the mean.

    Returns
    -------
    numpy.ndarray, shape = (n_edges,), int64
        The ranks; lengths that rounding cannot tell apart share one.
    """
    rank = np.empty(len(u), np.int64)
    length = np.empty(len(u))
    mean = np.empty(z.shape[1])
    begin = 0
    for graph in range(len(size)):
        first, n_nodes = start[graph], size[graph]
        end = begin
        while end < len(u) and u[end] < first + n_nodes:
            end += 1
        if end == begin:
            continue
        rows = z[first : first + n_nodes].astype(np.float64)
        for e in range(begin, end):
            square = 0.0
            for c in range(z.shape[1]):
                square += (rows[u[e] - first, c] - rows[v[e] - first, c]) ** 2
            length[e] = math.sqrt(square)
        tolerance = _tolerance(rows, mean, expansion_noise, input_noise)
        order = begin + np.argsort(length[begin:end])
        value = 1
        rank[order[0]] = 1
        for i in range(1, len(order)):
            value += length[order[i]] - length[order[i - 1]] > tolerance
            rank[order[i]] = value
        begin = end
    return rank


@compiled
def _tolerance(rows: Array, mean: Array, expansion_noise: float, input_noise: float) -> float:
    """Difference up to which distances are equal; not finite where an embedding is not."""
    mean[:] = 0.0
    for i in range(len(rows)):
        for c in range(len(mean)):
            mean[c] += rows[i, c]
    for c in range(len(mean)):
        mean[c] /= len(rows)
    radius = 0.0
    for i in range(len(rows)):
        square = 0.0
        for c in range(len(mean)):
            square += (rows[i, c] - mean[c]) ** 2
        radius = max(radius, square)
    radius = math.sqrt(radius)
    norm = 0.0
    for c in range(len(mean)):
        norm += mean[c] ** 2
    return expansion_noise * radius + input_noise * (radius + math.sqrt(norm))


@compiled
def _select(
    distance: Array, n: int, k: int, tolerance: float, values: Array, columns: Array
) -> None:
    """Choose `k` of the first `n` columns, the nearest first, equal distances by column."""
    kept = min(k + 1, n)
    for j in range(kept):
        _insert(distance[j], j, j, values, columns)
    farthest = values[kept - 1]
    for j in range(kept, n):
        if distance[j] < farthest:
            _insert(distance[j], j, kept - 1, values, columns)
            farthest = values[kept - 1]
    # One distance more than needed shows whether the k-th place is contested.
    if kept > k and values[k] <= values[k - 1] + tolerance:
        _contest(distance, n, k, tolerance, values, columns)
    begin = 0
    for j in range(1, k + 1):
        if j == k or values[j] - values[j - 1] > tolerance:
            _sort(columns, begin, j)
            begin = j


@compiled
def _contest(
    distance: Array, n: int, k: int, tolerance: float, values: Array, columns: Array
) -> None:
    """Choose the lowest columns among those whose distance equals the k-th."""
    last, sure = values[k - 1], 0
    while values[sure] < last - tolerance:
        sure += 1
    filled = sure
    for j in range(n):
        if filled < k and last - tolerance <= distance[j] <= last + tolerance:
            _insert(distance[j], j, filled, values, columns)
            filled += 1


@compiled
def _insert(value: float, column: int, filled: int, values: Array, columns: Array) -> None:
    """Put a column in its place among the `filled` ones that are there."""
    place = filled
    while place > 0 and values[place - 1] > value:
        values[place], columns[place] = values[place - 1], columns[place - 1]
        place -= 1
    values[place], columns[place] = value, column


@compiled
def _sort(columns: Array, begin: int, end: int) -> None:
    """Sort a few numbers in place."""
    for i in range(begin + 1, end):
        column, place = columns[i], i
        while place > begin and columns[place - 1] > column:
            columns[place] = columns[place - 1]
            place -= 1
        columns[place] = column


@compiled
def pairs(index: Array, listed: Array, u: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """
    List the pairs of a node and a neighbour once, in lexicographic order, without the edges.

    Parameters
    ----------
    index : numpy.ndarray, shape = (n_nodes, k), int64
        Neighbours of each node.
    listed : numpy.ndarray, shape = (n_nodes, k), bool
        Which of them count.
    u, v : numpy.ndarray, shape = (n_edges,), int64
        Edges, u < v, in lexicographic order.

    Returns
    -------
    smaller, larger : numpy.ndarray, shape = (n_pairs,), int64
        The pairs.
    first, second : numpy.ndarray, shape = (n_pairs,), int64
        Entry of `index` in which one end lists the other, and the last such entry.
    """
    n_nodes, k = index.shape
    ends = np.empty((n_nodes * k, 2), np.int64)
    entries, count = np.empty(n_nodes * k, np.int64), 0
    for node in range(n_nodes):
        for column in range(k):
            if listed[node, column]:
                entry, other = node * k + column, index[node, column]
                ends[entry, 0], ends[entry, 1] = min(node, other), max(node, other)
                entries[count] = entry
                count += 1
    entries = sort_by(ends[:, 0], sort_by(ends[:, 1], entries[:count], n_nodes), n_nodes)
    smaller, larger = np.empty(count, np.int64), np.empty(count, np.int64)
    first, second = np.empty(count, np.int64), np.empty(count, np.int64)
    found, edge = 0, 0
    for entry in entries:
        a, b = ends[entry]
        if found > 0 and smaller[found - 1] == a and larger[found - 1] == b:
            second[found - 1] = entry
            continue
        while edge < len(u) and (u[edge] < a or (u[edge] == a and v[edge] < b)):
            edge += 1
        if edge < len(u) and u[edge] == a and v[edge] == b:
            continue
        smaller[found], larger[found], first[found], second[found] = a, b, entry, entry
        found += 1
    return smaller[:found], larger[:found], first[:found], second[:found]


@compiled
def distances(z: Array, source: Array, target: Array) -> Array:
    """
    Squared distances of pairs of nodes.

    Parameters
    ----------
    z : numpy.ndarray, shape = (n_nodes, channels)
        Embeddings.
    source, target : numpy.ndarray, shape = (n_pairs,), int64
        The pairs.

    Returns
    -------
    numpy.ndarray, shape = (n_pairs,)
        Squared distances.
    """
    check_range(source, len(z))
    check_range(target, len(z))
    out = np.empty(len(source), z.dtype)
    for pair in range(len(source)):
        s, t, square = source[pair], target[pair], z.dtype.type(0)
        for c in range(z.shape[1]):
            square += (z[s, c] - z[t, c]) ** 2
        out[pair] = square
    return out


@compiled
def distances_backward(grad: Array, z: Array, source: Array, target: Array) -> Array:
    """
    Gradient of `distances`.

    Parameters
    ----------
    grad : numpy.ndarray, shape = (n_pairs,)
        Gradient of the squared distances.
    z, source, target : numpy.ndarray
        The arguments.

    Returns
    -------
    numpy.ndarray, shape = (n_nodes, channels)
        Gradient of the embeddings.
    """
    by_z = np.zeros_like(z)
    for pair in range(len(source)):
        s, t, slope = source[pair], target[pair], grad[pair] + grad[pair]
        for c in range(z.shape[1]):
            by_difference = slope * (z[s, c] - z[t, c])
            by_z[s, c] += by_difference
            by_z[t, c] -= by_difference
    return by_z
