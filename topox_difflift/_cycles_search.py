"""
Shortest paths between the ends of many chords at once, level by level.

Each chord searches from both of its ends, in turn, in the graph of the forest
and the chords of lower rank. The states of all searches, pairs (search, vertex),
lie in one sorted array of packed integers; the only loop is over the depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Adjacency", "shortest_paths"]

BUDGET = 1 << 21  # states that one step of a group of searches may create
WORD = 62  # bits of a packed state that are used
Level = tuple[np.ndarray, np.ndarray]  # packed states, ascending, and the vertex before each


class Adjacency(NamedTuple):
    """
    Neighbours of each vertex, ascending in the rank of the edge to them.

    Attributes
    ----------
    begin : numpy.ndarray, shape = (n_nodes + 1,), int64
        First neighbour of each vertex.
    neighbor : numpy.ndarray, shape = (2 * n_edges,), int64
        The neighbours, vertex after vertex.
    key : numpy.ndarray, shape = (2 * n_edges,), int64
        ``vertex * n_ranks + rank``, ascending.
    n_ranks : int
        One more than the highest rank.
    """

    begin: np.ndarray
    neighbor: np.ndarray
    key: np.ndarray
    n_ranks: int

    @classmethod
    def build(cls, edges: np.ndarray, rank: np.ndarray, num_nodes: int) -> Adjacency:
        """
        List the edges at each vertex, by rank.

        Parameters
        ----------
        edges : numpy.ndarray, shape = (2, n_edges), int64
            Ends of the edges, in the order of their ranks.
        rank : numpy.ndarray, shape = (n_edges,), int64
            Rank of each edge, ascending; 0 for all edges of the forest.
        num_nodes : int
            Number of nodes.

        Returns
        -------
        Adjacency
            The neighbours.
        """
        n_ranks = int(rank[-1]) + 1 if len(rank) else 1
        tail, head = edges.T.ravel(), edges[::-1].T.ravel()
        # A transposition sorts by vertex in linear time and leaves equal ones in their order.
        entries = (np.arange(len(tail)), tail, np.arange(len(tail) + 1))
        by_vertex = csr_array(entries, shape=(len(tail), num_nodes)).tocsc()
        order = by_vertex.data
        vertex = np.repeat(np.arange(num_nodes), np.diff(by_vertex.indptr))
        key = vertex * n_ranks + rank[order >> 1]
        return cls(by_vertex.indptr.astype(np.int64), head[order], key, n_ranks)


class _Group(NamedTuple):
    """Consecutive searches at the same step, and what they reached from either end."""

    step: int
    fronts: tuple[np.ndarray, np.ndarray]
    levels: tuple[tuple[Level, ...], tuple[Level, ...]]

    def split(self, bits: int) -> tuple[_Group, _Group]:
        """Part the searches; the levels, where paths are looked up, are shared."""
        search = self.fronts[(self.step + 1) % 2] >> bits
        border = max(search[len(search) // 2], search[0] + 1) << bits
        cuts = [int(np.searchsorted(front, border)) for front in self.fronts]
        left = (self.fronts[0][: cuts[0]], self.fronts[1][: cuts[1]])
        right = (self.fronts[0][cuts[0] :], self.fronts[1][cuts[1] :])
        return self._replace(fronts=left), self._replace(fronts=right)


def shortest_paths(
    adjacency: Adjacency, ends: np.ndarray, rank: np.ndarray, longest: np.ndarray, max_search: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """
    Find the shortest path between two ends, for many pairs of ends at once.

    Of the shortest paths the one with the smallest middle vertex is taken, and
    from the middle towards each end the smallest vertex that lies nearer to it.

    Parameters
    ----------
    adjacency : Adjacency
        The graph.
    ends : numpy.ndarray, shape = (2, n_searches), int64
        The two ends of each path.
    rank : numpy.ndarray, shape = (n_searches,), int64
        A path uses edges of lower rank only.
    longest : numpy.ndarray, shape = (n_searches,), int64
        Longest path wanted.
    max_search : int
        Edge ends that one search may look at.

    Yields
    ------
    tuple of numpy.ndarray
        Numbers of some searches and their paths, a row of vertices for each;
        searches without a path within the bounds do not appear.
    """
    bits = int(len(adjacency.begin) - 1).bit_length()
    chunk = 1 << min(20, WORD - 2 * bits)  # two vertices and a search share one integer
    for first in range(0, len(rank), chunk):
        part = slice(first, first + chunk)
        searches = _Searches(adjacency, rank[part], longest[part], max_search, bits)
        for found, paths in searches.run(ends[:, part]):
            yield found + first, paths


class _Searches:
    """Bidirectional searches whose states fit one integer."""

    def __init__(
        self,
        adjacency: Adjacency,
        rank: np.ndarray,
        longest: np.ndarray,
        max_search: int,
        bits: int,
    ) -> None:
        self.adjacency, self.rank, self.max_search = adjacency, rank, max_search
        self.bits, self.mask = bits, (1 << bits) - 1
        self.longest = longest.copy()  # set to 0 when a search ends
        self.work = np.zeros(len(rank), dtype=np.int64)

    def run(self, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the paths found at each step of each group of searches."""
        number = np.arange(len(self.rank)) << self.bits
        fronts = (number | ends[0], number | ends[1])
        groups = [_Group(1, fronts, (((fronts[0], ends[0]),), ((fronts[1], ends[1]),)))]
        while groups:
            group = self._prune(groups.pop())
            side = (group.step + 1) % 2
            front = group.fronts[side]
            if not len(front):
                continue
            search = front >> self.bits
            begin, count = self._usable(search, front & self.mask)
            if count.sum() > BUDGET and search[0] != search[-1]:
                groups += group.split(self.bits)[::-1]
                continue
            np.add.at(self.work, search, count)
            self.longest[search[self.work[search] > self.max_search]] = 0
            reached = self._expand(front, begin, count)
            met = reached[_contains(group.fronts[1 - side], reached >> self.bits)]
            if len(met):
                yield self._paths(group, np.sort(met))
            groups.append(self._next(group, reached))

    def _prune(self, group: _Group) -> _Group:
        """Keep the states of open searches, and on the side to move only new vertices."""
        u, v = (f[self.longest[f >> self.bits] >= group.step] for f in group.fronts)
        side = (group.step + 1) % 2
        front = (u, v)[side]
        for level, _ in group.levels[side][-3:-1]:
            front = front[~_contains(level, front)]
        return group._replace(fronts=(u, front) if side else (front, v))

    def _usable(self, search: np.ndarray, vertex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First neighbour of each vertex, and how many have a low enough rank."""
        begin = self.adjacency.begin[vertex]
        limit = vertex * self.adjacency.n_ranks + self.rank[search]
        return begin, np.searchsorted(self.adjacency.key, limit) - begin

    def _expand(self, front: np.ndarray, begin: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Pack (search, neighbour, vertex) for all usable neighbours of open searches."""
        is_open = self.longest[front >> self.bits] > 0
        front, begin, count = front[is_open], begin[is_open], count[is_open]
        shift = begin - (count.cumsum() - count)
        neighbor = self.adjacency.neighbor[np.repeat(shift, count) + np.arange(count.sum())]
        packed = (front >> self.bits << 2 * self.bits) | (front & self.mask)
        return np.repeat(packed, count) | (neighbor << self.bits)

    def _paths(self, group: _Group, met: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Close the searches that met; their smallest meeting state comes first."""
        search = met >> 2 * self.bits
        met = met[_is_first(search)]
        search = met >> 2 * self.bits
        self.longest[search] = 0
        side = (group.step + 1) % 2
        near = self._trace(group.levels[side], (search << self.bits) | (met & self.mask))
        far = self._trace(group.levels[1 - side], met >> self.bits)
        return search, np.stack(near[::-1] + far, axis=1)

    def _trace(self, levels: tuple[Level, ...], states: np.ndarray) -> list[np.ndarray]:
        """Vertices from states of the last level down to the end of the search."""
        path = [states & self.mask]
        for keys, before in levels[:0:-1]:
            path.append(before[np.searchsorted(keys, states)])
            states = (states >> self.bits << self.bits) | path[-1]
        return path

    def _next(self, group: _Group, reached: np.ndarray) -> _Group:
        """Add a level to the side that moved; the smallest vertex before a state stays."""
        reached = reached[self.longest[reached >> 2 * self.bits] > group.step]
        reached.sort()
        reached = reached[_is_first(reached >> self.bits)]
        level = (reached >> self.bits, reached & self.mask)
        (u, v), (levels_u, levels_v) = group.fronts, group.levels
        if group.step % 2:
            return _Group(group.step + 1, (level[0], v), ((*levels_u, level), levels_v))
        return _Group(group.step + 1, (u, level[0]), (levels_u, (*levels_v, level)))


def _contains(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether each value is in a sorted table."""
    if not len(table):
        return np.zeros(len(values), dtype=bool)
    place = np.searchsorted(table, values)
    np.minimum(place, len(table) - 1, out=place)
    return table[place] == values


def _is_first(values: np.ndarray) -> np.ndarray:
    """Whether each entry of a sorted array differs from the one before."""
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first
