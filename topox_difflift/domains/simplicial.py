"""Simplicial complexes: learned edges, and simplices all of whose faces are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from topox_difflift import cliques, cycles
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_flag, check_one_of
from topox_difflift.domains.base import Boundary, Domain, Skeleton, edge_boundary, learned_pairs

if TYPE_CHECKING:
    from topox_difflift.proximity import Nearest

__all__ = ["SIMPLICES", "Simplicial"]

SIMPLICES = ("all", "cycle_basis")


class Simplicial(Domain):
    """
    Pairs of near nodes as edges, then r-simplices all of whose faces were accepted.

    The paper has no public recipe for simplices; this design is ours.

    Parameters
    ----------
    simplices : {"all", "cycle_basis"}, default="all"
        Candidates of rank 2: every triangle of the 1-skeleton, or those in its
        incremental shortest cycle basis.
    closure_gradient : bool, default=True
        Whether the gate of a simplex passes a gradient to those of its faces, without which it
        would not be there. Otherwise they learn from their own features alone.

    Raises
    ------
    TypeError, ValueError
        If `simplices` is unknown, or `closure_gradient` is no bool.
    """

    topology: ClassVar[Literal["simplicial"]] = "simplicial"
    highest_rank: ClassVar[int] = 3
    default_rank: ClassVar[int] = 2

    def __init__(self, simplices: str = "all", closure_gradient: bool = True) -> None:
        check_one_of("simplices", simplices, SIMPLICES)
        check_flag("closure_gradient", closure_gradient)
        self.simplices, self.closure_gradient = simplices, closure_gradient

    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose pairs of near nodes, or cliques.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1, 2 or 3.
        nearest : Nearest, optional
            Nearest other nodes, at rank 1.

        Returns
        -------
        CandidateCells
            Pairs that are no edges yet, or simplices in lexicographic order.
        """
        if rank == 1:
            assert nearest is not None
            return learned_pairs(skeleton.graph, nearest)
        rows = self._cliques(skeleton, rank)
        sizes = torch.full((len(rows),), rank + 1, device=rows.device)
        like = skeleton.graph.x
        return CandidateCells.exact(rows.reshape(-1), sizes, skeleton.graph.batch, like=like)

    def _cliques(self, skeleton: Skeleton, rank: int) -> Tensor:
        edges, n = skeleton.accepted_edges(), skeleton.num_nodes
        if rank == 2 and self.simplices == "cycle_basis":
            vertices, _ = cycles.shortest_cycle_basis(edges, n, max_length=3)
            rows = vertices.view(-1, 3).sort(dim=1).values
            return rows[cliques.lexicographic_order(rows)]
        if rank == 2:
            return cliques.triangles(edges, n)
        below, _, _ = skeleton.accepted_cells(rank - 1)
        return cliques.cliques(edges, n, rank + 1, below.view(-1, rank))

    def boundary(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Boundary:
        """
        Find the simplices that leave out one vertex.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1, 2 or 3.
        cells : CandidateCells
            The simplices.

        Returns
        -------
        Boundary
            (-1)^i for the face without vertex i.
        """
        if rank == 1:
            return edge_boundary(cells)
        rows = cells.vertices.view(-1, rank + 1)
        table = skeleton.ranks[rank - 2].vertices.view(-1, rank)
        column = torch.arange(len(rows), device=rows.device)
        # By slices and counting, since for a list the host would wait.
        without = (torch.cat([rows[:, :i], rows[:, i + 1 :]], dim=1) for i in range(rank + 1))
        face = torch.cat([cliques.row_ids(rest, table) for rest in without])
        left_out = torch.arange(rank + 1, device=rows.device).repeat_interleave(len(rows))
        sign = 1 - 2 * (left_out % 2)
        faces = torch.stack([face, column.repeat(rank + 1)])
        return Boundary(faces, sign.to(cells.weight.dtype), cells.weight.new_ones(len(face)))
