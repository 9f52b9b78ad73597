"""Cell complexes: learned edges, and cycles of the resulting 1-skeleton."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from topox_difflift import cycles as kernels
from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.domains.base import Boundary, Domain, Skeleton, edge_boundary, learned_pairs

if TYPE_CHECKING:
    from topox_difflift.proximity import Nearest

__all__ = ["CYCLES", "Cell"]

CYCLES = ("shortest", "fundamental", "minimum", "induced")


class Cell(Domain):
    """
    Pairs of near nodes as edges, then cycles of the learned 1-skeleton as 2-cells.

    Parameters
    ----------
    cycles : {"shortest", "fundamental", "minimum", "induced"}, default="shortest"
        Which cycles are candidates: a basis made of incremental shortest cycles, of a
        breadth-first forest's fundamental cycles, a minimum basis, or every chordless
        cycle up to `max_cycle_length`.
    max_cycle_length : int, optional
        Longer cycles are no candidates. Needed by "induced" (default there: 6).

    Raises
    ------
    ValueError
        If `cycles` is unknown or `max_cycle_length` is below 3.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    topology: ClassVar[Literal["cell"]] = "cell"
    highest_rank: ClassVar[int] = 2
    default_rank: ClassVar[int] = 2

    def __init__(self, cycles: str = "shortest", max_cycle_length: int | None = None) -> None:
        check_one_of("cycles", cycles, CYCLES)
        if max_cycle_length is not None:
            check_at_least("max_cycle_length", max_cycle_length, 3, "the length of a triangle")
        if cycles == "induced" and max_cycle_length is None:
            max_cycle_length = 6
        self.cycles, self.max_cycle_length = cycles, max_cycle_length

    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose pairs of near nodes, or cycles.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1 or 2.
        nearest : Nearest, optional
            Nearest other nodes, at rank 1.

        Returns
        -------
        CandidateCells
            Pairs that are no edges yet, or cycles in cyclic order.
        """
        if rank == 1:
            assert nearest is not None
            return learned_pairs(skeleton.graph, nearest)
        edges, n = skeleton.accepted_edges(), skeleton.num_nodes
        if self.cycles == "induced":
            assert self.max_cycle_length is not None
            found = kernels.induced_cycles(edges, n, self.max_cycle_length)
        else:
            basis = {
                "shortest": kernels.shortest_cycle_basis,
                "fundamental": kernels.fundamental_cycles,
                "minimum": kernels.minimum_cycle_basis,
            }[self.cycles]
            found = basis(edges, n, max_length=self.max_cycle_length)
        return CandidateCells.exact(*found, skeleton.graph.batch, like=skeleton.graph.x)

    def boundary(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Boundary:
        """
        Find the ends of edges, or the edges along cycles.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1 or 2.
        cells : CandidateCells
            The cells.

        Returns
        -------
        Boundary
            For a cycle, +1 where it walks an edge from its smaller to its larger end.
        """
        if rank == 1:
            return edge_boundary(cells)
        column = ragged.owners(cells.sizes)
        here = cells.vertices
        there = here[ragged.successors(cells.sizes)]
        edge = kernels.edge_ids(
            torch.minimum(here, there),
            torch.maximum(here, there),
            skeleton.ranks[0].vertices.view(-1, 2).t(),
            skeleton.num_nodes,
        )
        sign = (there > here).to(cells.weight.dtype) * 2 - 1
        return Boundary(torch.stack([edge, column]), sign, cells.weight)
