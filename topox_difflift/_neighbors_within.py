"""Search for the nearest among listed candidates: the nodes within a few hops of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift._neighbors_select import (
    EXPANSION_NOISE,
    INPUT_NOISE,
    Graphs,
    in_order,
    raise_not_finite,
    rows_of,
)
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fill_within", "k_hop_pairs"]

# Numbers held at once.
_BLOCK = {"cpu": 2**21}


def k_hop_pairs(edge_index: Tensor, num_nodes: int, k: int, start: Tensor | None = None) -> Tensor:
    """
    Pairs of nodes that are at most k hops apart.

    Parameters
    ----------
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge, sorted.
    num_nodes : int
        Number of nodes.
    k : int
        Number of hops.
    start : torch.Tensor, shape = (n_starts,), int64, optional
        Nodes to list the pairs of, ascending; by default all.

    Returns
    -------
    torch.Tensor, shape = (2, n_pairs), int64
        All ordered pairs, each node with itself included, sorted. Memory is linear in the
        number of walks of one step from such pairs.
    """
    if start is None:
        start = torch.arange(num_nodes, device=edge_index.device)
    degree = ragged.counts(edge_index[0], num_nodes)
    row, member = torch.arange(len(start), device=start.device), start
    for _ in range(k):
        further = edge_index[1][ragged.take(degree, member)]
        origin = row.repeat_interleave(degree[member])
        key = torch.cat([row * num_nodes + member, origin * num_nodes + further])
        key = torch.unique_consecutive(key.index_select(0, stable_order(key)))
        if len(key) == len(row):
            break
        row, member = key // num_nodes, key % num_nodes
    return torch.stack([start.index_select(0, row), member])


def fill_within(
    out: Tensor, z: Tensor, batch: Tensor, sizes: Tensor, edge_index: Tensor, hops: int
) -> None:
    """
    Write the nearest other nodes of every node among those within some hops.

    Parameters
    ----------
    out : torch.Tensor, shape = (n_nodes, k), int64
        Where to; it holds -1, and still does where too few are within reach.
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node.
    sizes : torch.Tensor, shape = (n_graphs,), int64
        Number of nodes of each graph.
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge, sorted by their source.
    hops : int
        How many edges away a candidate may be.
    """
    if usable(z):
        out.copy_(_compiled_search(z, sizes, edge_index, hops, out.size(1)))
        return
    graphs = Graphs.of(z, batch, sizes)
    # Every block looks at all degrees: with that many pairs to a block this is the lesser part.
    block = max(rows_of(graphs, z.size(1), _BLOCK), edge_index.numel() // max(1, z.size(1)))
    for first, last in _chunks(_walks(edge_index, batch, sizes, hops), block):
        rows = torch.arange(first, last, device=z.device)
        node, other = k_hop_pairs(edge_index, len(z), hops, rows)
        apart = (node != other).nonzero().flatten()
        node, other = node.index_select(0, apart), other.index_select(0, apart)
        difference = graphs.z.index_select(0, node).sub_(graphs.z.index_select(0, other))
        distance = torch.linalg.vector_norm(difference, dim=1)
        tolerance = graphs.tolerance.index_select(0, batch[first:last])
        out[first:last] = _nearest(distance, node - first, other, tolerance, out.size(1))


def _compiled_search(z: Tensor, sizes: Tensor, edge_index: Tensor, hops: int, k: int) -> Tensor:
    """Search by compiled loops."""
    from topox_difflift._neighbors_numba import nearest_within

    degree = ragged.counts(edge_index[0], len(z))
    graph = arrays(z, ragged.starts(sizes), sizes, ragged.starts(degree), degree, edge_index[1])
    index, broken = nearest_within(*graph, hops, k, EXPANSION_NOISE, INPUT_NOISE[z.dtype])
    if broken >= 0:
        raise_not_finite(broken)
    return torch.from_numpy(index)


def _walks(edge_index: Tensor, batch: Tensor, sizes: Tensor, hops: int) -> Tensor:
    """Bound of what is listed at once for each node: walks, and never more than its graph has."""
    source, target = edge_index
    arcs = ragged.counts(batch.index_select(0, source), len(sizes))
    most = (sizes + arcs).index_select(0, batch)
    walks = torch.ones_like(batch)
    for _ in range(hops):
        walks = walks.index_add(0, source, walks.index_select(0, target)).minimum(most)
    return walks


def _chunks(cost: Tensor, block: int) -> Iterator[tuple[int, int]]:
    """Cut the nodes into runs that cost about a block each, and more only if a single one does."""
    number = (cost.cumsum(0) - cost) // block
    last = 0
    for length in torch.unique_consecutive(number, return_counts=True)[1].tolist():
        first, last = last, last + length
        yield first, last


def _nearest(distance: Tensor, row: Tensor, column: Tensor, tolerance: Tensor, k: int) -> Tensor:
    """
    Select from listed candidates, as `_neighbors_select.resolve` does from whole rows.

    Parameters
    ----------
    distance : torch.Tensor, shape = (n_pairs,)
        Distances of the candidates.
    row, column : torch.Tensor, shape = (n_pairs,), int64
        Row and column of each, sorted by both.
    tolerance : torch.Tensor, shape = (n_rows,)
        Difference up to which two distances are equal.
    k : int
        Number of neighbours.

    Returns
    -------
    torch.Tensor, shape = (n_rows, k), int64
        Columns, nearest first, and -1 beyond the last candidate.
    """
    n_rows = len(tolerance)
    sizes = ragged.counts(row, n_rows)
    start, kept = ragged.starts(sizes), sizes.clamp(max=k)
    chosen_distance = distance.new_full((n_rows, k), torch.inf)
    chosen = column.new_full((n_rows, k), -1)
    if len(row):
        order = distance.argsort()
        order = order.index_select(0, stable_order(row.index_select(0, order)))
        # A row without candidates has no k-th distance, and nothing that asks for one.
        kth = distance.index_select(0, order.index_select(0, (start + kept - 1).clamp(min=0)))
        low, high = (kth - tolerance)[row], (kth + tolerance)[row]
        sure = distance < low
        tied = (distance >= low) & (distance <= high)
        room = kept - torch.zeros_like(sizes).index_add(0, row, sure.long())
        before = tied.cumsum(0) - tied.long()
        before = before - before.index_select(0, start.index_select(0, row))
        taken = (sure | (tied & (before < room.index_select(0, row)))).nonzero().flatten()
        place = row.index_select(0, taken), ragged.positions(kept)
        chosen_distance[place], chosen[place] = distance[taken], column[taken]
    return in_order(chosen_distance, chosen, tolerance.unsqueeze(1))
