"""
Breadth-first forest of a graph and the cycles that its chords close.

The forest is unique, so that every engine finds the same one: the root of a
component is its smallest vertex, the parent of a vertex the smallest of its
neighbours one level above. A root is its own parent, at depth 0.

What follows the forest is written once, for numpy arrays, which cost least on
the host, and for tensors on any device.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import (
    breadth_first_order,
    connected_components,
    minimum_spanning_tree,
)
from torch import Tensor

from topox_difflift.ragged import counts, starts

__all__ = [
    "Array",
    "Chords",
    "ancestors",
    "canonical",
    "chords",
    "forest_scipy",
    "forest_torch",
    "fundamental",
    "smallest_vertices",
    "spanning_edges",
]

Array = TypeVar("Array", np.ndarray, Tensor)


class Chords(NamedTuple):
    """Edges outside the forest, ascending, with the apex and length of their cycles."""

    edge: Any
    u: Any
    v: Any
    apex: Any
    size: Any


def forest_scipy(edges: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Breadth-first forest by `scipy.sparse.csgraph`, on the host.

    Parameters
    ----------
    edges : numpy.ndarray, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    tuple of numpy.ndarray, each of shape = (num_nodes,), int64
        Parent and depth of each vertex.
    """
    u, v = edges
    rows = np.zeros(num_nodes + 2, dtype=np.int32)
    np.cumsum(np.bincount(u, minlength=num_nodes), out=rows[1:-1])
    roots = _roots(rows[:-1], v, num_nodes)
    # One more vertex in front of all roots turns the forest into one tree.
    rows[-1] = len(v) + len(roots)
    depth = _depths(_csr(rows, np.concatenate([v, roots])), num_nodes)
    parent = np.arange(num_nodes)
    step = depth[u] - depth[v]
    # Of repeated positions numpy keeps the last value, here the smallest neighbour.
    for child, above, down in ((u, v, 1), (v, u, -1)):
        downwards = np.flatnonzero(step == down)[::-1]
        parent[child[downwards]] = above[downwards]
    return parent, depth


def _csr(rows: np.ndarray, columns: np.ndarray) -> csr_array:
    """Square pattern, in the types that csgraph takes without a copy."""
    shape = (len(rows) - 1, len(rows) - 1)
    return csr_array((np.ones(len(columns)), columns.astype(np.int32), rows), shape=shape)


def _roots(rows: np.ndarray, columns: np.ndarray, num_nodes: int) -> np.ndarray:
    """Smallest vertex of each component."""
    if not num_nodes:
        return np.zeros(0, dtype=np.int64)
    count, label = connected_components(_csr(rows, columns), directed=False)
    first = np.empty(count, dtype=np.int64)
    first[label[::-1]] = np.arange(num_nodes)[::-1]
    return first


def _depths(tree: csr_array, root: int) -> np.ndarray:
    """Distance of each vertex from the children of `root`, the last vertex."""
    order, above = breadth_first_order(tree, root, directed=False)
    place = np.empty(root + 1, dtype=np.int64)
    place[order] = np.arange(root + 1)
    parents = place[above[order[1:]]]  # ascending, since the order is breadth first
    bounds = [0]
    while bounds[-1] < root:  # a level ends where the parents leave the level above
        bounds.append(int(np.searchsorted(parents, bounds[-1] + 1)))
    depth = np.empty(root + 1, dtype=np.int64)
    depth[order[1:]] = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return depth[:root]


def spanning_edges(edges: np.ndarray, parent: np.ndarray, later: np.ndarray) -> np.ndarray:
    """
    Let edges join the trees of a forest, in the order in which they come.

    Parameters
    ----------
    edges : numpy.ndarray, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    parent : numpy.ndarray, shape = (num_nodes,), int64
        Parent of each vertex in the forest, of a root itself.
    later : numpy.ndarray, shape = (n_later,), int64
        Positions of the edges to come, in order.

    Returns
    -------
    numpy.ndarray, int64
        Positions of the edges of the forest with those that joined two trees, ascending.
    """
    u, v = edges
    # Weights are ranks from 1 on: a spanning forest of least weight takes the first edges it can.
    rank = np.where((parent[u] == v) | (parent[v] == u), 1.0, 0.0)
    rank[later] = np.arange(2, len(later) + 2)
    taken = np.flatnonzero(rank)
    shape = (len(parent), len(parent))
    weights = coo_array((rank[taken], (u[taken], v[taken])), shape=shape).tocsr()
    tree = minimum_spanning_tree(weights).tocoo()
    # Its positions are int32, and so would be their product.
    key = tree.row.astype(np.int64) * len(parent) + tree.col
    return np.searchsorted(u * len(parent) + v, np.sort(key))


def forest_torch(edges: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """
    Breadth-first forest by tensor operations, on the device of `edges`.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    tuple of torch.Tensor, each of shape = (num_nodes,), int64
        Parent and depth of each vertex.
    """
    child, above = torch.cat([edges, edges.flip(0)], dim=1)
    order = child.argsort(stable=True)
    child, above = child[order], above[order]
    vertex = torch.arange(num_nodes, device=edges.device)
    degree = counts(child, num_nodes)
    begin = starts(degree)
    depth = torch.full_like(vertex, -1)
    level, frontier = 0, torch.nonzero(smallest_vertices(edges, num_nodes) == vertex).squeeze(1)
    while len(frontier):
        depth[frontier] = level
        sizes = degree[frontier]
        shift = torch.repeat_interleave(begin[frontier] - starts(sizes), sizes)
        reached = above[shift + torch.arange(len(shift), device=edges.device)]
        reached = reached[depth[reached] < 0]
        # Each vertex once: only one of its copies can have left its place here.
        ticket = torch.arange(len(reached), device=edges.device)
        winner = torch.empty_like(vertex).scatter_(0, reached, ticket)
        frontier = reached[winner[reached] == ticket]
        level += 1
    downwards = depth[above] < depth[child]
    parent = vertex.clone()
    best = torch.full_like(vertex, num_nodes)
    best.scatter_reduce_(0, child[downwards], above[downwards], "amin")
    return torch.where(depth > 0, best, parent), depth


def smallest_vertices(edges: Tensor, num_nodes: int) -> Tensor:
    """
    Smallest vertex of the component of each vertex, by hooking and pointer jumping.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Edges, in any order.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    torch.Tensor, shape = (num_nodes,), int64
        The vertex that stands for the component.
    """
    label = torch.arange(num_nodes, device=edges.device)
    while True:
        ends = label[edges]
        low, high = ends.amin(0), ends.amax(0)
        if torch.equal(low, high):
            return label
        label.scatter_reduce_(0, high, low, "amin")
        while not torch.equal(label, jumped := label[label]):
            label = jumped


def ancestors(parent: Array, depth: Array) -> list[Array]:
    """
    Ancestors 1, 2, 4, ... levels up, so that any climb takes logarithmic steps.

    Parameters
    ----------
    parent, depth : numpy.ndarray or torch.Tensor, shape = (num_nodes,), int64
        The forest; a root is its own parent.

    Returns
    -------
    list of the same kind, each of shape = (num_nodes,), int64
        Ancestor ``2**j`` levels above each vertex, or its root.
    """
    table = [parent]
    for _ in range(1, int(depth.max()).bit_length() if len(depth) else 0):
        table.append(table[-1][table[-1]])
    return table


def chords(edges: Array, depth: Array, above: list[Array]) -> Chords:
    """
    Edges outside the forest, and where the paths from their ends meet.

    Parameters
    ----------
    edges : numpy.ndarray or torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    depth : numpy.ndarray or torch.Tensor, shape = (num_nodes,), int64
        Depth of each vertex in a spanning forest.
    above : list
        The forest's table of `ancestors`.

    Returns
    -------
    Chords
        Edge, ends, lowest common ancestor and length of the cycle of each.
    """
    xp = _namespace(edges)
    u, v = edges
    parent = above[0]
    edge = xp.where((parent[u] != v) & (parent[v] != u))[0]
    u, v = u[edge], v[edge]
    # To the same level first; in a breadth-first forest the ends are at most one apart.
    step = depth[u] - depth[v]
    left, right = u, v
    for power in range(int(abs(step).max()).bit_length() if len(step) else 0):
        climbs = (abs(step) >> power) & 1 == 1
        left = xp.where(climbs & (step > 0), above[power][left], left)
        right = xp.where(climbs & (step < 0), above[power][right], right)
    for jump in reversed(above):  # as far up as the two stay apart
        higher_left, higher_right = jump[left], jump[right]
        apart = higher_left != higher_right
        left = xp.where(apart, higher_left, left)
        right = xp.where(apart, higher_right, right)
    apex = xp.where(left == right, left, parent[left])
    return Chords(edge, u, v, apex, depth[u] + depth[v] - 2 * depth[apex] + 1)


def fundamental(which: Chords, depth: Array, above: list[Array]) -> Array:
    """
    Write down the cycles that chords close with the forest.

    Parameters
    ----------
    which : Chords
        The chords.
    depth : numpy.ndarray or torch.Tensor, shape = (num_nodes,), int64
        Depth of each vertex in the forest.
    above : list
        The forest's table of `ancestors`.

    Returns
    -------
    numpy.ndarray or torch.Tensor, shape = (sum(which.size),), int64
        Vertices in cyclic order, cycle after cycle: from u up to the apex and
        down to v.
    """
    xp = _namespace(depth)
    if not len(which.size):
        return which.size
    cycle, place = _entries(which.size)
    size = which.size[cycle]
    from_u = place <= (depth[which.u] - depth[which.apex])[cycle]
    vertex = xp.where(from_u, which.u[cycle], which.v[cycle])
    climb = xp.where(from_u, place, size - 1 - place)
    for power in range(int(climb.max()).bit_length()):
        vertex = xp.where((climb >> power) & 1 == 1, above[power][vertex], vertex)
    return vertex


def canonical(vertices: Array, sizes: Array) -> Array:
    """
    Turn each cycle so that it starts at its smallest vertex, towards the smaller neighbour.

    Parameters
    ----------
    vertices : numpy.ndarray or torch.Tensor, shape = (sum(sizes),), int64
        Vertices in cyclic order, cycle after cycle.
    sizes : numpy.ndarray or torch.Tensor, shape = (n_cycles,), int64
        Number of vertices of each cycle, at least 3.

    Returns
    -------
    numpy.ndarray or torch.Tensor, shape = (sum(sizes),), int64
        The same cycles, in the same order.
    """
    xp = _namespace(vertices)
    if not len(sizes):
        return vertices
    cycle, place = _entries(sizes)
    begin = sizes.cumsum(0) - sizes
    first = xp.where(vertices == _least(vertices, begin, cycle)[cycle])[0] - begin
    after = vertices[begin + (first + 1) % sizes]
    before = vertices[begin + (first - 1) % sizes]
    turn = xp.where(after < before, 1, -1)
    return vertices[begin[cycle] + (first[cycle] + turn[cycle] * place) % sizes[cycle]]


def _namespace(array: Array) -> Any:
    """Return the module whose functions take such an array."""
    return torch if isinstance(array, Tensor) else np


def _entries(sizes: Array) -> tuple[Array, Array]:
    """Row of each entry of a ragged list, and its place within the row."""
    begin = sizes.cumsum(0) - sizes
    if isinstance(sizes, Tensor):
        row = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
        return row, torch.arange(len(row), device=sizes.device) - begin[row]
    row = np.repeat(np.arange(len(sizes)), sizes)
    return row, np.arange(len(row)) - begin[row]


def _least(vertices: Array, begin: Array, cycle: Array) -> Array:
    """Smallest vertex of each cycle."""
    if isinstance(vertices, Tensor):
        return vertices[begin].scatter_reduce(0, cycle, vertices, "amin")
    return np.minimum.reduceat(vertices, begin)
