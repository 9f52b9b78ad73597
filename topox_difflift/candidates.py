"""The checked value that passes from proposing to scoring to attaching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from topox_difflift import ragged

__all__ = ["CandidateCells"]


@dataclass(frozen=True)
class CandidateCells:
    """
    Candidate cells of one rank.

    Attributes
    ----------
    vertices : torch.Tensor, shape = (n_entries,), int64
        Vertices, cell after cell, in the order the domain stores them.
    sizes : torch.Tensor, shape = (n_cells,), int64
        Number of entries of each cell.
    batch : torch.Tensor, shape = (n_cells,), int64
        Graph of each cell.
    weight : torch.Tensor, shape = (n_entries,)
        Straight-through membership weight of each entry. Exactly 1 for a member;
        exactly 0 for a vertex that the sampled size leaves out and that is listed
        only so that the size receives a gradient.
    inclusion : torch.Tensor, shape = (n_cells,), optional
        Straight-through indicator of each cell: exactly 0 for a cell that the sampled
        sizes leave out as a whole, and that is listed only for their gradient; None
        where all are included.
    prob : torch.Tensor, shape = (n_cells,), optional
        Probability of each cell where the domain itself decides, which accepts those with
        a positive one; None where the estimator does.
    """

    vertices: Tensor
    sizes: Tensor
    batch: Tensor
    weight: Tensor
    inclusion: Tensor | None = None
    prob: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the four tensors speak of the same cells."""
        if self.sizes.shape != self.batch.shape:
            raise ValueError(
                f"Expected 'batch' to hold one graph for each of the {len(self.sizes)} candidate "
                f"cells (got {len(self.batch)} values)"
            )
        if self.vertices.shape != self.weight.shape:
            raise ValueError(
                f"Expected 'weight' to hold one value for each of the {len(self.vertices)} "
                f"entries (got {len(self.weight)} values)"
            )
        if int(self.sizes.sum()) != len(self.vertices):
            raise ValueError(
                f"Expected 'sizes' to add up to the {len(self.vertices)} entries of 'vertices' "
                f"(got {int(self.sizes.sum())})"
            )

    def __len__(self) -> int:
        """Return the number of candidate cells."""
        return len(self.sizes)

    def select(self, index: Tensor) -> CandidateCells:
        """
        Take some of the candidates.

        Parameters
        ----------
        index : torch.Tensor, shape = (m,), int64
            Candidates to take, in the order wanted.

        Returns
        -------
        CandidateCells
            The candidates `index`.
        """
        entries = ragged.take(self.sizes, index)
        return CandidateCells(
            self.vertices.index_select(0, entries),
            self.sizes.index_select(0, index),
            self.batch.index_select(0, index),
            self.weight.index_select(0, entries),
            None if self.inclusion is None else self.inclusion.index_select(0, index),
            None if self.prob is None else self.prob.index_select(0, index),
        )

    def included(self) -> Tensor:
        """
        Whether each candidate is proposed at the sampled sizes.

        Returns
        -------
        torch.Tensor, shape = (n_cells,), bool
            False for cells listed only so that the sizes receive a gradient.
        """
        if self.inclusion is None:
            return torch.ones_like(self.sizes, dtype=torch.bool)
        return self.inclusion.detach() > 0

    def group(self) -> Tensor:
        """
        Which candidates may compete with each other.

        Returns
        -------
        torch.Tensor, shape = (n_cells,), int64
            One group for each graph, and a second one for those of its candidates that are
            listed only so that the sizes receive a gradient.
        """
        return 2 * self.batch + (~self.included()).long()

    def members(self) -> tuple[Tensor, Tensor]:
        """
        Members of each candidate, without the vertices its size leaves out.

        Returns
        -------
        vertices : torch.Tensor, shape = (n_members,), int64
            Members, cell after cell.
        sizes : torch.Tensor, shape = (n_cells,), int64
            Number of members of each cell.
        """
        inside = self.weight.detach() != 0
        if bool(inside.all()):
            return self.vertices, self.sizes
        sizes = torch.zeros_like(self.sizes)
        sizes.index_add_(0, ragged.owners(self.sizes, len(inside)), inside.long())
        return self.vertices[inside], sizes

    @classmethod
    def exact(cls, vertices: Tensor, sizes: Tensor, batch: Tensor, like: Tensor) -> CandidateCells:
        """
        Candidates whose entries are all members, without membership gradient.

        Parameters
        ----------
        vertices, sizes : torch.Tensor
            Ragged vertex lists.
        batch : torch.Tensor, shape = (n_nodes,), int64
            Graph of each node.
        like : torch.Tensor
            Tensor whose dtype the weights take.

        Returns
        -------
        CandidateCells
            The candidates; a cell lies in the graph of its first vertex.
        """
        graph = batch[vertices[ragged.starts(sizes)]]
        return cls(vertices, sizes, graph, like.new_ones(len(vertices)))
