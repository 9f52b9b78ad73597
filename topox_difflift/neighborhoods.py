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

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.compiled import arrays, usable
from topox_difflift.products import Gram, SparseOperand
from topox_difflift.ragged import counts, owners, starts
from topox_difflift.sparse import sparse_coo, stable_order

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Boundary",
    "GatedEntries",
    "IncidencePattern",
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
        if usable(group, item):
            from topox_difflift._neighborhoods_numba import pair_pattern

            found = pair_pattern(*arrays(group, item), n_groups, n_items)
            return cls(*map(torch.from_numpy, found))
        sizes = counts(group, n_groups)
        partners = sizes.index_select(0, group)
        left = owners(partners)
        # From the position of a pair to that of its second entry.
        shift = starts(sizes).index_select(0, group) - starts(partners)
        right = torch.arange(left.numel(), device=left.device) + shift.index_select(0, left)
        key = item.index_select(0, left) * n_items + item.index_select(0, right)
        order = stable_order(key)
        key = key.index_select(0, order)
        key, rank = torch.unique_consecutive(key, return_inverse=True)
        slot = torch.empty_like(rank).scatter_(0, order, rank)
        return cls(_unpack(key, n_items), left, right, slot)

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

    def products(self, weights: Tensor) -> Tensor:
        """
        Multiply the weights of the two entries of each pair.

        Parameters
        ----------
        weights : torch.Tensor, shape = (nnz of the incidence,)
            Weight of each incidence entry.

        Returns
        -------
        torch.Tensor, shape = (n_pairs,)
            Product of each pair.
        """
        return weights.index_select(0, self.left) * weights.index_select(0, self.right)


def _unpack(key: Tensor, n_columns: int) -> Tensor:
    """Row and column of keys ``row * n_columns + column``."""
    rows = torch.div(key, max(n_columns, 1), rounding_mode="floor")
    return torch.stack([rows, key - rows * n_columns])


@dataclass(frozen=True)
class IncidencePattern:
    """
    Which faces bound which cells.

    Attributes
    ----------
    faces : torch.Tensor, shape = (2, nnz), int64
        Pairs (face, cell), sorted by face, then by cell.
    size : tuple of int
        Number of faces and of cells.
    """

    faces: Tensor
    size: tuple[int, int]

    @cached_property
    def by_cell(self) -> Tensor:
        """Order that sorts the entries by cell."""
        return torch.argsort(self.faces[1], stable=True)

    @cached_property
    def up_pairs(self) -> PairPattern:
        """Pairs of faces of a common cell; they refer to the entries in the order `by_cell`."""
        faces, cells = self.faces.index_select(1, self.by_cell)
        return PairPattern.of(cells, faces, self.size[1], self.size[0])

    @cached_property
    def down_pairs(self) -> PairPattern:
        """Pairs of cells with a common face."""
        return PairPattern.of(self.faces[0], self.faces[1], *self.size)


@dataclass(frozen=True)
class Boundary:
    """
    The gated boundary of the cells of one rank.

    Attributes
    ----------
    pattern : IncidencePattern
        Which faces bound which cells.
    orientation, membership : torch.Tensor, shape = (nnz,)
        Sign and straight-through weight of each pair.
    mask : torch.Tensor, shape = (n_cells,)
        Gate of each cell.
    """

    pattern: IncidencePattern
    orientation: Tensor
    membership: Tensor
    mask: Tensor

    def ungated(self) -> Boundary:
        """
        Boundary of all candidates: every gate is one, and a constant.

        Returns
        -------
        Boundary
            A boundary of the same pattern.
        """
        ones = torch.ones_like(self.membership), torch.ones_like(self.mask)
        return Boundary(self.pattern, self.orientation, *ones)

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

    def matrix(self, signed: bool, opened: bool = False) -> Tensor:
        """
        Incidence matrix; a mask scales its whole column.

        Parameters
        ----------
        signed : bool
            Whether the boundary is oriented.
        opened : bool, default=False
            Whether the transposed matrix, in which cells receive, is without gates.

        Returns
        -------
        torch.Tensor, shape = (n_faces, n_cells), sparse COO
            The matrix; explicit zeros in the columns of rejected cells.
        """
        faces = self.pattern.faces
        weights = self.weights(signed)
        values = self.mask.index_select(0, faces[1]) * weights
        return sparse_coo(faces, values, self.pattern.size, weights if opened else None)

    def gram(self, entries: Callable[[], Tensor]) -> Gram:
        """
        Which faces share cells, kept as factors: gated on the way to the faces, ungated back.

        Parameters
        ----------
        entries : callable
            Makes the sparse matrix.

        Returns
        -------
        Gram, shape = (n_faces, n_faces)
            The product of the unsigned boundary, the gates and the transposed boundary, without
            its diagonal.
        """
        face, cell = self.pattern.faces
        values = self.mask.index_select(0, cell) * self.membership
        operand = SparseOperand(face, cell, values, self.pattern.size, self.membership)
        diagonal = replace(operand, values=values * self.membership).sum(1)
        return Gram(operand, diagonal, entries)


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
    size : int
        Number of rows and of columns.
    """

    index: Tensor
    values: Tensor
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


def up_entries(boundary: Boundary, signed: bool) -> GatedEntries:
    """
    Entries of B B^T with one mask factor per shared cell.

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
    pattern, pairs = boundary.pattern, boundary.pattern.up_pairs
    cells = pattern.faces[1].index_select(0, pattern.by_cell)
    weights = boundary.weights(signed).index_select(0, pattern.by_cell)
    masks = boundary.mask.index_select(0, cells).index_select(0, pairs.left)
    values = pairs.total(pairs.products(weights) * masks)
    return GatedEntries(pairs.index, values, pattern.size[0])


def down_entries(boundary: Boundary, signed: bool, opened: bool = False) -> GatedEntries:
    """
    Entries of B^T B with one mask factor per cell of the entry.

    Parameters
    ----------
    boundary : Boundary
        Boundary of the rank itself.
    signed : bool
        Whether the boundary is oriented.
    opened : bool, default=False
        Whether only the cell that sends, that of the column, is gated, and not to itself.

    Returns
    -------
    GatedEntries
        Entries between the cells, diagonal included.
    """
    pairs = boundary.pattern.down_pairs
    row, column = pairs.index
    shared = pairs.total(pairs.products(boundary.weights(signed)))
    other = boundary.mask.index_select(0, column)
    # On the diagonal the mask enters once: it is a gate, not a weight.
    other = torch.where(row == column, torch.ones_like(other), other)
    values = shared * other
    if not opened:
        values = values * boundary.mask.index_select(0, row)
    return GatedEntries(pairs.index, values, boundary.pattern.size[1])


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
    return GatedEntries(index, like.new_zeros(0), size)


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
    index, values = entries.index.index_select(1, keep), entries.values.index_select(0, keep)
    return GatedEntries(index, values, entries.size)


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
    index = torch.cat([first.index, second.index], dim=1)
    key, slot = torch.unique(index[0] * first.size + index[1], return_inverse=True)
    values = torch.cat([first.values, second.values])
    total = values.new_zeros(key.numel()).index_add(0, slot, values)
    return GatedEntries(_unpack(key, first.size), total, first.size)


def magnitude(entries: GatedEntries, candidates: GatedEntries) -> GatedEntries:
    """
    Absolute values that keep a gradient where the value is 0.

    ``abs`` has gradient 0 at 0, that is wherever only rejected cells contribute.
    The values are multiplied by a constant sign instead: their own, or, where they
    vanish, that of the matrix of all candidates.

    Parameters
    ----------
    entries : GatedEntries
        Signed entries.
    candidates : GatedEntries
        The same entries if every candidate were accepted.

    Returns
    -------
    GatedEntries
        Entries whose forward values are the absolute values.
    """
    sign = entries.values.detach().sign()
    sign = torch.where(sign == 0, candidates.values.detach().sign(), sign)
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    return GatedEntries(entries.index, entries.values * sign, entries.size)
