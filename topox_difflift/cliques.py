"""Cliques of a graph, and exact look-up of edges and faces, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from topox_difflift.compiled import arrays, usable
from topox_difflift.ragged import counts, starts

__all__ = ["check_edges", "cliques", "edge_ids", "lexicographic_order", "row_ids", "triangles"]


def check_edges(edges: Tensor, num_nodes: int) -> None:
    """
    Raise unless `edges` is the sorted edge list of a simple undirected graph.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically, none twice.
    num_nodes : int
        Number of nodes.

    Raises
    ------
    ValueError
        If shape, type, order or range are not those.
    """
    if edges.dim() != 2 or edges.size(0) != 2 or edges.dtype != torch.int64:
        raise ValueError(
            f"Expected 'edges' to be int64 of shape (2, n_edges), got {edges.dtype} of shape "
            f"{tuple(edges.shape)}; an edge_index can be passed after edge_index.long()."
        )
    if edges.size(1) == 0:
        return
    key = edges[0] * num_nodes + edges[1]
    ordered = (edges[0] < edges[1]).all() & (key[1:] > key[:-1]).all()
    inside = (edges[0, 0] >= 0) & (edges[1].max() < num_nodes)
    if not bool(ordered & inside):
        raise ValueError(
            "Expected the columns (u, v) of 'edges' to satisfy 0 <= u < v < num_nodes = "
            f"{num_nodes} and to be sorted without repeats, got a list that is not; keep the "
            "columns with u < v and apply torch.unique(edges, dim=1)."
        )


def edge_ids(u: Tensor, v: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """
    Position of each pair of vertices in the edge list.

    Parameters
    ----------
    u, v : torch.Tensor, int64
        Ends of the pairs, in either order; any shape, the same for both.
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    torch.Tensor, int64
        Column of `edges`, or -1 where the pair is no edge; shape as `u`.
    """
    # The loops hold a number for each node, of which most may have no edge.
    if usable(u, v, edges) and num_nodes <= 8 * (u.numel() + edges.size(1)) + 1024:
        from topox_difflift import _cliques_numba

        found = _cliques_numba.edge_ids(*arrays(u.flatten(), v.flatten(), *edges), num_nodes)
        return torch.from_numpy(found).view(u.shape)
    table = edges[0] * num_nodes + edges[1]
    wanted = torch.minimum(u, v) * num_nodes + torch.maximum(u, v)
    return _find(wanted, table)


def row_ids(rows: Tensor, table: Tensor) -> Tensor:
    """
    Position of each row in a sorted table.

    Exact for any width: one column after the other narrows the rows of the
    table that agree with the prefix read so far, so that no hash can collide.

    Parameters
    ----------
    rows : torch.Tensor, shape = (n, width), int64
        Rows to look up; entries must not be negative.
    table : torch.Tensor, shape = (m, width), int64
        Distinct rows, sorted lexicographically.

    Returns
    -------
    torch.Tensor, shape = (n,), int64
        Row of `table`, or -1 where there is none.

    Raises
    ------
    ValueError
        If the widths differ.
    """
    if rows.size(1) != table.size(1):
        raise ValueError(
            f"Expected 'rows' to have the width of 'table', {table.size(1)}, got {rows.size(1)}; "
            "look up cells of one size at a time."
        )
    if not len(rows) or not len(table):
        return rows.new_full((len(rows),), -1)
    span = int(torch.maximum(rows.max(), table.max())) + 1
    group = table.new_zeros(len(table))  # rows of the table with equal prefixes share a number
    prefix = rows.new_zeros(len(rows))
    found = prefix
    for column in range(table.size(1)):
        key = group * span + table[:, column]
        found = _find(prefix * span + rows[:, column], key)
        group = _runs(key)
        # A prefix that is absent keeps a number which no row has.
        prefix = torch.where(found < 0, len(table), group[found])
    return found


def lexicographic_order(rows: Tensor) -> Tensor:
    """
    Order that sorts rows lexicographically; equal rows keep theirs.

    Parameters
    ----------
    rows : torch.Tensor, shape = (n, width), int64
        Rows whose entries are not negative.

    Returns
    -------
    torch.Tensor, shape = (n,), int64
        ``rows[order]`` is sorted.
    """
    if not rows.numel():
        return torch.arange(len(rows), device=rows.device)
    span = int(rows.max()) + 1
    if span ** rows.size(1) < 2**62:  # one sort: each row is the digits of one number
        key = rows[:, 0]
        for column in range(1, rows.size(1)):
            key = key * span + rows[:, column]
        return key.argsort(stable=True)
    order = torch.arange(len(rows), device=rows.device)
    for column in reversed(range(rows.size(1))):
        order = order[rows[order, column].argsort(stable=True)]
    return order


def triangles(edges: Tensor, num_nodes: int) -> Tensor:
    """
    List the triangles of a graph.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    torch.Tensor, shape = (n_triangles, 3), int64
        Rows a < b < c, sorted lexicographically.

    References
    ----------
    .. [1] N. Chiba, T. Nishizeki. Arboricity and subgraph listing algorithms.
       SIAM Journal on Computing, 1985.
    """
    return cliques(edges, num_nodes, 3)


def cliques(edges: Tensor, num_nodes: int, order: int, lower: Tensor | None = None) -> Tensor:
    """
    List the vertex sets of one size all of whose faces are given.

    Two faces that differ in their last vertex propose their union, which stays
    if its other faces are there as well. Vertices are first numbered by how many
    faces they lie in: a hub is then never the shared vertex, and an edge list
    proposes at most the sum over edges of the smaller degree.

    Parameters
    ----------
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, sorted lexicographically.
    num_nodes : int
        Number of nodes.
    order : int
        Number of vertices of the cliques, at least 3.
    lower : torch.Tensor, shape = (n_faces, order - 1), int64, or None
        The faces allowed: ascending rows, sorted lexicographically, none twice.
        By default all cliques of the graph with one vertex less; for order 3
        these are the edges.

    Returns
    -------
    torch.Tensor, shape = (n_cliques, order), int64
        Ascending rows, sorted lexicographically.

    Raises
    ------
    ValueError
        If `order` is below 3 or `lower` has another width than ``order - 1``.
    """
    if order < 3:
        raise ValueError(
            f"Expected 'order' to be at least 3 (a triangle), got {order}; cliques of two "
            "vertices are the edges themselves."
        )
    if lower is None:
        lower = edges.t() if order == 3 else cliques(edges, num_nodes, order - 1)
    if lower.dim() != 2 or lower.size(1) != order - 1:
        raise ValueError(
            f"Expected 'lower' to have shape (n_faces, {order - 1}) for order {order}, got "
            f"{tuple(lower.shape)}; pass the accepted cells of one vertex less."
        )
    rank, vertex = _rank_by_frequency(lower, num_nodes)
    faces = rank[lower].sort(dim=1).values
    found = vertex[_join(faces[lexicographic_order(faces)])].sort(dim=1).values
    return found[lexicographic_order(found)]


def _join(faces: Tensor) -> Tensor:
    """List the sets with all faces in the sorted table `faces`."""
    width = faces.size(1)
    position = torch.arange(len(faces), device=faces.device)
    if width == 2:  # the first column alone decides which rows meet
        sizes = torch.unique_consecutive(faces[:, 0], return_counts=True)[1]
    else:
        sizes = torch.unique_consecutive(faces[:, :-1], dim=0, return_counts=True)[1]
    later = torch.repeat_interleave(starts(sizes) + sizes, sizes) - position - 1
    first = torch.repeat_interleave(position, later)
    second = first + 1 + torch.arange(len(first), device=faces.device) - starts(later)[first]
    joined = torch.cat([faces[first], faces[second, -1:]], dim=1)
    for dropped in range(width - 1):  # the two faces without the last vertices are there already
        kept = [column for column in range(width + 1) if column != dropped]
        joined = joined[row_ids(joined[:, kept], faces) >= 0]
    return joined


def _rank_by_frequency(lower: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Rank of each vertex by frequency, and the vertex of each rank."""
    frequency = counts(lower.reshape(-1), num_nodes)
    vertex = torch.argsort(frequency, stable=True)
    rank = torch.empty_like(vertex)
    rank[vertex] = torch.arange(num_nodes, device=vertex.device)
    return rank, vertex


def _find(wanted: Tensor, table: Tensor) -> Tensor:
    """First position of each value in a sorted table, or -1."""
    if not len(table):
        return torch.full_like(wanted, -1)
    position = torch.searchsorted(table, wanted).clamp_(max=len(table) - 1)
    return torch.where(table[position] == wanted, position, -1)


def _runs(key: Tensor) -> Tensor:
    """Give equal values of a sorted tensor one number, ascending from 0."""
    change = torch.ones_like(key)
    change[1:] = key[1:] != key[:-1]
    return change.cumsum(0) - 1
