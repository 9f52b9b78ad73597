"""Nearest neighbours within each graph of a batch, and differentiable distances of chosen pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift._neighbors_exact import fill_others
from topox_difflift._neighbors_select import EXPANSION_NOISE, INPUT_NOISE, Graphs
from topox_difflift._neighbors_within import fill_within
from topox_difflift.cliques import edge_ids
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import Segments, stable_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_geometric.nn.pool import KNNIndex

__all__ = ["knn", "knn_within", "pairs", "rank_by_length", "squared_distances"]


def knn(
    z: Tensor,
    batch: Tensor,
    k: int,
    *,
    num_graphs: int | None = None,
    include_self: bool = False,
    chunk_rows: int | None = None,
    index: KNNIndex | None = None,
) -> Tensor:
    r"""
    Find the `k` nearest nodes of every node within its own graph.

    Distances are Euclidean. Let a graph have radius :math:`\rho` (the largest distance of
    a node to the mean) and mean :math:`\mu`. Two distances from a node count as equal when
    they differ by less than

    .. math:: \tau = 2^{-20} \rho + \epsilon (\rho + \lVert\mu\rVert),

    with :math:`\epsilon = 2^{-18}` for float32, :math:`2^{-40}` for float64, :math:`2^{-9}`
    for float16 and :math:`2^{-6}` for bfloat16, and the lower node index comes first. So
    symmetric nodes and duplicate features are resolved by index and not by rounding: a graph
    has the same neighbours alone and within any batch. More precisely, of the nodes whose
    distance lies within :math:`\tau` of the k-th smallest the lowest indices are chosen;
    then the chosen ones are sorted by distance, and by index within each run of distances
    whose successive gaps are at most :math:`\tau`.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings, of any floating dtype. No gradient is recorded.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node, ascending.
    k : int
        Number of neighbours, at least 1.
    num_graphs : int, optional
        Number of graphs in the batch; by default ``batch[-1] + 1``.
    include_self : bool, default=False
        Whether a node is its own first neighbour, counted among the `k`, or never one.
    chunk_rows : int, optional
        Rows of distances that are held at once; by default as many as run fastest.
    index : torch_geometric.nn.pool.KNNIndex, optional
        Searches graphs of more than 1024 nodes, each by an index of its own with the same
        settings; this one is left as it is. It proposes a few candidates more than `k`, of
        which the nearest are taken by the rule above; what it does not propose is not found,
        nor are equals of the last that it proposes.

    Returns
    -------
    torch.Tensor, shape = (n_nodes, k), int64
        Nodes, nearest first, and -1 where a graph has too few of them.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, dtype, order or range, or if `z` is not finite.
    """
    _check_knn(z, batch, k, num_graphs)
    if chunk_rows is not None:
        _check_positive("chunk_rows", chunk_rows)

    def fill(out: Tensor, z: Tensor, batch: Tensor, sizes: Tensor) -> None:
        fill_others(out, z, batch, sizes, chunk_rows, index)

    return _search(fill, z, batch, k, num_graphs, include_self)


def knn_within(
    z: Tensor,
    batch: Tensor,
    edge_index: Tensor,
    hops: int,
    k: int,
    *,
    num_graphs: int | None = None,
    include_self: bool = False,
) -> Tensor:
    r"""
    Find the `k` nearest nodes of every node among those that are at most `hops` edges away.

    Who counts as nearest, and how equal distances are resolved, is as in `knn`, with the
    tolerance of the whole graph: where every node is within reach the two agree. Work is
    linear in the edges of what is within reach of each node, and memory in the graph, since
    nodes are taken in blocks.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings, of any floating dtype. No gradient is recorded.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node, ascending.
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge, sorted by their source; none between graphs.
    hops : int
        How many edges away a neighbour may be, at least 1.
    k : int
        Number of neighbours, at least 1.
    num_graphs : int, optional
        Number of graphs in the batch; by default ``batch[-1] + 1``.
    include_self : bool, default=False
        Whether a node is its own first neighbour, counted among the `k`, or never one.

    Returns
    -------
    torch.Tensor, shape = (n_nodes, k), int64
        Nodes, nearest first, and -1 where too few are within reach.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, dtype, order or range, or if `z` is not finite.
    """
    _check_knn(z, batch, k, num_graphs)
    _check_positive("hops", hops)
    _check_arcs(edge_index, batch)

    def fill(out: Tensor, z: Tensor, batch: Tensor, sizes: Tensor) -> None:
        fill_within(out, z, batch, sizes, edge_index.to(z.device), hops)

    return _search(fill, z, batch, k, num_graphs, include_self)


def _search(
    fill: Callable[[Tensor, Tensor, Tensor, Tensor], None],
    z: Tensor,
    batch: Tensor,
    k: int,
    num_graphs: int | None,
    include_self: bool,
) -> Tensor:
    """Let the node itself come first or not at all, and `fill` in the others."""
    device = z.device
    if device.type == "mps":  # it has no float64
        z, batch = z.cpu(), batch.cpu()
    others = k - 1 if include_self else k
    out = batch.new_full((z.size(0), k), -1)
    # Autocast would round the operands of a product to half precision.
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        if include_self:
            out[:, 0] = torch.arange(z.size(0), device=z.device)
        if others:
            sizes = batch.bincount() if num_graphs is None else ragged.counts(batch, num_graphs)
            fill(out[:, k - others :], z.detach(), batch, sizes)
    return out.to(device)


def squared_distances(z: Tensor, source: Tensor, target: Tensor) -> Tensor:
    r"""
    Compute :math:`\lVert z_s - z_t \rVert^2` for the given pairs (s, t) only.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings; they receive the gradient.
    source, target : torch.Tensor, shape = (n_pairs,), int64
        The two nodes of each pair, in the range of `z`.

    Returns
    -------
    torch.Tensor, shape = (n_pairs,)
        Squared distances.

    Raises
    ------
    ValueError
        If `z` is not a matrix or if `source` and `target` are not int64 vectors of one length.
    """
    _check_matrix(z)
    for name, value in (("source", source), ("target", target)):
        _check_index(name, value, source.numel(), "'source'")
    distances = _CompiledDistances if usable(z) else _SquaredDistances
    found: Tensor = distances.apply(z, source, target)
    return found


def pairs(index: Tensor, listed: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """
    List each pair of a node and one of its neighbours once, unless it is an edge.

    Parameters
    ----------
    index : torch.Tensor, shape = (n_nodes, k), int64
        Neighbours of each node, never itself, none twice.
    listed : torch.Tensor, shape = (n_nodes, k), bool
        Which of them count.
    edges : torch.Tensor, shape = (2, n_edges), int64
        Columns (u, v) with u < v, in lexicographic order.

    Returns
    -------
    u, v : torch.Tensor, shape = (n_pairs,), int64
        The pairs, u < v, in lexicographic order.
    first, second : torch.Tensor, shape = (n_pairs,), int64
        Positions in the flat `index` where an end lists the other; the same one twice,
        unless both do.
    """
    if usable(index, edges):
        from topox_difflift import _neighbors_numba

        found = _neighbors_numba.pairs(*arrays(index, listed, *edges))
        u, v, first, second = map(torch.from_numpy, found)
        return u, v, first, second
    n_nodes, k = index.shape
    entry = listed.flatten().nonzero().squeeze(1)
    node, other = entry // k, index.flatten()[entry]
    key = torch.minimum(node, other) * n_nodes + torch.maximum(node, other)
    order = stable_order(key)
    pair, count = torch.unique_consecutive(key[order], return_counts=True)
    u, v, last = pair // n_nodes, pair % n_nodes, count.cumsum(0) - 1
    new = edge_ids(u, v, edges, n_nodes) < 0
    first, second = entry[order[(last - count + 1)[new]]], entry[order[last[new]]]
    return u[new], v[new], first, second


class _CompiledDistances(torch.autograd.Function):
    """Squared distances of pairs, by loops that store no differences."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, source: Tensor, target: Tensor) -> Tensor:
        from topox_difflift._neighbors_numba import distances

        ctx.save_for_backward(z, source, target)
        return torch.from_numpy(distances(*arrays(z, source, target)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        from topox_difflift._neighbors_numba import distances_backward

        found = distances_backward(*arrays(*grads, *ctx.saved_tensors))
        return torch.from_numpy(found), None, None


class _SquaredDistances(torch.autograd.Function):
    """Squared distances of pairs; the backward pass is one weighted sum over a node's pairs."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, source: Tensor, target: Tensor) -> Tensor:
        difference = z.index_select(0, source).sub_(z.index_select(0, target))
        ctx.n_nodes = len(z)
        ctx.save_for_backward(difference, source, target)
        return torch.linalg.vector_norm(difference, dim=-1).square_()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,), (difference, source, target) = grads, ctx.saved_tensors
        ends = Segments.grouped(torch.cat([source, target]), ctx.n_nodes)
        is_target = ends.index >= len(source)
        weight = torch.cat([2 * grad, -2 * grad]).index_select(0, ends.index)
        pairs = Segments(ends.index - len(source) * is_target, ends.sizes, len(source))
        return pairs.pool(difference, weight), None, None


def rank_by_length(z: Tensor, batch: Tensor, edges: Tensor, num_graphs: int) -> Tensor:
    r"""
    Rank the edges of each graph by their Euclidean length.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node, ascending.
    edges : torch.Tensor, shape = (2, n_edges), int64
        Pairs of nodes, each of one graph, graph after graph.
    num_graphs : int
        Number of graphs.

    Returns
    -------
    torch.Tensor, shape = (n_edges,), int64
        From 1 on, ascending with the length within each graph. Neighbouring lengths that differ
        by less than the tolerance of `knn` have one rank: rounding decides nothing.
    """
    sizes = ragged.counts(batch, num_graphs)
    if usable(z):
        from topox_difflift._neighbors_numba import ranked_lengths

        inputs = arrays(z.detach(), ragged.starts(sizes), sizes, *edges)
        noise = EXPANSION_NOISE, INPUT_NOISE[z.dtype]
        return torch.from_numpy(ranked_lengths(*inputs, *noise))
    graphs = Graphs.of(z, batch, sizes)
    owner = batch.index_select(0, edges[0])
    ends = graphs.z.index_select(0, edges.reshape(-1)).view(2, -1, z.size(1))
    length = torch.linalg.vector_norm(ends[0] - ends[1], dim=-1)
    # Within a graph the order of equal lengths is of no account.
    order = length.argsort()
    order = order.index_select(0, stable_order(owner.index_select(0, order)))
    owner, length = owner.index_select(0, order), length.index_select(0, order)
    rises = length.diff() > graphs.tolerance.index_select(0, owner[1:])
    rises &= owner.diff() == 0
    rank = torch.cat([rises.new_zeros(min(1, len(order))), rises]).cumsum(0)
    first = ragged.starts(ragged.counts(owner, num_graphs)).index_select(0, owner)
    rank = rank - rank.index_select(0, first) + 1
    return torch.empty_like(order).index_copy(0, order, rank)


def _check_knn(z: Tensor, batch: Tensor, k: int, num_graphs: int | None) -> None:
    _check_matrix(z)
    _check_index("batch", batch, z.size(0), "the rows of 'z'")
    _check_positive("k", k)
    if not batch.numel():
        return
    descends = (batch[1:] < batch[:-1]).any().long()
    # Read together, since the host waits for a device each time.
    low, high, unsorted = torch.stack([batch[0], batch[-1], descends]).tolist()
    if unsorted:
        place = int((batch[1:] < batch[:-1]).nonzero()[0])
        raise ValueError(
            f"Expected 'batch' to be ascending (got {int(batch[place])} before "
            f"{int(batch[place + 1])} at node {place}); sort the nodes by graph."
        )
    if low < 0 or (num_graphs is not None and high >= num_graphs):
        bound = (
            "non-negative" if num_graphs is None else f"from 0 to num_graphs - 1 = {num_graphs - 1}"
        )
        raise ValueError(
            f"Expected 'batch' to hold graph numbers {bound} (got {low} to {high}); "
            "number the graphs from 0."
        )


def _check_arcs(edge_index: Tensor, batch: Tensor) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            f"Expected 'edge_index' to be int64 of shape (2, n_arcs) (got {edge_index.dtype} of "
            f"shape {tuple(edge_index.shape)}); one row of sources, one of targets."
        )
    if not edge_index.numel():
        return
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= len(batch):
        raise ValueError(
            f"Expected 'edge_index' to name nodes 0 to {len(batch) - 1} (got {low} to {high}); "
            "number the nodes from 0."
        )
    source, target = edge_index
    sorted_ = (source[1:] >= source[:-1]).all()
    if not bool(sorted_ & (batch[source] == batch[target]).all()):
        raise ValueError(
            "Expected 'edge_index' to be sorted by its first row and to join nodes of one graph "
            "(got one that is not); torch_geometric.utils.to_undirected sorts it."
        )


def _check_matrix(z: Tensor) -> None:
    if z.dim() != 2:
        raise ValueError(
            f"Expected 'z' to have shape (n_nodes, channels) (got {tuple(z.shape)}); "
            "reshape it to one row per node."
        )
    if z.dtype not in INPUT_NOISE:
        raise ValueError(
            f"Expected 'z' to be of a floating dtype (got {z.dtype}); convert it with z.float()."
        )


def _check_index(name: str, value: Tensor, length: int, like: str) -> None:
    if value.dim() != 1 or value.numel() != length:
        raise ValueError(
            f"Expected {name!r} to be a vector of length {length}, that of {like} "
            f"(got shape {tuple(value.shape)}); pass one entry for each."
        )
    if value.dtype != torch.int64:
        raise ValueError(
            f"Expected {name!r} to be int64 (got {value.dtype}); convert it with {name}.long()."
        )


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(
            f"Expected {name!r} to be at least 1 (got {value}); raise it to 1 or more."
        )
