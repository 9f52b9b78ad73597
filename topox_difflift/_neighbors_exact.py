"""Exact search for nearest neighbours by tensor operations: many small graphs, or a big one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift._neighbors_index import fill_by_index
from topox_difflift._neighbors_select import (
    BLOCK_DEVICE,
    EXPANSION_NOISE,
    INPUT_NOISE,
    SPARE,
    Graphs,
    distances_of,
    nearest_of,
    raise_not_finite,
    resolve,
    rows_of,
)
from topox_difflift.compiled import arrays, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch_geometric.nn.pool import KNNIndex

__all__ = ["fill_others"]

# Below this size a graph is one row block of a padded batch, from here on it is cut into rows.
_BIG = 1024
# Numbers held at once: what stays in cache, and below what the allocator would return to the
# system after every block.
_BLOCK_PADDED = {"cpu": 2**18}
_BLOCK_WHOLE = {"cpu": 2**21}
# Rows and columns of a product within one graph.
_TILE = {"cpu": (512, 1024)}
_TILE_DEVICE = (4096, 8192)


def fill_others(
    out: Tensor,
    z: Tensor,
    batch: Tensor,
    sizes: Tensor,
    chunk_rows: int | None,
    index: KNNIndex | None,
) -> None:
    """
    Write the nearest other nodes of every node.

    Parameters
    ----------
    out : torch.Tensor, shape = (n_nodes, k), int64
        Where to; it holds -1, and still does where a graph has too few nodes.
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node.
    sizes : torch.Tensor, shape = (n_graphs,), int64
        Number of nodes of each graph.
    chunk_rows : int, optional
        Rows of distances that are held at once.
    index : torch_geometric.nn.pool.KNNIndex, optional
        What searches graphs that are big.
    """
    big = sizes > _BIG
    compiled = usable(z)
    if compiled:
        out.copy_(_compiled_search(z, sizes.masked_fill(big, 0), ragged.starts(sizes), out.size(1)))
        if not bool(big.any()):
            return
    graphs = Graphs.of(z, batch, sizes)
    if not compiled:
        _fill_small(out, graphs, chunk_rows)
    # Few by nature: each of them is work enough to hide this loop.
    for graph in big.nonzero().flatten().tolist():
        nodes = graphs.nodes(graph)
        rows = out[nodes, : nodes.stop - nodes.start - 1]
        if index is None:
            _fill_big(rows, graphs, graph, chunk_rows)
        else:
            fill_by_index(rows, graphs, graph, index)
        rows.copy_(torch.where(rows < 0, -1, rows + nodes.start))


def _compiled_search(z: Tensor, sizes: Tensor, first: Tensor, k: int) -> Tensor:
    """Search by compiled loops."""
    from topox_difflift._neighbors_numba import nearest_others

    inputs = arrays(z, first, sizes)
    index, broken = nearest_others(*inputs, k, EXPANSION_NOISE, INPUT_NOISE[z.dtype])
    if broken >= 0:
        raise_not_finite(broken)
    return torch.from_numpy(index)


def _fill_small(out: Tensor, graphs: Graphs, chunk_rows: int | None) -> None:
    """Search graphs of up to `_BIG` nodes, many at once."""
    small = ((graphs.sizes > 1) & (graphs.sizes <= _BIG)).nonzero().flatten()
    for group, size in ragged.buckets(graphs.sizes[small]):
        members = small[group]
        width = max(size, graphs.z.size(1))
        rows = chunk_rows or rows_of(graphs, width, _BLOCK_PADDED)
        for chunk in members.split(max(1, rows // size)):
            _fill_padded(out, graphs, chunk, size)


def _fill_padded(out: Tensor, graphs: Graphs, members: Tensor, size: int) -> None:
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
    distances = distances_of(values, norms)
    # One distance more than needed shows whether the k-th place is contested as well.
    tied = (distances.diff(dim=1) <= tolerance).any(1).nonzero().flatten()
    columns = columns.masked_fill_(distances.isinf(), -1)[:, :k]
    if tied.numel():
        full = distances_of(shifted[tied], norms[tied])
        every = torch.arange(n_columns, device=tied.device).expand_as(full)
        last = distances[tied, columns.size(1) - 1].unsqueeze(1)
        columns[tied] = resolve(full, every, last, columns.size(1), tolerance[tied])
    return columns


def _fill_big(out: Tensor, graphs: Graphs, graph: int, chunk_rows: int | None) -> None:
    """Search one graph block of rows by block of rows, with memory linear in its size."""
    # Reduced precision of float32 products (TF32, bfloat16) is the user's global choice.
    single = graphs.dtype != torch.float64 and torch.get_float32_matmul_precision() == "highest"
    rows = torch.arange(len(out), device=out.device)
    for dtype in (torch.float32, torch.float64) if single else (torch.float64,):
        rows = _BigGraph.of(graphs, graph, out.size(1), dtype).fill(out, rows, chunk_rows)
        if not rows.numel():
            break


class _BigGraph(NamedTuple):
    """
    One graph, prepared for the search in two stages.

    First a few candidates more than needed are selected by products, then their distances are
    computed anew. What the selection may have missed is bounded by `slack`.

    Products are made tile by tile, while they stay in the cache. Of each tile compiled loops
    keep what is smaller than all that was kept before. Without them the columns are dealt
    out to groups: the c smallest distances of a row lie in the c groups with the smallest
    minima, so that the costly selection sees only these.
    """

    z: Tensor
    norms: Tensor
    tolerance: Tensor
    query: Tensor
    points: Tensor
    tile: int
    per_group: int
    slack: Tensor

    @classmethod
    def of(cls, graphs: Graphs, graph: int, k: int, dtype: torch.dtype) -> _BigGraph:
        """Pad the points to whole tiles and bound the rounding of a product in some dtype."""
        wide, norms, tolerance = graphs.scaled(graph)
        n_nodes, channels = wide.shape
        z = wide.to(dtype)
        # To select among the minima costs a tenth of what it costs to look at a point again.
        per_group = max(1, round((n_nodes / (k + SPARE)) ** 0.5 / 3))
        n_tiles = -(-n_nodes // _TILE.get(z.device.type, _TILE_DEVICE)[1])
        tile = per_group * -(-n_nodes // (n_tiles * per_group))
        # One product, of (-2 z, 1) and (z, norm), yields the distances less the row's norm.
        query = torch.cat([-2 * z, torch.ones_like(z[:, :1])], dim=1)
        points = z.new_zeros(n_tiles * tile, channels + 1)
        points[:n_nodes, :channels] = z
        points[:, channels] = torch.inf
        points[:n_nodes, channels] = norms
        # Of the products of two stages, which may round differently.
        slack = 8 * (channels + 4) * torch.finfo(dtype).eps * norms.max()
        return cls(wide, norms, tolerance, query, points, tile, per_group, slack)

    def fill(self, out: Tensor, rows: Tensor, chunk_rows: int | None) -> Tensor:
        """Write the neighbours of some nodes into their rows, and return those left uncertain."""
        k, device = out.size(1), out.device.type
        if k + SPARE >= len(self.z) // self.per_group:
            self._fill_exhaustively(out, rows)
            return rows[:0]
        unsure = torch.zeros_like(rows, dtype=torch.bool)
        block = chunk_rows or _TILE.get(device, _TILE_DEVICE)[0]
        for some, uncertain in zip(rows.split(block), unsure.split(block), strict=True):
            out[some] = self._nearest(some, k, uncertain)
        rows = rows[unsure]
        if self.points.dtype == torch.float64 and rows.numel():
            self._fill_exhaustively(out, rows)
            return rows[:0]
        return rows

    def _nearest(self, rows: Tensor, k: int, unsure: Tensor) -> Tensor:
        """Return the neighbours of some nodes, and mark those that may be others."""
        select = self._scanned if usable(self.points) else self._grouped
        values, columns = select(rows, k + SPARE)
        found, kth = nearest_of(self.z, rows, columns, k, self.tolerance)
        # Whatever was left out lies at least this far.
        farthest, norms = values.amax(1, keepdim=True), self.norms.index_select(0, rows)
        beyond = distances_of(farthest, norms.unsqueeze(1) - self.slack)
        unsure.copy_((beyond <= kth + self.tolerance).squeeze(1))
        return found

    def _tiles(self, rows: Tensor, begins: list[int]) -> Iterator[Tensor]:
        """Compute shifted distances of some rows, tile by tile, in the same memory."""
        query = self.query.index_select(0, rows)
        product = query.new_empty(len(rows), self.tile)
        for begin in begins:
            yield torch.mm(query, self.points[begin : begin + self.tile].t(), out=product)

    def _scanned(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Select the `count` smallest shifted distances of each row by compiled loops."""
        from topox_difflift._neighbors_numba import keep_smallest

        values = self.points.new_full((len(rows), count), torch.inf)
        columns = torch.full((len(rows), count), -1)
        kept = arrays(rows, values, columns)
        begins = list(range(0, len(self.points), self.tile))
        # First that of the rows themselves: where nodes follow one another in space as well,
        # those of other tiles would come nearer one by one, and each be kept for a while.
        own = int(rows[0]) // self.tile
        begins = begins[own:] + begins[:own]
        for begin, shifted in zip(begins, self._tiles(rows, begins), strict=True):
            keep_smallest(shifted.numpy(), begin, *kept)
        return values, columns

    def _grouped(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Select the `count` smallest shifted distances of each row by groups."""
        n_groups = self.tile // self.per_group
        tiles = self._tiles(rows, list(range(0, len(self.points), self.tile)))
        minima = torch.cat([tile.view(len(rows), -1, n_groups).amin(1) for tile in tiles], dim=1)
        # One more, since the node itself is nearest.
        groups = minima.topk(count + 1, largest=False, sorted=False).indices
        begin = groups.div(n_groups, rounding_mode="floor") * self.tile + groups % n_groups
        member = torch.arange(self.per_group, device=groups.device) * n_groups
        columns = (begin.unsqueeze(2) + member).flatten(1)
        points = self.points.index_select(0, columns.flatten()).view(*columns.shape, -1)
        shifted = torch.bmm(points, self.query.index_select(0, rows).unsqueeze(2)).squeeze(2)
        shifted.masked_fill_(columns == rows.unsqueeze(1), torch.inf)
        values, chosen = shifted.topk(count, largest=False, sorted=False)
        return values, columns.gather(1, chosen)

    def _fill_exhaustively(self, out: Tensor, rows: Tensor) -> None:
        """Search whole rows in float64, a few at once."""
        block = _BLOCK_WHOLE.get(out.device.type, BLOCK_DEVICE) // len(self.z)
        for some in rows.split(max(1, block)):
            z, norms = self.z.index_select(0, some), self.norms.index_select(0, some).unsqueeze(1)
            shifted = torch.addmm(self.norms, z, self.z.t(), alpha=-2)
            shifted.scatter_(1, some.unsqueeze(1), torch.inf)
            out[some] = _nearest(shifted, norms, out.size(1), self.tolerance.expand_as(norms))
