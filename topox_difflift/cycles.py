"""
Cycles of a graph, the candidates for the 2-cells of a cell complex.

A graph here is a whole batch: the disjoint union of its graphs, each on a
contiguous range of nodes. The cycles of the union are exactly those of the
graphs, one graph after the other. A cycle is written from its smallest vertex
towards the smaller of the two neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from topox_difflift._cycles_forest import (
    Array,
    Chords,
    ancestors,
    canonical,
    chords,
    forest_scipy,
    forest_torch,
    fundamental,
    smallest_vertices,
    spanning_edges,
)
from topox_difflift._cycles_minimum import minimum_rows
from topox_difflift._cycles_search import Adjacency, shortest_paths
from topox_difflift.cliques import check_edges, edge_ids
from topox_difflift.compiled import arrays, numba_installed, usable
from topox_difflift.ragged import buckets, concatenate, counts, owners, positions, starts, take
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "edge_ids",
    "fundamental_cycles",
    "induced_cycles",
    "minimum_cycle_basis",
    "shortest_cycle_basis",
    "sort_by_root",
    "unite",
]

Engine = Literal["auto", "numba", "scipy", "torch"]
Cycles = tuple[Tensor, Tensor]

LARGE = 100_000  # edges from which the device beats a copy to the host and back
PATHS = 1 << 20  # chordless paths that are extended at once
NO_EDGES = np.empty(0, dtype=np.int64)


def fundamental_cycles(
    edges: Tensor, num_nodes: int, *, engine: Engine = "auto", max_length: int | None = None
) -> Cycles:
    """
    Cycle basis of a breadth-first forest: one cycle for each edge outside it.

    The forest is unique (smallest roots, smallest parents), hence so is the basis,
    whatever the engine.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically, none twice.
    num_nodes : int
        Number of nodes.
    engine : {"auto", "numba", "scipy", "torch"}, default="auto"
        What computes it: compiled loops (needs numba), csgraph, or tensor
        operations on the device of `edges`. By default numba if it is installed,
        otherwise scipy; tensors on another device are moved to the host and the
        cycles back, unless there are more than 100 000 edges, where torch is used.
    max_length : int or None, default=None
        Longer cycles are dropped; what is left need not be a basis.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in cyclic order, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle. The cycles come in the order of their edges outside
        the forest.

    Raises
    ------
    ValueError
        If `edges` is not such a list, or `engine` is not one of those named or not installed.
    """
    check_edges(edges, num_nodes)
    engine = _choose(engine, edges, ("numba", "scipy", "torch"))
    if engine == "numba":
        return _drop_long(_compiled_basis(edges, num_nodes, 0, NO_EDGES), max_length)
    if engine == "scipy":
        host = edges.cpu().numpy()
        vertices, sizes = _close(host, *forest_scipy(host, num_nodes))
        return _drop_long((_on(edges, vertices), _on(edges, sizes)), max_length)
    return _drop_long(_close(edges, *forest_torch(edges, num_nodes)), max_length)


def shortest_cycle_basis(
    edges: Tensor,
    num_nodes: int,
    *,
    arrival: Tensor | None = None,
    max_search: int = 4096,
    engine: Engine = "auto",
    max_length: int | None = None,
) -> Cycles:
    """
    Cycle basis of short cycles, near the minimum one at a fraction of its cost.

    The edges outside a breadth-first forest are ranked by the length of their
    fundamental cycle, ties by position. Each receives a shortest cycle through
    it that uses, besides it, only the forest and edges of lower rank. The edge of
    highest rank in a cycle is thus in no earlier cycle: always a basis.

    Edges may also arrive one after the other, as in a filtration. Those that are there
    from the start have the basis above. An edge that arrives later joins two components,
    or it receives a shortest cycle through it that uses, besides it, only edges that were
    there before. So of edges that arrive by length, the last side of a polygon closes it
    before its chords arrive, and all cycles of the graph at the start stay in the basis.

    Among shortest cycles the choice is fixed, hence the same for all engines: an
    edge keeps its fundamental cycle unless there is a shorter one; then, with
    (u, v) the edge and d the length of the path that closes the cycle, the path
    passes the smallest vertex at distance ceil(d / 2) from u, and from there on,
    towards either end, the smallest vertex one step nearer to it.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically, none twice.
    num_nodes : int
        Number of nodes.
    arrival : torch.Tensor, shape = (n_edges,), int64, optional
        When each edge arrives, ties by position; 0 for those that are there from the
        start. By default all are.
    max_search : int, default=4096
        Cap on the search of one edge. Both ends advance in turn, level by level,
        and each level looks at all usable edge ends at the vertices of the one
        before; an edge whose levels sum to more keeps its fundamental cycle, with the
        forest that the edges of lower rank make. 0 gives the fundamental basis. The cap
        bounds the time on graphs whose neighbourhoods grow exponentially; it leaves
        molecules alone.
    engine : {"auto", "numba", "scipy"}, default="auto"
        Compiled loops (needs numba) or arrays; by default numba if it is
        installed. Both work on the host.
    max_length : int or None, default=None
        Longer cycles are dropped; what is left need not be a basis.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in cyclic order, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle. The cycles come in the order of their edges outside
        the forest.

    Raises
    ------
    ValueError
        If `edges` is not such a list, `arrival` has another length or a negative entry,
        `max_search` is negative, or `engine` is not one of those named or not installed.
    """
    check_edges(edges, num_nodes)
    later = _later(arrival, edges)
    if max_search < 0:
        raise ValueError(
            f"Expected 'max_search' to be at least 0, got {max_search}; 0 gives the fundamental "
            "cycles, a large number no cap."
        )
    engine = _choose(engine, edges, ("numba", "scipy"))
    if engine == "numba":
        return _drop_long(_compiled_basis(edges, num_nodes, max_search, later), max_length)
    vertices, sizes = _searched_basis(edges.cpu().numpy(), num_nodes, max_search, later)
    return _drop_long((_on(edges, vertices), _on(edges, sizes)), max_length)


def minimum_cycle_basis(edges: Tensor, num_nodes: int, *, max_length: int | None = None) -> Cycles:
    """
    Cycle basis of least total length, for graphs of moderate size.

    Candidates are, for each vertex x, the cycles of two shortest paths from x
    and one more edge, within the vertices from x on; in the order of length those
    are kept that are independent over GF(2) of the ones before. This is exact:
    a cycle with smallest vertex x is a sum of such candidates that are no longer.
    The shortest cycle basis bounds how long a candidate can be.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically, none twice.
    num_nodes : int
        Number of nodes.
    max_length : int or None, default=None
        Longer cycles are dropped; what is left need not be a basis.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in cyclic order, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle, ascending among those with the same smallest vertex;
        smallest vertices ascend.

    Raises
    ------
    ValueError
        If `edges` is not such a list, or the elimination would not fit in memory.

    References
    ----------
    .. [1] J. D. Horton. A polynomial-time algorithm to find the shortest cycle
       basis of a graph. SIAM Journal on Computing, 1987.
    """
    check_edges(edges, num_nodes)
    host = edges.cpu()
    near, lengths = shortest_cycle_basis(host, num_nodes)
    if not len(lengths):
        return near.to(edges.device), lengths.to(edges.device)
    component = smallest_vertices(host, num_nodes)
    longest = lengths.new_zeros(num_nodes)
    longest.scatter_reduce_(0, component[near[starts(lengths)]], lengths, "amax")
    parent, depth = forest_scipy(host.numpy(), num_nodes)
    chord = chords(host.numpy(), depth, ancestors(parent, depth)).edge
    rows = minimum_rows(
        host.numpy(), num_nodes, chord, component.numpy(), longest[component].numpy()
    )
    vertices, sizes = _ragged([torch.from_numpy(block) for block in rows])
    vertices, sizes = sort_by_root(canonical(vertices, sizes), sizes)
    return _drop_long((vertices.to(edges.device), sizes.to(edges.device)), max_length)


def induced_cycles(
    edges: Tensor, num_nodes: int, max_length: int, *, limit: int | None = None
) -> Cycles:
    """
    All chordless cycles up to a length.

    Chordless paths grow by one vertex at a time, all at once, from the smallest
    vertex of the cycle; memory is bounded beside the cycles themselves. Their
    number can grow exponentially with the length in dense graphs.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically, none twice.
    num_nodes : int
        Number of nodes.
    max_length : int
        Length of the longest cycles wanted, at least 3.
    limit : int or None, default=None
        Number of cycles beyond which the search stops with an error.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in cyclic order, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle. The cycles are sorted by smallest vertex, length and
        then lexicographically.

    Raises
    ------
    ValueError
        If `edges` is not such a list, `max_length` is below 3, or there are more than `limit`
        cycles.
    """
    check_edges(edges, num_nodes)
    if max_length < 3:
        raise ValueError(
            f"Expected 'max_length' to be at least 3 (a triangle), got {max_length}; raise it."
        )
    arcs = _arcs(edges, num_nodes)
    found: list[Tensor] = []
    count = 0
    pending = [edges.t()]
    while pending:
        paths = pending.pop()
        if len(paths) > 1 and int(arcs[1][paths[:, -1]].sum()) > PATHS:
            half = len(paths) // 2
            pending += [paths[half:], paths[:half]]
            continue
        closed, growing = _extend(paths, arcs, edges, num_nodes)
        found.append(closed)
        count += len(closed)
        if limit is not None and count > limit:
            raise ValueError(
                f"Expected at most 'limit' = {limit} chordless cycles up to length {max_length}, "
                f"got at least {count}; lower 'max_length', raise 'limit' or use a cycle basis."
            )
        if len(growing) and growing.size(1) < max_length:
            pending.append(growing)
    vertices, sizes = _ragged(found)
    return sort_by_root(vertices, sizes)


def unite(first: Cycles, second: Cycles) -> Cycles:
    """
    Cycles of two lists, each once.

    Parameters
    ----------
    first, second : tuple of torch.Tensor
        Pairs (vertices, sizes), as the functions of this module return them.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in cyclic order, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle. The cycles are sorted by their smallest vertex and length; of
        equal ones in that sense, those of `first` come first.
    """
    vertices, sizes = concatenate(first, second)
    if usable(vertices, sizes):
        from topox_difflift import _cycles_numba

        vertices, sizes = map(torch.from_numpy, _cycles_numba.unite(*arrays(vertices, sizes)))
        return vertices, sizes
    # Few cycles begin and end alike and are as long; only those are compared as a whole.
    alike = _alike(vertices, sizes)
    fresh = torch.ones_like(sizes, dtype=torch.bool)
    fresh[alike] = False
    here = positions(sizes)
    for part, largest in buckets(sizes[alike]):
        rows = alike[part]
        entries = take(sizes, rows)
        padded = vertices.new_full((len(rows), largest), -1)
        padded[owners(sizes[rows], len(entries)), here[entries]] = vertices[entries]
        _, same = torch.unique(padded, dim=0, return_inverse=True)
        leader = same.new_full((int(same.max()) + 1,), len(rows))
        number = torch.arange(len(rows), device=same.device)
        leader.scatter_reduce_(0, same, number, "amin")
        fresh[rows[leader]] = True
    index = fresh.nonzero().squeeze(1)
    return sort_by_root(vertices[take(sizes, index)], sizes[index])


def _alike(vertices: Tensor, sizes: Tensor) -> Tensor:
    """Cycles that share first, second and last vertex and the size with another one."""
    if not len(sizes):
        return sizes
    begin = starts(sizes)
    columns = (vertices[begin], vertices[begin + 1], vertices[begin + sizes - 1], sizes)
    order = stable_order(columns[0])
    for column in columns[1:]:
        order = order[stable_order(column[order])]
    table = torch.stack(columns)[:, order]
    repeats = (table[:, 1:] == table[:, :-1]).all(0)
    nothing = repeats.new_zeros(1)
    shared = torch.cat([repeats, nothing]) | torch.cat([nothing, repeats])
    return torch.empty_like(shared).index_copy(0, order, shared).nonzero().squeeze(1)


def _choose(engine: Engine, edges: Tensor, known: tuple[Engine, ...]) -> Engine:
    """Resolve "auto"; complain about what is unknown or not installed."""
    if engine == "auto":
        if edges.device.type != "cpu" and edges.size(1) > LARGE and "torch" in known:
            return "torch"
        return "numba" if numba_installed() else "scipy"
    if engine not in known:
        raise ValueError(f"Expected 'engine' to be one of {('auto', *known)}, got {engine!r}.")
    if engine == "numba" and not numba_installed():
        raise ValueError(
            "Expected numba to be installed for engine='numba', got no such package; "
            "pip install numba, or use engine='scipy'."
        )
    return engine


def _later(arrival: Tensor | None, edges: Tensor) -> np.ndarray:
    """Edges that are not there from the start, in the order in which they arrive."""
    if arrival is None:
        return NO_EDGES
    if arrival.shape != edges[0].shape or arrival.is_floating_point():
        raise ValueError(
            f"Expected 'arrival' to be one integer for each of the {edges.size(1)} edges (got "
            f"shape {tuple(arrival.shape)}, {arrival.dtype}); rank the edges by argsort"
        )
    when = arrival.cpu().numpy()
    if len(when) and when.min() < 0:
        raise ValueError(f"Expected 'arrival' to be at least 0 (got {when.min()}); 0 is the start")
    later = np.flatnonzero(when)
    return later[when[later].argsort(kind="stable")]


def _compiled_basis(edges: Tensor, num_nodes: int, max_search: int, later: np.ndarray) -> Cycles:
    """Basis by the compiled engine, on the device of `edges`."""
    from topox_difflift._cycles_numba import basis

    u, v = edges.cpu().contiguous().numpy()
    vertices, sizes = basis(u, v, num_nodes, max_search, later)
    return _on(edges, vertices), _on(edges, sizes)


def _close(edges: Array, parent: Array, depth: Array) -> tuple[Array, Array]:
    """Fundamental cycles of a forest."""
    above = ancestors(parent, depth)
    found = chords(edges, depth, above)
    return canonical(fundamental(found, depth, above), found.size), found.size


def _searched_basis(
    edges: np.ndarray, num_nodes: int, max_search: int, later: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shortest cycle basis by arrays."""
    parent, depth = forest_scipy(np.delete(edges, later, axis=1), num_nodes)
    if len(later):
        tree = spanning_edges(edges, parent, later)
        parent, depth = forest_scipy(edges[:, tree], num_nodes)
    above = ancestors(parent, depth)
    found = chords(edges, depth, above)
    pieces = list(_shorter_paths(edges, num_nodes, found, max_search, later))
    sizes, kept = found.size.copy(), np.ones(len(found.size), dtype=bool)
    for which, paths in pieces:
        sizes[which], kept[which] = paths.shape[1], False
    vertices = np.empty(sizes.sum(), dtype=np.int64)
    begin = sizes.cumsum() - sizes
    for which, paths in pieces:
        vertices[begin[which, None] + np.arange(paths.shape[1])] = paths
    fundamentals = Chords(*(column[kept] for column in found))
    vertices[np.repeat(kept, sizes)] = fundamental(fundamentals, depth, above)
    return canonical(vertices, sizes), sizes


def _shorter_paths(
    edges: np.ndarray, num_nodes: int, found: Chords, max_search: int, later: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield chords and the paths that close a shorter cycle with them than the forest does."""
    # A path as long as the fundamental one would gain nothing, and none is shorter than 2.
    asked = np.flatnonzero(found.size > 3)
    if not len(asked) or not max_search:
        return
    given = np.ones(edges.shape[1], dtype=bool)
    given[later] = False
    by_length = found.edge[found.size.argsort(kind="stable")]
    forest = given.copy()
    forest[found.edge] = False
    # Rank 0 for the given edges of the forest; from 1 on the others.
    ranked = np.concatenate([by_length[given[by_length]], later])
    rank = np.zeros(edges.shape[1], dtype=np.int64)
    rank[ranked] = np.arange(1, len(ranked) + 1)
    ranked = np.concatenate([np.flatnonzero(forest), ranked])
    adjacency = Adjacency.build(edges[:, ranked], rank[ranked], num_nodes)
    ends = np.stack([found.u[asked], found.v[asked]])
    own, longest = rank[found.edge[asked]], found.size[asked] - 2
    for which, paths in shortest_paths(adjacency, ends, own, longest, max_search):
        yield asked[which], paths


def _on(edges: Tensor, array: np.ndarray | Tensor) -> Tensor:
    """Return an array as a tensor on the device of `edges`."""
    return torch.as_tensor(array, device=edges.device)


def _arcs(edges: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """First neighbour and degree of each vertex, and all neighbours, ascending."""
    tail, head = torch.cat([edges, edges.flip(0)], dim=1)
    degree = counts(tail, num_nodes)
    return starts(degree), degree, head[(tail * num_nodes + head).argsort()]


def _extend(
    paths: Tensor, arcs: tuple[Tensor, Tensor, Tensor], edges: Tensor, num_nodes: int
) -> tuple[Tensor, Tensor]:
    """
    Add each vertex that leaves a path chordless, except for a chord to its start.

    The vertices exceed the first one. Such a chord closes a cycle: it is returned
    in one of its two directions, the canonical one.
    """
    begin, degree, neighbor = arcs
    last = paths[:, -1]
    sizes = degree[last]
    row = owners(sizes)
    shift = torch.repeat_interleave(begin[last] - starts(sizes), sizes)
    added = neighbor[shift + torch.arange(len(row), device=edges.device)]
    fresh = added > paths[row, 0]
    if paths.size(1) > 2:
        fresh &= added != paths[row, -2]
    row, added = row[fresh], added[fresh]
    for column in range(1, paths.size(1) - 1):
        apart = edge_ids(paths[row, column], added, edges, num_nodes) < 0
        row, added = row[apart], added[apart]
    extended = torch.cat([paths[row], added[:, None]], dim=1)
    closes = edge_ids(paths[row, 0], added, edges, num_nodes) >= 0
    return extended[closes & (added > extended[:, 1])], extended[~closes]


def _ragged(blocks: list[Tensor]) -> Cycles:
    """Flatten blocks of cycles; within a block all have the same length."""
    vertices = torch.cat([block.reshape(-1) for block in blocks])
    sizes = [torch.full((len(b),), b.size(1), device=b.device) for b in blocks]
    return vertices, torch.cat(sizes)


def sort_by_root(vertices: Tensor, sizes: Tensor) -> Cycles:
    """
    Sort cycles by first vertex and length; equal ones keep their order.

    Parameters
    ----------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        Vertices of each cycle in canonical form, cycle after cycle.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Length of each cycle.

    Returns
    -------
    vertices : torch.Tensor, shape = (sum(sizes),), int64
        The same cycles, sorted.
    sizes : torch.Tensor, shape = (n_cycles,), int64
        Their lengths.
    """
    by_length = sizes.argsort(stable=True)
    first = vertices[starts(sizes)] if len(sizes) else sizes
    order = by_length[first[by_length].argsort(stable=True)]
    return vertices[take(sizes, order)], sizes[order]


def _drop_long(cycles: Cycles, max_length: int | None) -> Cycles:
    """Keep the cycles up to a length."""
    vertices, sizes = cycles
    if max_length is None:
        return cycles
    index = torch.nonzero(sizes <= max_length).squeeze(1)
    return vertices[take(sizes, index)], sizes[index]
