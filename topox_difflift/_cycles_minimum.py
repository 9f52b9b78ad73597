"""Minimum cycle basis: Horton's candidates, all vertices at once, and elimination over GF(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["minimum_rows"]

STATES = 1 << 25  # pairs (root, neighbour) in one level of the search
WORDS = 1 << 26  # 64-bit words of the matrix that is eliminated


class _Level(NamedTuple):
    """Vertices at one distance from each root, ascending in root and vertex."""

    root: np.ndarray
    vertex: np.ndarray
    branch: np.ndarray  # neighbour of the root on the path to the vertex
    above: np.ndarray  # its position in the level before


def minimum_rows(
    edges: np.ndarray, num_nodes: int, chord: np.ndarray, component: np.ndarray, longest: np.ndarray
) -> list[np.ndarray]:
    """
    Cycles of a minimum cycle basis.

    Parameters
    ----------
    edges : numpy.ndarray, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.
    chord : numpy.ndarray, shape = (n_chords,), int64
        Edges outside a spanning forest, ascending.
    component : numpy.ndarray, shape = (n_nodes,), int64
        Component of each vertex.
    longest : numpy.ndarray, shape = (n_nodes,), int64
        A bound on the length of the cycles wanted in the component of each vertex.

    Returns
    -------
    list of numpy.ndarray, each of shape = (n_cycles, length), int64
        Cycles in cyclic order, from their smallest vertex; lengths ascend.

    Raises
    ------
    ValueError
        If there are too many candidates to hold.
    """
    blocks = list(_candidates(edges, num_nodes, longest))
    owner = np.concatenate([component[block[:, 0]] for block in blocks])
    coordinate = np.full(edges.shape[1], -1)
    coordinate[chord] = _numbers_within(component[edges[0, chord]])
    order = np.argsort(owner, kind="stable")  # within a component still by length
    matrix = _matrix(blocks, edges, num_nodes, coordinate)
    chosen = np.zeros(len(owner), dtype=bool)
    chosen[order[_independent(matrix[order], owner[order])]] = True
    parts = np.split(chosen, np.cumsum([len(block) for block in blocks])[:-1])
    return [block[part] for block, part in zip(blocks, parts, strict=True)]


def _candidates(edges: np.ndarray, num_nodes: int, longest: np.ndarray) -> Iterator[np.ndarray]:
    """
    Yield the cycles of two shortest paths from a root and one edge, by length.

    Root and paths lie within the vertices from the root on; the paths meet in
    the root only, since they leave it by different branches.
    """
    begin, neighbor = _neighbors(edges, num_nodes)
    roots = np.flatnonzero(longest)
    levels = [_Level(roots, roots, roots, roots)]
    while len((level := levels[-1]).root):
        distance = len(levels) - 1
        key = level.root * num_nodes + level.vertex
        state, reached = _steps(level, begin, neighbor)
        target = level.root[state] * num_nodes + reached
        if distance:
            previous = levels[-2].root * num_nodes + levels[-2].vertex
            onwards = _position(previous, target) < 0
            state, reached, target = state[onwards], reached[onwards], target[onwards]
        same = _position(key, target)
        # An edge within the level closes an odd cycle, once for each of its ends.
        odd = (same > state) & (level.branch[state] != level.branch[same])
        yield _rows(levels, state[odd], _chain(levels, same[odd]))
        below = same < 0
        state, reached, target = state[below], reached[below], target[below]
        order = np.argsort(target, kind="stable")
        state, reached, target = state[order], reached[order], target[order]
        first = np.ones(len(target), dtype=bool)
        first[1:] = target[1:] != target[:-1]
        above = state[first][np.cumsum(first) - 1]
        # A second way to a vertex of the next level closes an even cycle.
        even = level.branch[state] != level.branch[above]
        even &= longest[level.root[state]] >= 2 * distance + 2
        yield _rows(levels, state[even], [reached[even], *_chain(levels, above[even])])
        goes_on = first & (longest[level.root[state]] >= 2 * distance + 3)
        state, reached = state[goes_on], reached[goes_on]
        branch = level.branch[state] if distance else reached
        levels.append(_Level(level.root[state], reached, branch, state))


def _neighbors(edges: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """First neighbour of each vertex, and all neighbours, ascending."""
    tail, head = np.concatenate([edges, edges[::-1]], axis=1)
    begin = np.zeros(num_nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(tail, minlength=num_nodes), out=begin[1:])
    return begin, np.sort(tail * num_nodes + head) % num_nodes


def _steps(level: _Level, begin: np.ndarray, neighbor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours above the root of each state: position of the state, neighbour."""
    count = begin[level.vertex + 1] - begin[level.vertex]
    if count.sum() > STATES:
        raise ValueError(
            f"Expected at most {STATES} steps from all vertices at one distance, got {count.sum()} "
            "for the minimum cycle basis of 'edges'; use shortest_cycle_basis on such a graph."
        )
    state = np.repeat(np.arange(len(count)), count)
    shift = begin[level.vertex] - (np.cumsum(count) - count)
    reached = neighbor[shift[state] + np.arange(len(state))]
    higher = reached > level.root[state]
    return state[higher], reached[higher]


def _chain(levels: list[_Level], state: np.ndarray) -> list[np.ndarray]:
    """Vertices from states of the last level up to the level below the root."""
    path = []
    for level in levels[:0:-1]:
        path.append(level.vertex[state])
        state = level.above[state]
    return path


def _rows(levels: list[_Level], state: np.ndarray, back: list[np.ndarray]) -> np.ndarray:
    """Cycles from the root to a state of the last level, and back along `back`."""
    return np.stack([levels[-1].root[state], *_chain(levels, state)[::-1], *back], axis=1)


def _matrix(
    blocks: list[np.ndarray], edges: np.ndarray, num_nodes: int, coordinate: np.ndarray
) -> np.ndarray:
    """Cycles as vectors over GF(2): one bit for each edge outside the forest."""
    n_rows, n_words = sum(map(len, blocks)), int(coordinate.max()) // 64 + 1
    if n_rows * n_words > WORDS:
        raise ValueError(
            f"Expected at most {WORDS} words in the elimination of the minimum cycle basis, got "
            f"{n_rows} x {n_words} from 'edges'; use shortest_cycle_basis on such a graph."
        )
    matrix = np.zeros(n_rows * n_words, dtype=np.uint64)
    table = edges[0] * num_nodes + edges[1]
    first = 0
    for block in blocks:  # one block for each length
        after = np.roll(block, -1, axis=1)
        key = np.minimum(block, after) * num_nodes + np.maximum(block, after)
        bit = coordinate[np.searchsorted(table, key)]
        row, column = np.nonzero(bit >= 0)
        bit = bit[row, column]
        np.add.at(
            matrix,
            (first + row) * n_words + (bit >> 6),
            np.uint64(1) << (bit & 63).astype(np.uint64),
        )
        first += len(block)
    return matrix.reshape(n_rows, n_words)


def _independent(matrix: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """
    Rows that are independent of the rows before them with the same owner.

    Column after column, in all components at once: the first row with a bit there
    is added to all rows with it, itself included. Sums only run downwards, so
    a row vanishes early exactly if it depends on rows before it.
    """
    row = np.arange(len(owner))
    chosen = [row[:0]]
    while matrix.shape[1]:
        for bit in range(64):
            with_bit = np.flatnonzero(matrix[:, 0] >> np.uint64(bit) & np.uint64(1))
            first = np.ones(len(with_bit), dtype=bool)
            first[1:] = owner[with_bit[1:]] != owner[with_bit[:-1]]
            pivot = with_bit[first]
            chosen.append(row[pivot])
            matrix[with_bit] ^= matrix[pivot[np.cumsum(first) - 1]]
        matrix = matrix[:, 1:]
        alive = matrix.any(axis=1)
        matrix, owner, row = matrix[alive], owner[alive], row[alive]
    return np.concatenate(chosen)


def _numbers_within(owner: np.ndarray) -> np.ndarray:
    """Count each entry among those with the same owner."""
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner)
    number = np.empty(len(owner), dtype=np.int64)
    number[order] = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return number


def _position(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Position of each value in a sorted table, or -1."""
    if not len(table):
        return np.full(len(values), -1)
    place = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return np.where(table[place] == values, place, -1)
