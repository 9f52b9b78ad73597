"""
Cycle bases as compiled loops; imported only when numba is installed.

Same forest, same tie-breaks and same cap as the vectorised engine, hence the
same cycles (see `shortest_cycle_basis`).
"""

from __future__ import annotations

import numpy as np

from topox_difflift._numba import compiled
from topox_difflift._sparse_numba import sort_by

__all__ = ["basis", "unite"]

Array = np.ndarray


@compiled
def _adjacency(u: Array, v: Array, edges: Array, num_nodes: int) -> tuple[Array, Array, Array]:
    """Neighbours of each vertex, and the edges to them, in the order of `edges`."""
    begin = np.zeros(num_nodes + 1, np.int64)
    for e in edges:
        begin[u[e] + 1] += 1
        begin[v[e] + 1] += 1
    for w in range(num_nodes):
        begin[w + 1] += begin[w]
    place = begin[:-1].copy()
    neighbor = np.empty(2 * len(edges), np.int64)
    edge = np.empty(2 * len(edges), np.int64)
    for e in edges:
        for w, x in ((u[e], v[e]), (v[e], u[e])):
            neighbor[place[w]] = x
            edge[place[w]] = e
            place[w] += 1
    return begin, neighbor, edge


@compiled
def _forest(begin: Array, neighbor: Array, num_nodes: int) -> tuple[Array, Array]:
    """Breadth-first forest: smallest roots, smallest parents; roots are their own."""
    parent = np.arange(num_nodes)
    depth = np.full(num_nodes, -1, np.int64)
    queue = np.empty(num_nodes, np.int64)
    for root in range(num_nodes):
        if depth[root] >= 0:
            continue
        depth[root], queue[0], head, tail = 0, root, 0, 1
        while head < tail:
            x = queue[head]
            head += 1
            for i in range(begin[x], begin[x + 1]):
                w = neighbor[i]
                if depth[w] < 0:
                    depth[w], parent[w], queue[tail] = depth[x] + 1, x, w
                    tail += 1
                elif depth[w] == depth[x] + 1 and x < parent[w]:
                    parent[w] = x
    return parent, depth


@compiled
def _spanning(u: Array, v: Array, parent: Array, later: Array) -> Array:
    """Edges of a forest, and those of `later` that join two of its trees when they come."""
    root = parent.copy()
    edges = np.empty(len(parent), np.int64)
    count = 0
    for e in range(len(u)):
        if parent[u[e]] == v[e] or parent[v[e]] == u[e]:
            edges[count] = e
            count += 1
    for e in later:
        a, b = u[e], v[e]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a != b:
            root[max(a, b)] = min(a, b)
            edges[count] = e
            count += 1
    return edges[:count]


@compiled
def _chords(u: Array, v: Array, parent: Array) -> tuple[Array, Array]:
    """Whether each edge is outside the forest, and the edges that are."""
    outside = np.empty(len(u), np.bool_)
    chords = np.empty(len(u), np.int64)
    count = 0
    for e in range(len(u)):
        outside[e] = parent[u[e]] != v[e] and parent[v[e]] != u[e]
        if outside[e]:
            chords[count] = e
            count += 1
    return outside, chords[:count]


@compiled
def _lengths(u: Array, v: Array, chords: Array, parent: Array, depth: Array) -> tuple[Array, int]:
    """Length of the cycle that each chord closes with the forest, and the greatest."""
    longest = 0
    sizes = np.empty(len(chords), np.int64)
    for c, e in enumerate(chords):
        a, b, size = u[e], v[e], 1
        while a != b:
            if depth[a] >= depth[b]:
                a = parent[a]
            else:
                b = parent[b]
            size += 1
        sizes[c] = size
        longest = max(longest, size)
    return sizes, longest


@compiled
def _climb(a: int, b: int, size: int, parent: Array, depth: Array, cycle: Array) -> None:
    """Write the path from a to b through the forest to the front of `cycle`."""
    left, right = 0, size - 1
    while a != b:
        if depth[a] >= depth[b]:
            cycle[left], a = a, parent[a]
            left += 1
        else:
            cycle[right], b = b, parent[b]
            right -= 1
    cycle[left] = a


@compiled
def _canonical(cycle: Array, size: int, vertices: Array, filled: int) -> None:
    """Append a cycle, from its smallest vertex towards the smaller neighbour."""
    first = 0
    for i in range(size):
        if cycle[i] < cycle[first]:
            first = i
    after, before = cycle[(first + 1) % size], cycle[(first - 1) % size]
    turn = 1 if after < before else size - 1
    place = first
    for i in range(size):
        vertices[filled + i] = cycle[place]
        place = (place + turn) % size


@compiled
def _search(
    stamp: int,
    ends: tuple[int, int],
    own: int,
    longest: int,
    max_search: int,
    begin: Array,
    neighbor: Array,
    rank: Array,
    owner: Array,
    level: Array,
    before: Array,
    frontiers: Array,
    heads: Array,
    tails: Array,
    cycle: Array,
) -> int:
    """Shortest path between the ends by edges of lower rank; its cycle's size, or 0."""
    for side in range(2):
        x = ends[side]
        heads[side], tails[side] = 0, 1
        owner[x], level[x], before[x], frontiers[side, 0] = stamp + side, 0, x, x
    work = 0
    for step in range(1, longest + 1):
        side, depth = (step + 1) % 2, (step + 1) // 2
        middle, previous = -1, -1
        head, tail = heads[side], tails[side]
        last = tail
        while head < last:
            x = frontiers[side, head]
            head += 1
            for i in range(begin[x], begin[x + 1]):
                if rank[i] >= own:
                    break
                work += 1
                w = neighbor[i]
                if owner[w] == stamp + 1 - side:
                    if middle < 0 or w < middle or (w == middle and x < previous):
                        middle, previous = w, x
                elif owner[w] != stamp + side:
                    owner[w], level[w], before[w] = stamp + side, depth, x
                    frontiers[side, tail] = w
                    tail += 1
                elif level[w] == depth and x < before[w]:
                    before[w] = x
            if work > max_search:
                return 0
        heads[side], tails[side] = head, tail
        if middle >= 0:
            _trace(ends[side], middle, previous, depth, step, before, cycle)
            return step + 1
    return 0


@compiled
def _trace(
    end: int, middle: int, previous: int, depth: int, step: int, before: Array, cycle: Array
) -> None:
    """Write the path through `middle`; `previous` precedes it on the side of `end`."""
    cycle[depth] = middle
    for i in range(depth - 1, -1, -1):
        cycle[i], previous = previous, before[previous]
    for i in range(depth + 1, step + 1):
        middle = before[middle]
        cycle[i] = middle


@compiled
def _ranked(
    chords: Array, sizes: Array, outside: Array, given: Array, later: Array, longest: int
) -> tuple[Array, int]:
    """
    All edges by rank, and the number of those of rank 0, the given ones of the forest.

    Then come the given chords by length, a counting sort, and the later edges as they arrive.
    """
    place = np.zeros(longest + 2, np.int64)
    for c, e in enumerate(chords):
        if given[e]:
            place[sizes[c] + 1] += 1
    order = np.empty(len(outside), np.int64)
    first = 0
    for e in range(len(outside)):
        if given[e] and not outside[e]:
            order[first] = e
            first += 1
    place[0] = first
    for size in range(longest + 1):
        place[size + 1] += place[size]
    for c, e in enumerate(chords):
        if given[e]:
            order[place[sizes[c]]] = e
            place[sizes[c]] += 1
    order[len(outside) - len(later) :] = later
    return order, first


@compiled
def basis(u: Array, v: Array, num_nodes: int, max_search: int, later: Array) -> tuple[Array, Array]:
    """
    Basis of the cycle space, in canonical form, in the order of the chords.

    Parameters
    ----------
    u, v : numpy.ndarray, shape = (n_edges,), int64
        Ends of the edges, u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.
    max_search : int
        Edge ends that the search of one chord may look at; 0 for the
        fundamental basis.
    later : numpy.ndarray, shape = (n_later,), int64
        Edges that are not there from the start, in the order in which they come.

    Returns
    -------
    tuple of numpy.ndarray
        Vertices of all cycles, cycle after cycle, and the size of each.
    """
    given = np.ones(len(u), np.bool_)
    given[later] = False
    begin, neighbor, _ = _adjacency(u, v, np.flatnonzero(given), num_nodes)
    parent, depth = _forest(begin, neighbor, num_nodes)
    if len(later):
        tree = _spanning(u, v, parent, later)
        begin, neighbor, _ = _adjacency(u, v, tree, num_nodes)
        parent, depth = _forest(begin, neighbor, num_nodes)
    outside, chords = _chords(u, v, parent)
    sizes, longest = _lengths(u, v, chords, parent, depth)
    cycle = np.empty(longest, np.int64)
    # Room for the usual case; it grows when needed.
    vertices = np.empty(8 * len(chords), np.int64)
    ranks, owner = np.zeros(len(u), np.int64), np.full(num_nodes, -1, np.int64)
    level, before = np.empty(num_nodes, np.int64), np.empty(num_nodes, np.int64)
    frontiers = np.empty((2, num_nodes), np.int64)
    heads, tails = np.empty(2, np.int64), np.empty(2, np.int64)
    if max_search > 0:
        order, first = _ranked(chords, sizes, outside, given, later, longest)
        for i in range(first, len(u)):
            ranks[order[i]] = i - first + 1
        begin, neighbor, edge = _adjacency(u, v, order, num_nodes)
        rank = ranks[edge]
    else:
        rank = ranks
    filled = 0
    for c, e in enumerate(chords):
        size = 0
        if max_search > 0 and sizes[c] > 3:
            # A path as long as the fundamental one would gain nothing.
            size = _search(
                2 * c, (u[e], v[e]), ranks[e], sizes[c] - 2, max_search,
                begin, neighbor, rank, owner, level, before, frontiers, heads, tails, cycle,
            )  # fmt: skip
        if size == 0:
            size = sizes[c]
            _climb(u[e], v[e], size, parent, depth, cycle)
        if filled + size > len(vertices):
            room = np.empty(2 * len(vertices) + size, np.int64)
            for i in range(filled):
                room[i] = vertices[i]
            vertices = room
        _canonical(cycle, size, vertices, filled)
        sizes[c] = size
        filled += size
    return vertices[:filled].copy(), sizes


@compiled
def unite(vertices: Array, sizes: Array) -> tuple[Array, Array]:
    """
    Cycles of a list, each once, sorted by first vertex and size; equal ones keep their order.

    Parameters
    ----------
    vertices : numpy.ndarray, shape = (sum(sizes),), int64
        Vertices of each cycle in canonical form, cycle after cycle.
    sizes : numpy.ndarray, shape = (n_cycles,), int64
        Size of each cycle.

    Returns
    -------
    tuple of numpy.ndarray
        Vertices and sizes of the cycles that are left.
    """
    begin = np.zeros(len(sizes) + 1, np.int64)
    for c in range(len(sizes)):
        begin[c + 1] = begin[c] + sizes[c]
    fresh = _first_of_equals(vertices, begin)
    order = sort_by(sizes, fresh, sizes.max() + 1 if len(sizes) else 0)
    root = vertices[begin[:-1]]
    order = sort_by(root, order, root.max() + 1 if len(root) else 0)
    kept = sizes[order]
    out, filled = np.empty(kept.sum(), np.int64), 0
    for c in order:
        for i in range(begin[c], begin[c + 1]):
            out[filled] = vertices[i]
            filled += 1
    return out, kept


@compiled
def _first_of_equals(vertices: Array, begin: Array) -> Array:
    """Rows of a ragged list that no row before them equals, by a hash table of the rows."""
    room = 16
    while room < 2 * len(begin):
        room *= 2
    table = np.full(room, -1, np.int64)
    fresh, count = np.empty(len(begin) - 1, np.int64), 0
    for row in range(len(begin) - 1):
        size, mixed = begin[row + 1] - begin[row], np.uint64(0)
        for i in range(begin[row], begin[row + 1]):
            # A multiplicative hash: the upper bits, which all vertices reach, decide.
            mixed = (mixed + np.uint64(vertices[i] + 1)) * np.uint64(0x9E3779B97F4A7C15)
        place = np.int64(mixed >> np.uint64(32)) & (room - 1)
        while table[place] >= 0:
            other, same = begin[table[place]], begin[table[place] + 1] - begin[table[place]] == size
            for i in range(size if same else 0):
                same &= vertices[begin[row] + i] == vertices[other + i]
            if same:
                break
            place = (place + 1) & (room - 1)
        if table[place] < 0:
            table[place] = row
            fresh[count] = row
            count += 1
    return fresh[:count]
