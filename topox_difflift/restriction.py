"""Parts of a complex: some of its cells, or those of each graph of a batch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from topox_difflift.cells import Rank
from topox_difflift.ragged import owners, starts, take

__all__ = ["graph_ranges", "restrict", "split_attributes", "split_by_graph"]


def restrict(rank: Rank, rows: Tensor, columns: Tensor) -> Rank:
    """
    Keep some cells of a rank, some of their faces, and no pair of membership 0.

    Parameters
    ----------
    rank : Rank
        The rank.
    rows : torch.Tensor, shape = (n_{r-1},), bool
        Cells of the rank below to keep.
    columns : torch.Tensor, shape = (n_r,), bool
        Cells to keep.

    Returns
    -------
    Rank
        The kept cells, their faces numbered anew; differentiable.
    """
    new_row, new_column = rows.cumsum(0) - 1, columns.cumsum(0) - 1
    row, column = rank.faces
    entries = (rows[row] & columns[column] & (rank.membership != 0)).nonzero().squeeze(1)
    cells = columns.nonzero().squeeze(1)
    return Rank(
        vertices=rank.vertices[columns[owners(rank.sizes)]],
        sizes=rank.sizes[cells],
        batch=rank.batch[cells],
        mask=rank.mask[cells],
        prob=rank.prob[cells],
        faces=torch.stack([new_row[row[entries]], new_column[column[entries]]]),
        orientation=rank.orientation[entries],
        membership=rank.membership[entries],
        x=rank.x[cells],
        content=None if rank.content is None else rank.content[cells],
        included=None if rank.included is None else rank.included[cells],
    )


def graph_ranges(batch: Tensor, n_graphs: int) -> list[tuple[int, int]]:
    """
    Where each graph starts and ends.

    Parameters
    ----------
    batch : torch.Tensor, shape = (n,), int64
        Graph of each item, ascending.
    n_graphs : int
        Number of graphs.

    Returns
    -------
    list of tuple of int
        Half-open range of positions of each graph.
    """
    graphs = torch.arange(n_graphs + 1, dtype=batch.dtype, device=batch.device)
    return list(pairwise(torch.searchsorted(batch.contiguous(), graphs).tolist()))


def split_by_graph(
    rank: Rank,
    nodes: list[tuple[int, int]],
    rows: list[tuple[int, int]],
    columns: list[tuple[int, int]],
) -> list[Rank]:
    """
    Cut a rank into graphs; everything that belongs to a graph is contiguous.

    Parameters
    ----------
    rank : Rank
        The rank.
    nodes, rows, columns : list of tuple of int
        Ranges of the nodes, of the cells of the rank below and of the cells of each graph.

    Returns
    -------
    list of Rank
        One per graph, numbered from 0.
    """
    first_member = torch.cat([starts(rank.sizes), rank.sizes.sum().reshape(1)]).tolist()
    row_ends = torch.tensor([0] + [end for _, end in rows], device=rank.faces.device)
    entry = torch.searchsorted(rank.faces[0].contiguous(), row_ends).tolist()
    pieces = []
    for graph, (start, end) in enumerate(columns):
        entries = slice(entry[graph], entry[graph + 1])
        offset = rank.faces.new_tensor([[rows[graph][0]], [start]])
        members = slice(first_member[start], first_member[end])
        pieces.append(
            Rank(
                vertices=rank.vertices[members] - nodes[graph][0],
                sizes=rank.sizes[start:end],
                batch=torch.zeros_like(rank.batch[start:end]),
                mask=rank.mask[start:end],
                prob=rank.prob[start:end],
                faces=rank.faces[:, entries] - offset,
                orientation=rank.orientation[entries],
                membership=rank.membership[entries],
                x=rank.x[start:end],
                content=None if rank.content is None else rank.content[start:end],
                included=None if rank.included is None else rank.included[start:end],
            )
        )
    return pieces


def split_attributes(
    attributes: dict[str, Any], batch_0: Tensor, n_graphs: int
) -> list[dict[str, Any]]:
    """
    Share out the attributes of the input graph among the graphs of the batch.

    Parameters
    ----------
    attributes : dict
        Values by name. Whether one belongs to nodes, edges or graphs is told by its
        length; names that start with "edge" are taken for edges first. A pair
        ``<name>_index``, ``<name>_size`` is a ragged list of cells.
    batch_0 : torch.Tensor, shape = (n_0,), int64
        Graph of each node, ascending.
    n_graphs : int
        Number of graphs.

    Returns
    -------
    list of dict
        Attributes of each graph, without `batch` and `ptr`; what fits nowhere is shared.
    """
    nodes = graph_ranges(batch_0, n_graphs)
    edge_index = attributes.get("edge_index", batch_0.new_empty(2, 0))
    graph_of_edge = batch_0[edge_index[0]]
    order = torch.argsort(graph_of_edge, stable=True)
    edges = [order[start:end] for start, end in graph_ranges(graph_of_edge[order], n_graphs)]
    sizes = {"node": batch_0.numel(), "graph": n_graphs, "edge": edge_index.size(1)}
    out: list[dict[str, Any]] = [{} for _ in nodes]
    done = {"batch", "ptr"}
    for key, index in attributes.items():
        size_key = key.removesuffix("_index") + "_size"
        size = attributes.get(size_key)
        if key.endswith("_index") and size is not None and _is_ragged(index, size):
            for part, cells in zip(out, _split_cells(index, size, batch_0, nodes), strict=True):
                part[key], part[size_key] = cells
            done |= {key, size_key}
    for key, value in attributes.items():
        if key in done:
            continue
        level = None if n_graphs == 1 else _level(key, value, sizes)
        for graph, (start, end) in enumerate(nodes):
            if key == "edge_index":
                out[graph][key] = edge_index[:, edges[graph]] - start
            elif level is None:
                out[graph][key] = value
            else:
                where = {"node": (start, end), "graph": (graph, graph + 1)}.get(level)
                out[graph][key] = _take(value, where or edges[graph])
    return out


def _is_ragged(index: Any, size: Any) -> bool:
    """Tell whether two attributes are the nodes of cells, cell after cell, and their numbers."""
    for values in (index, size):
        if not isinstance(values, Tensor) or values.dim() != 1 or values.dtype != torch.long:
            return False
    return bool((size > 0).all()) and int(size.sum()) == len(index)


def _split_cells(
    index: Tensor, size: Tensor, batch_0: Tensor, nodes: list[tuple[int, int]]
) -> list[tuple[Tensor, Tensor]]:
    """Give each graph its cells, which are those of its first node, numbered from 0."""
    graph = batch_0[index[starts(size)]]
    parts = []
    for g, (start, _) in enumerate(nodes):
        own = (graph == g).nonzero().squeeze(1)
        parts.append((index[take(size, own)] - start, size[own]))
    return parts


def _level(key: str, value: Any, sizes: dict[str, int]) -> str | None:
    """Tell whether an attribute belongs to nodes, graphs, edges or to none."""
    splittable = isinstance(value, list) or (
        isinstance(value, Tensor) and value.dim() > 0 and value.layout == torch.strided
    )
    if not splittable:
        return None
    first = ["edge"] if key.startswith("edge") else []
    return next((level for level in [*first, *sizes] if sizes[level] == len(value)), None)


def _take(value: Tensor | list[Any], where: tuple[int, int] | Tensor) -> Any:
    if isinstance(where, tuple):
        return value[slice(*where)]
    if isinstance(value, Tensor):
        return value[where]
    return [value[i] for i in where.tolist()]
