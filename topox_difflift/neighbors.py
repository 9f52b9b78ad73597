"""Nearest neighbours within each graph of a batch, and differentiable distances of chosen pairs."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.cliques import edge_ids
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import Segments, stable_order

__all__ = ["knn", "pairs", "rank_by_length", "squared_distances"]

#: What noise may do to an embedding, relative to its norm: a few units in the last place, since
# the same graph comes out of a matrix product of another shape with other roundings.
INPUT_NOISE = {
    torch.float16: 2.0**-9,
    torch.bfloat16: 2.0**-6,
    torch.float32: 2.0**-18,
    torch.float64: 2.0**-40,
}
# What the expansion |a|^2 + |b|^2 - 2ab in float64 does to a small distance, relative to the
# radius of the graph: about the square root of the rounding unit.
_EXPANSION_NOISE = 2.0**-20

# Below this size a graph is one row block of a padded batch, from here on it is cut into rows.
_BIG = 1024
# Candidates beyond k: the more, the rarer a row whose selection cannot be certified.
_SPARE = 8
# Numbers held at once: on a CPU what stays in cache, and below what the allocator would
# return to the system after every block; elsewhere enough to fill the device.
_BLOCK_PADDED = {"cpu": 2**18}
_BLOCK_BIG = {"cpu": 2**21}
_BLOCK_DEVICE = 2**25


def knn(
    z: Tensor,
    batch: Tensor,
    k: int,
    *,
    num_graphs: int | None = None,
    include_self: bool = False,
    chunk_rows: int | None = None,
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

    Returns
    -------
    torch.Tensor, shape = (n_nodes, k), int64
        Nodes, nearest first, and -1 where a graph has too few of them.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, dtype, order or range, or if `z` is not finite.
    """
    _check_knn(z, batch, k, num_graphs, chunk_rows)
    if z.device.type == "mps":  # it has no float64
        found = knn(z.cpu(), batch.cpu(), k, include_self=include_self, chunk_rows=chunk_rows)
        return found.to(z.device)
    others = k - 1 if include_self else k
    out = batch.new_full((z.size(0), k), -1)
    # Autocast would round the operands of the products below to half precision.
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        if include_self:
            out[:, 0] = torch.arange(z.size(0), device=z.device)
        if others:
            sizes = batch.bincount(minlength=num_graphs or 0)
            _fill_others(out[:, k - others :], z.detach(), batch, sizes, chunk_rows)
    return out


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
    sizes = torch.bincount(batch, minlength=num_graphs)
    if usable(z):
        from topox_difflift._neighbors_numba import ranked_lengths

        inputs = arrays(z.detach(), ragged.starts(sizes), sizes, *edges)
        noise = _EXPANSION_NOISE, INPUT_NOISE[z.dtype]
        return torch.from_numpy(ranked_lengths(*inputs, *noise))
    graphs = _Graphs.of(z, batch, sizes)
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
    first = ragged.starts(torch.bincount(owner, minlength=num_graphs)).index_select(0, owner)
    rank = rank - rank.index_select(0, first) + 1
    return torch.empty_like(order).index_copy(0, order, rank)


class _Graphs(NamedTuple):
    """A batch of graphs: ranges of nodes, each centred on its mean, in float64."""

    z: Tensor
    norms: Tensor
    tolerance: Tensor
    sizes: Tensor
    starts: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, z: Tensor, batch: Tensor, sizes: Tensor) -> _Graphs:
        """Centre every graph and find the difference below which its distances are equal."""
        wide = z.double()
        mean = wide.new_zeros(sizes.numel(), z.size(1)).index_add_(0, batch, wide)
        mean /= sizes.clamp(min=1).unsqueeze(1)
        wide = wide - mean.index_select(0, batch)
        norms = torch.linalg.vector_norm(wide, dim=1)
        _check_finite(norms)
        radius = norms.new_zeros(sizes.numel()).scatter_reduce_(0, batch, norms, "amax")
        extent = radius + torch.linalg.vector_norm(mean, dim=1)
        tolerance = _EXPANSION_NOISE * radius + INPUT_NOISE[z.dtype] * extent
        return cls(wide, norms.square_(), tolerance, sizes, ragged.starts(sizes), z.dtype)


def _rows(graphs: _Graphs, width: int, blocks: dict[str, int]) -> int:
    """Return how many rows of `width` numbers make a block."""
    return max(1, blocks.get(graphs.z.device.type, _BLOCK_DEVICE) // max(1, width))


def _fill_others(
    out: Tensor, z: Tensor, batch: Tensor, sizes: Tensor, chunk_rows: int | None
) -> None:
    """Write the neighbours other than the node itself into `out`, which holds -1."""
    big = sizes > _BIG
    compiled = usable(z)
    if compiled:
        out.copy_(_compiled_search(z, sizes.masked_fill(big, 0), ragged.starts(sizes), out.size(1)))
        if not bool(big.any()):
            return
    graphs = _Graphs.of(z, batch, sizes)
    if not compiled:
        _fill_small(out, graphs, chunk_rows)
    # Few by nature: each of them is work enough to hide this loop.
    for graph in big.nonzero().flatten().tolist():
        width = max(int(graphs.sizes[graph]), (out.size(1) + _SPARE) * graphs.z.size(1))
        rows = chunk_rows or _rows(graphs, width, _BLOCK_BIG)
        _fill_big(out, graphs, graph, rows)


def _compiled_search(z: Tensor, sizes: Tensor, first: Tensor, k: int) -> Tensor:
    """Search by compiled loops."""
    from topox_difflift._neighbors_numba import nearest_others

    inputs = arrays(z, first, sizes)
    index, broken = nearest_others(*inputs, k, _EXPANSION_NOISE, INPUT_NOISE[z.dtype])
    if broken >= 0:
        _raise_not_finite(broken)
    return torch.from_numpy(index)


def _fill_small(out: Tensor, graphs: _Graphs, chunk_rows: int | None) -> None:
    """Search graphs of up to `_BIG` nodes, many at once."""
    small = ((graphs.sizes > 1) & (graphs.sizes <= _BIG)).nonzero().flatten()
    for group, size in ragged.buckets(graphs.sizes[small]):
        members = small[group]
        width = max(size, graphs.z.size(1))
        rows = chunk_rows or _rows(graphs, width, _BLOCK_PADDED)
        for chunk in members.split(max(1, rows // size)):
            _fill_padded(out, graphs, chunk, size)


def _fill_padded(out: Tensor, graphs: _Graphs, members: Tensor, size: int) -> None:
    """Search graphs of at most `size` nodes, padded to that size, in one batched product."""
    first = graphs.starts[members].unsqueeze(1)
    offset = torch.arange(size, device=members.device)
    present = offset < graphs.sizes[members].unsqueeze(1)
    node = (first + offset).where(present, first)
    z = graphs.z.index_select(0, node.flatten()).view(*node.shape, -1)
    norms = graphs.norms[node].where(present, torch.inf).unsqueeze(1)
    shifted = torch.baddbmm(norms, z, z.transpose(1, 2), alpha=-2)
    shifted.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    rows = present.flatten().nonzero().flatten()
    owner = members.unsqueeze(1).expand_as(node).reshape(-1)[rows]
    node = node.flatten()[rows]
    local = _nearest(
        shifted.view(-1, size).index_select(0, rows),
        graphs.norms[node].unsqueeze(1),
        out.size(1),
        graphs.tolerance[owner].unsqueeze(1),
    )
    first = graphs.starts[owner].unsqueeze(1)
    out[node, : local.size(1)] = (local + first).where(local >= 0, -1)


def _nearest(shifted: Tensor, norms: Tensor, k: int, tolerance: Tensor) -> Tensor:
    """
    Select from whole rows of squared distances, less the norm of the row's own node.

    Parameters
    ----------
    shifted : torch.Tensor, shape = (n_rows, n_columns)
        Squared distance minus `norms`, infinite where there is no candidate.
    norms : torch.Tensor, shape = (n_rows, 1)
        Squared norm of the node of each row.
    k : int
        Number of neighbours.
    tolerance : torch.Tensor, shape = (n_rows, 1)
        Difference up to which two distances are equal.

    Returns
    -------
    torch.Tensor, shape = (n_rows, min(k, n_columns)), int64
        Columns, nearest first, and -1 beyond the last candidate.
    """
    n_columns = shifted.size(1)
    values, columns = shifted.topk(min(k + 1, n_columns), largest=False)
    distances = _distances(values, norms)
    # One distance more than needed shows whether the k-th place is contested as well.
    tied = (distances.diff(dim=1) <= tolerance).any(1).nonzero().flatten()
    columns = columns.masked_fill_(distances.isinf(), -1)[:, :k]
    if tied.numel():
        full = _distances(shifted[tied], norms[tied])
        every = torch.arange(n_columns, device=tied.device).expand_as(full)
        last = distances[tied, columns.size(1) - 1].unsqueeze(1)
        columns[tied] = _resolve(full, every, last, columns.size(1), tolerance[tied])
    return columns


def _distances(shifted: Tensor, norms: Tensor) -> Tensor:
    return (shifted + norms).clamp_(min=0).sqrt_()


def _resolve(distances: Tensor, columns: Tensor, last: Tensor, k: int, tolerance: Tensor) -> Tensor:
    """
    Select `k` of the given candidates, with equal distances resolved by column.

    Parameters
    ----------
    distances, columns : torch.Tensor, shape = (n_rows, n_candidates)
        Candidates of each row, in any order.
    last : torch.Tensor, shape = (n_rows, 1)
        The k-th smallest distance; all columns within `tolerance` of it are candidates.
    k : int
        Number of neighbours, at most the number of candidates.
    tolerance : torch.Tensor, shape = (n_rows, 1)
        Difference up to which two distances are equal.

    Returns
    -------
    torch.Tensor, shape = (n_rows, k), int64
        Columns, nearest first, and -1 for those at an infinite distance.
    """
    contested = columns.where(distances <= last + tolerance, torch.iinfo(torch.int64).max)
    rank = contested.masked_fill_(distances < last - tolerance, -1)
    chosen = rank.topk(k, dim=1, largest=False, sorted=False).indices
    distances, order = distances.gather(1, chosen).sort(dim=1)
    columns = columns.gather(1, chosen).gather(1, order)
    columns = columns.masked_fill_(distances.isinf(), -1)
    run = (distances.diff(dim=1, prepend=distances[:, :1]) > tolerance).cumsum(1)
    # Columns stay below 2^40 and a row has fewer than 2^22 runs.
    order = (run * 2**40 + columns).argsort(dim=1)
    return columns.gather(1, order)


def _fill_big(out: Tensor, graphs: _Graphs, graph: int, rows: int) -> None:
    """Search one graph block of rows by block of rows, with memory linear in its size."""
    start, n_nodes = int(graphs.starts[graph]), int(graphs.sizes[graph])
    k = min(out.size(1), n_nodes - 1)
    search = _BigGraph.of(graphs, graph, k)
    for first in range(0, n_nodes, rows):
        last = min(n_nodes, first + rows)
        out[start + first : start + last, :k] = search.nearest(first, last, k) + start


class _BigGraph(NamedTuple):
    """
    One graph, prepared for the search in two stages.

    The columns are dealt out to groups. The c smallest distances of a row lie in the c
    groups with the smallest minima, so that the costly selection sees only these. It runs
    on products in the dtype of the input; what it may have missed is bounded by `slack`,
    and rows where that could matter are searched again in float64.
    """

    z: Tensor
    norms: Tensor
    tolerance: Tensor
    query: Tensor
    columns: Tensor
    n_groups: int
    slack: Tensor

    @classmethod
    def of(cls, graphs: _Graphs, graph: int, k: int) -> _BigGraph:
        """Pad the columns to whole groups and bound the rounding of a product."""
        nodes = slice(int(graphs.starts[graph]), int(graphs.starts[graph] + graphs.sizes[graph]))
        # In units of the radius float32 neither overflows nor underflows.
        radius = graphs.norms[nodes].max().sqrt()
        radius = radius.where(radius > 0, 1)
        wide, norms = graphs.z[nodes] / radius, graphs.norms[nodes] / radius**2
        n_nodes, channels = wide.shape
        # Reduced precision of float32 products (TF32, bfloat16) is the user's global choice.
        reduced = torch.get_float32_matmul_precision() != "highest"
        z = wide if reduced or graphs.dtype == torch.float64 else wide.float()
        per_group = max(1, round((n_nodes / (k + _SPARE)) ** 0.5))
        n_groups = -(-n_nodes // per_group)
        # One product, of (-2 z, 1) and (z, norm), yields the distances less the row's norm.
        query = torch.cat([-2 * z, torch.ones_like(z[:, :1])], dim=1)
        columns = z.new_zeros(channels + 1, n_groups * per_group)
        columns[:channels, :n_nodes] = z.t()
        columns[channels] = torch.inf
        columns[channels, :n_nodes] = norms
        slack = 4 * (channels + 4) * torch.finfo(z.dtype).eps * norms.max()
        tolerance = (graphs.tolerance[graph] / radius).view(1, 1)
        return cls(wide, norms, tolerance, query, columns, n_groups, slack)

    def nearest(self, first: int, last: int, k: int) -> Tensor:
        """Return the neighbours of the nodes `first` to `last`, as local indices."""
        if k + _SPARE >= self.n_groups:
            return self._exhaustive(torch.arange(first, last, device=self.z.device), k)
        values, columns = self._candidates(first, last, k + _SPARE)
        differences = self.z.index_select(0, columns.flatten()).view(*columns.shape, -1)
        differences -= self.z[first:last].unsqueeze(1)
        distances = torch.linalg.vector_norm(differences, dim=2)
        kth = distances.kthvalue(k, dim=1, keepdim=True).values
        found = _resolve(distances, columns, kth, k, self.tolerance)
        # Whatever was left out lies at least this far.
        beyond = _distances(values.amax(1, keepdim=True), self.norms[first:last, None] - self.slack)
        unsure = (beyond <= kth + self.tolerance).flatten().nonzero().flatten()
        if unsure.numel():
            found[unsure] = self._exhaustive(unsure + first, k)
        return found

    def _candidates(self, first: int, last: int, count: int) -> tuple[Tensor, Tensor]:
        """Select the `count` smallest shifted distances of each row."""
        shifted = self.query[first:last] @ self.columns
        shifted.diagonal(offset=first).fill_(torch.inf)
        grouped = shifted.view(last - first, -1, self.n_groups)
        groups = grouped.amin(1).topk(count, largest=False, sorted=False).indices
        index = groups.unsqueeze(1).expand(-1, grouped.size(1), -1)
        values, chosen = (
            grouped.gather(2, index).flatten(1).topk(count, largest=False, sorted=False)
        )
        place = chosen.div(count, rounding_mode="floor")
        return values, place * self.n_groups + groups.gather(1, chosen % count)

    def _exhaustive(self, rows: Tensor, k: int) -> Tensor:
        """Search whole rows in float64."""
        shifted = torch.addmm(self.norms, self.z.index_select(0, rows), self.z.t(), alpha=-2)
        shifted.scatter_(1, rows.unsqueeze(1), torch.inf)
        norms = self.norms[rows].unsqueeze(1)
        return _nearest(shifted, norms, k, self.tolerance.expand_as(norms))


def _check_knn(
    z: Tensor, batch: Tensor, k: int, num_graphs: int | None, chunk_rows: int | None
) -> None:
    _check_matrix(z)
    _check_index("batch", batch, z.size(0), "the rows of 'z'")
    _check_positive("k", k)
    if chunk_rows is not None:
        _check_positive("chunk_rows", chunk_rows)
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


def _check_finite(norms: Tensor) -> None:
    if not bool(norms.isfinite().all()):
        _raise_not_finite(int((~norms.isfinite()).nonzero()[0]))


def _raise_not_finite(node: int) -> NoReturn:
    raise ValueError(
        f"Expected 'z' to be finite (got NaN or infinity in the graph of node {node}); "
        "check the features and the encoder, for instance its learning rate."
    )
