r"""
Neighborhood matrices of gated complexes, as pure functions on tensors.

Every matrix is the multilinear extension, in the masks of the cells, of
TopoNetX's matrix of the same name: its forward value is TopoNetX's matrix of the
accepted complex, and it has a gradient with respect to every mask, also where the
mask is 0 in the forward pass. With the incidence weights
:math:`w_{fC}` (membership, times orientation in a signed matrix) and the masks
:math:`m_C`,

.. math::
    U_{ij} = \sum_C m_C \, w_{iC} w_{jC}, \qquad
    D_{CE} = m_C m_E \sum_f w_{fC} w_{fE} \; (C \ne E), \qquad
    D_{CC} = m_C \sum_f w_{fC}^2 .

No gate passes through clamp, relu, min or max, and no product of two sparse
matrices is formed: the pairs that share a cell (or a face) are listed, sorted by
one integer key and summed, in memory linear in their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from topox_difflift.sparse import sparse_coo

__all__ = [
    "Boundary",
    "GatedEntries",
    "PairPattern",
    "add_entries",
    "down_entries",
    "empty_entries",
    "magnitude",
    "up_entries",
    "without_diagonal",
]


@dataclass(frozen=True)
class PairPattern:
    """
    Pairs of incidence entries that share a group, and the matrix entries they add to.

    Attributes
    ----------
    index : torch.Tensor, shape = (2, nnz), int64
        Row and column of each entry of the product, sorted by row, then by column.
    left, right : torch.Tensor, shape = (n_pairs,), int64
        Positions of the two incidence entries of each pair.
    slot : torch.Tensor, shape = (n_pairs,), int64
        Entry of the product that each pair adds to.
    """

    index: Tensor
    left: Tensor
    right: Tensor
    slot: Tensor

    @classmethod
    def of(cls, group: Tensor, item: Tensor, n_groups: int, n_items: int) -> PairPattern:
        """
        List all ordered pairs of entries that lie in the same group.

        Parameters
        ----------
        group : torch.Tensor, shape = (nnz,), int64
            Group of each entry, ascending.
        item : torch.Tensor, shape = (nnz,), int64
            Row, and column, of the product that the entry stands for.
        n_groups, n_items : int
            Number of groups, and of rows of the product.

        Returns
        -------
        PairPattern
            The pattern of the product.
        """
        sizes = torch.bincount(group, minlength=n_groups)
        partners = sizes[group]
        left = torch.arange(group.numel(), device=group.device).repeat_interleave(partners)
        # Where the pairs of an entry start, and where the entries of its group start.
        first_pair = partners.cumsum(0) - partners
        first_entry = (sizes.cumsum(0) - sizes)[group]
        steps = torch.arange(left.numel(), device=group.device)
        right = steps + (first_entry - first_pair)[left]
        key, order = (item[left] * n_items + item[right]).sort()
        unique, slot = torch.unique_consecutive(key, return_inverse=True)
        rows = torch.div(unique, max(n_items, 1), rounding_mode="floor")
        index = torch.stack([rows, unique - rows * n_items])
        return cls(index, left[order], right[order], slot)

    def total(self, values: Tensor) -> Tensor:
        """
        Sum one value per pair into the entries of the product.

        Parameters
        ----------
        values : torch.Tensor, shape = (n_pairs,)
            Value of each pair.

        Returns
        -------
        torch.Tensor, shape = (nnz,)
            Value of each entry.
        """
        return values.new_zeros(self.index.size(1)).index_add(0, self.slot, values)


@dataclass(frozen=True)
class Boundary:
    """
    The gated boundary of the cells of one rank.

    Attributes
    ----------
    faces : torch.Tensor, shape = (2, nnz), int64
        Pairs (face, cell), sorted by face, then by cell.
    size : tuple of int
        Number of faces and of cells.
    orientation, membership : torch.Tensor, shape = (nnz,)
        Sign and straight-through weight of each pair.
    mask : torch.Tensor, shape = (n_cells,)
        Gate of each cell.
    """

    faces: Tensor
    size: tuple[int, int]
    orientation: Tensor
    membership: Tensor
    mask: Tensor

    def weights(self, signed: bool) -> Tensor:
        """
        Weight of each pair without the mask of its cell.

        Parameters
        ----------
        signed : bool
            Whether the orientation is multiplied in.

        Returns
        -------
        torch.Tensor, shape = (nnz,)
            The weights.
        """
        return self.membership * self.orientation if signed else self.membership

    def matrix(self, signed: bool) -> Tensor:
        """
        Incidence matrix; a mask scales its whole column.

        Parameters
        ----------
        signed : bool
            Whether the boundary is oriented.

        Returns
        -------
        torch.Tensor, shape = (n_faces, n_cells), sparse COO
            The matrix; explicit zeros in the columns of rejected cells.
        """
        values = self.mask.index_select(0, self.faces[1]) * self.weights(signed)
        return sparse_coo(self.faces, values, self.size)

    @cached_property
    def _by_cell(self) -> Tensor:
        return torch.argsort(self.faces[1], stable=True)

    @cached_property
    def up_pairs(self) -> PairPattern:
        """Pattern of B Bᵀ: pairs of faces of a common cell."""
        faces, cells = self.faces[:, self._by_cell]
        pairs = PairPattern.of(cells, faces, self.size[1], self.size[0])
        # Positions refer to the entries in the order of `faces`, not by cell.
        left, right = self._by_cell[pairs.left], self._by_cell[pairs.right]
        return PairPattern(pairs.index, left, right, pairs.slot)

    @cached_property
    def down_pairs(self) -> PairPattern:
        """Pattern of Bᵀ B: pairs of cells with a common face."""
        return PairPattern.of(self.faces[0], self.faces[1], *self.size)


@dataclass(frozen=True)
class GatedEntries:
    """
    Entries of a symmetric gated matrix.

    Attributes
    ----------
    index : torch.Tensor, shape = (2, nnz), int64
        Rows and columns, sorted by row, then by column.
    values : torch.Tensor, shape = (nnz,)
        Values, with gradient to masks and memberships.
    ungated : torch.Tensor, shape = (nnz,)
        The values if every cell and every membership were accepted (constants).
    size : int
        Number of rows and of columns.
    """

    index: Tensor
    values: Tensor
    ungated: Tensor
    size: int

    def matrix(self) -> Tensor:
        """
        Assemble the sparse matrix.

        Returns
        -------
        torch.Tensor, shape = (size, size), sparse COO
            The coalesced matrix.
        """
        return sparse_coo(self.index, self.values, (self.size, self.size))


def _gather_product(values: Tensor, pairs: PairPattern) -> Tensor:
    return values.index_select(0, pairs.left) * values.index_select(0, pairs.right)


def _ungated(boundary: Boundary, pairs: PairPattern, signed: bool) -> Tensor:
    """Sum the products of the bare signs; they are constants."""
    signs = boundary.orientation.detach()
    return pairs.total(_gather_product(signs if signed else signs.abs(), pairs))


def up_entries(boundary: Boundary, signed: bool) -> GatedEntries:
    """
    Entries of B Bᵀ with one mask factor per shared cell.

    Parameters
    ----------
    boundary : Boundary
        Boundary of the rank above.
    signed : bool
        Whether the boundary is oriented.

    Returns
    -------
    GatedEntries
        Entries between the faces, diagonal included.
    """
    pairs = boundary.up_pairs
    cells = boundary.faces[1].index_select(0, pairs.left)
    products = _gather_product(boundary.weights(signed), pairs)
    values = pairs.total(products * boundary.mask.index_select(0, cells))
    return GatedEntries(pairs.index, values, _ungated(boundary, pairs, signed), boundary.size[0])


def down_entries(boundary: Boundary, signed: bool) -> GatedEntries:
    """
    Entries of Bᵀ B with one mask factor per cell of the entry.

    Parameters
    ----------
    boundary : Boundary
        Boundary of the rank itself.
    signed : bool
        Whether the boundary is oriented.

    Returns
    -------
    GatedEntries
        Entries between the cells, diagonal included.
    """
    pairs = boundary.down_pairs
    row, column = pairs.index
    shared = pairs.total(_gather_product(boundary.weights(signed), pairs))
    other = boundary.mask.index_select(0, column)
    # On the diagonal the mask enters once: it is a gate, not a weight.
    other = torch.where(row == column, torch.ones_like(other), other)
    values = shared * boundary.mask.index_select(0, row) * other
    return GatedEntries(pairs.index, values, _ungated(boundary, pairs, signed), boundary.size[1])


def empty_entries(size: int, like: Tensor) -> GatedEntries:
    """
    Entries of a zero matrix: the neighborhood of a rank that has no neighbor rank.

    Parameters
    ----------
    size : int
        Number of rows and of columns.
    like : torch.Tensor
        Gives dtype and device.

    Returns
    -------
    GatedEntries
        No entry.
    """
    index = torch.empty(2, 0, dtype=torch.long, device=like.device)
    return GatedEntries(index, like.new_zeros(0), like.new_zeros(0), size)


def without_diagonal(entries: GatedEntries) -> GatedEntries:
    """
    Drop the diagonal from the pattern: no cell is its own neighbor.

    Parameters
    ----------
    entries : GatedEntries
        Entries of a symmetric matrix.

    Returns
    -------
    GatedEntries
        The entries off the diagonal.
    """
    keep = (entries.index[0] != entries.index[1]).nonzero().squeeze(1)
    return GatedEntries(
        entries.index[:, keep], entries.values[keep], entries.ungated[keep], entries.size
    )


def add_entries(first: GatedEntries, second: GatedEntries) -> GatedEntries:
    """
    Sum of two matrices on the union of their patterns.

    Parameters
    ----------
    first, second : GatedEntries
        Entries of matrices of the same size.

    Returns
    -------
    GatedEntries
        Entries of the sum; those that cancel stay in the pattern.
    """
    size = first.size
    index = torch.cat([first.index, second.index], dim=1)
    key, slot = torch.unique(index[0] * size + index[1], return_inverse=True)
    rows = torch.div(key, max(size, 1), rounding_mode="floor")

    def total(a: Tensor, b: Tensor) -> Tensor:
        return a.new_zeros(key.numel()).index_add(0, slot, torch.cat([a, b]))

    return GatedEntries(
        torch.stack([rows, key - rows * size]),
        total(first.values, second.values),
        total(first.ungated, second.ungated),
        size,
    )


def magnitude(entries: GatedEntries) -> GatedEntries:
    """
    Absolute values that keep a gradient where the value is 0.

    ``abs`` has gradient 0 at 0, that is wherever only rejected cells contribute.
    The values are multiplied by a constant sign instead: their own, or, where they
    vanish, that of the sum over all candidates.

    Parameters
    ----------
    entries : GatedEntries
        Signed entries.

    Returns
    -------
    GatedEntries
        Entries whose forward values are the absolute values.
    """
    sign = entries.values.detach().sign()
    sign = torch.where(sign == 0, entries.ungated.sign(), sign)
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    return GatedEntries(entries.index, entries.values * sign, entries.ungated.abs(), entries.size)
