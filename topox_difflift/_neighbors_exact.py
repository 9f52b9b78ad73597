"""Exact search for nearest neighbours by tensor operations: many small graphs, or a big one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift._neighbors_select import (
    EXPANSION_NOISE,
    INPUT_NOISE,
    Graphs,
    distances_of,
    raise_not_finite,
    resolve,
    rows_of,
)
from topox_difflift.compiled import arrays, usable

__all__ = ["fill_others"]

# Below this size a graph is one row block of a padded batch, from here on it is cut into rows.
_BIG = 1024
# Candidates beyond k: the more, the rarer a row whose selection cannot be certified.
_SPARE = 8
# Numbers held at once: what stays in cache, and below what the allocator would return to the
# system after every block.
_BLOCK_PADDED = {"cpu": 2**18}
_BLOCK_BIG = {"cpu": 2**21}


def fill_others(
    out: Tensor, z: Tensor, batch: Tensor, sizes: Tensor, chunk_rows: int | None
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
        width = max(int(graphs.sizes[graph]), (out.size(1) + _SPARE) * graphs.z.size(1))
        rows = chunk_rows or rows_of(graphs, width, _BLOCK_BIG)
        _fill_big(out, graphs, graph, rows)


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


def _fill_big(out: Tensor, graphs: Graphs, graph: int, rows: int) -> None:
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
    def of(cls, graphs: Graphs, graph: int, k: int) -> _BigGraph:
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
        found = resolve(distances, columns, kth, k, self.tolerance)
        # Whatever was left out lies at least this far.
        beyond = distances_of(
            values.amax(1, keepdim=True), self.norms[first:last, None] - self.slack
        )
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
