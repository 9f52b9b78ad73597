"""What every search for neighbours shares: centred graphs, their tolerance, and who is chosen."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from topox_difflift import ragged

__all__ = [
    "BLOCK_DEVICE", "EXPANSION_NOISE", "INPUT_NOISE", "SPARE", "Graphs", "distances_of", "in_order",
    "nearest_of", "raise_not_finite", "resolve", "rows_of",
]  # fmt: skip

#: What noise may do to an embedding, relative to its norm: a few units in the last place, since
# the same graph comes out of a matrix product of another shape with other roundings.
INPUT_NOISE = {
    torch.float16: 2.0**-9,
    torch.bfloat16: 2.0**-6,
    torch.float32: 2.0**-18,
    torch.float64: 2.0**-40,
}
#: What the expansion |a|^2 + |b|^2 - 2ab in float64 does to a small distance, relative to the
# radius of the graph: about the square root of the rounding unit.
EXPANSION_NOISE = 2.0**-20
#: Numbers held at once on a device: enough to fill it.
BLOCK_DEVICE = 2**25
#: Candidates beyond k, among which distances computed anew decide: the more, the rarer a row
#: whose selection cannot be certified.
SPARE = 8


class Graphs(NamedTuple):
    """A batch of graphs: ranges of nodes, each centred on its mean, in float64."""

    z: Tensor
    norms: Tensor
    tolerance: Tensor
    sizes: Tensor
    starts: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, z: Tensor, batch: Tensor, sizes: Tensor) -> Graphs:
        """
        Centre every graph and find the difference below which its distances are equal.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        batch : torch.Tensor, shape = (n_nodes,), int64
            Graph of each node.
        sizes : torch.Tensor, shape = (n_graphs,), int64
            Number of nodes of each graph.

        Returns
        -------
        Graphs
            The same graphs, checked to be finite.
        """
        wide = z.double()
        mean = wide.new_zeros(sizes.numel(), z.size(1)).index_add_(0, batch, wide)
        mean /= sizes.clamp(min=1).unsqueeze(1)
        wide = wide - mean.index_select(0, batch)
        norms = torch.linalg.vector_norm(wide, dim=1)
        _check_finite(norms)
        radius = norms.new_zeros(sizes.numel()).scatter_reduce_(0, batch, norms, "amax")
        extent = radius + torch.linalg.vector_norm(mean, dim=1)
        tolerance = EXPANSION_NOISE * radius + INPUT_NOISE[z.dtype] * extent
        return cls(wide, norms.square_(), tolerance, sizes, ragged.starts(sizes), z.dtype)

    def scaled(self, graph: int) -> tuple[Tensor, Tensor, Tensor]:
        """
        One graph in units of its radius, in which float32 neither overflows nor underflows.

        Parameters
        ----------
        graph : int
            Its number.

        Returns
        -------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        norms : torch.Tensor, shape = (n_nodes,)
            Their squared norms.
        tolerance : torch.Tensor, shape = (1, 1)
            Difference up to which two distances are equal.
        """
        nodes = self.nodes(graph)
        radius = self.norms[nodes].max().sqrt()
        radius = radius.where(radius > 0, 1)
        tolerance = (self.tolerance[graph] / radius).view(1, 1)
        return self.z[nodes] / radius, self.norms[nodes] / radius**2, tolerance

    def nodes(self, graph: int) -> slice:
        """
        Nodes of one graph.

        Parameters
        ----------
        graph : int
            Its number.

        Returns
        -------
        slice
            Its rows.
        """
        start = int(self.starts[graph])
        return slice(start, start + int(self.sizes[graph]))


def rows_of(graphs: Graphs, width: int, blocks: dict[str, int]) -> int:
    """
    Count the rows that make a block.

    Parameters
    ----------
    graphs : Graphs
        What is searched.
    width : int
        Numbers of a row.
    blocks : dict of str to int
        Numbers of a block, by type of device.

    Returns
    -------
    int
        At least 1.
    """
    return max(1, blocks.get(graphs.z.device.type, BLOCK_DEVICE) // max(1, width))


def distances_of(shifted: Tensor, norms: Tensor) -> Tensor:
    """
    Distances, given their squares less a norm.

    Parameters
    ----------
    shifted : torch.Tensor, shape = (n_rows, n_columns)
        Squared distances minus `norms`.
    norms : torch.Tensor, shape = (n_rows, 1)
        Squared norm of the node of each row.

    Returns
    -------
    torch.Tensor, shape = (n_rows, n_columns)
        The distances.
    """
    return (shifted + norms).clamp_(min=0).sqrt_()


def resolve(distances: Tensor, columns: Tensor, last: Tensor, k: int, tolerance: Tensor) -> Tensor:
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
    return in_order(distances.gather(1, chosen), columns.gather(1, chosen), tolerance)


def nearest_of(
    z: Tensor, rows: Tensor, columns: Tensor, k: int, tolerance: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Select the `k` nearest of a few candidates of some nodes.

    Parameters
    ----------
    z : torch.Tensor, shape = (n_nodes, channels)
        Embeddings of one graph, in float64.
    rows : torch.Tensor, shape = (n_rows,), int64
        The nodes.
    columns : torch.Tensor, shape = (n_rows, n_candidates), int64
        Candidates of each, at least `k`, and `n_nodes` where there is none.
    k : int
        Number of neighbours.
    tolerance : torch.Tensor, shape = (1, 1)
        Difference up to which two distances are equal.

    Returns
    -------
    found : torch.Tensor, shape = (n_rows, k), int64
        The nearest first, -1 where there are no more.
    kth : torch.Tensor, shape = (n_rows, 1)
        The k-th smallest distance, infinite where there are fewer.
    """
    there = columns.clamp(max=len(z) - 1)
    differences = z.index_select(0, there.flatten()).view(*columns.shape, -1)
    differences -= z.index_select(0, rows).unsqueeze(1)
    distances = torch.linalg.vector_norm(differences, dim=2)
    distances.masked_fill_(columns == len(z), torch.inf)
    kth = distances.kthvalue(k, dim=1, keepdim=True).values
    return resolve(distances, columns, kth, k, tolerance), kth


def in_order(distances: Tensor, columns: Tensor, tolerance: Tensor) -> Tensor:
    """
    Sort chosen candidates by distance, and runs of equal distances by column.

    Parameters
    ----------
    distances, columns : torch.Tensor, shape = (n_rows, k)
        The candidates of each row.
    tolerance : torch.Tensor, shape = (n_rows, 1)
        Difference up to which two distances are equal.

    Returns
    -------
    torch.Tensor, shape = (n_rows, k), int64
        Columns, nearest first, and -1 for those at an infinite distance.
    """
    distances, order = distances.sort(dim=1)
    columns = columns.gather(1, order).masked_fill_(distances.isinf(), -1)
    run = (distances.diff(dim=1, prepend=distances[:, :1]) > tolerance).cumsum(1)
    # Columns stay below 2^40 and a row has fewer than 2^22 runs.
    order = (run * 2**40 + columns).argsort(dim=1)
    return columns.gather(1, order)


def _check_finite(norms: Tensor) -> None:
    if not bool(norms.isfinite().all()):
        raise_not_finite(int((~norms.isfinite()).nonzero()[0]))


def raise_not_finite(node: int) -> NoReturn:
    """
    Complain about embeddings.

    Parameters
    ----------
    node : int
        A node of the graph that they belong to.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(
        f"Expected 'z' to be finite (got NaN or infinity in the graph of node {node}); "
        "check the features and the encoder, for instance its learning rate."
    )
