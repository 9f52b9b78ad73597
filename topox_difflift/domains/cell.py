"""Cell complexes: learned edges, and cycles of the resulting 1-skeleton."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from topox_difflift import cycles as kernels
from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least, check_flag, check_one_of
from topox_difflift.domains.base import Boundary, Domain, Skeleton, edge_boundary, learned_pairs

if TYPE_CHECKING:
    from torch import Tensor

    from topox_difflift.proximity import Nearest

__all__ = ["CYCLES", "Cell"]

CYCLES = ("filtration", "shortest", "fundamental", "minimum", "induced")


class Cell(Domain):
    """
    Pairs of near nodes as edges, then cycles of the learned 1-skeleton as 2-cells.

    Parameters
    ----------
    cycles : {"filtration", "shortest", "fundamental", "minimum", "induced"}
        Which cycles are candidates. By default the basis of the filtration in which edges, those
        of the graph and learned ones, arrive by their length in the embedding: each that joins
        no components closes a shortest cycle with edges that are no longer. So a learned
        polygon is a candidate however many of its diagonals are edges too. Otherwise a basis
        made of incremental shortest cycles in which lengths do not count, of a
        breadth-first forest's fundamental cycles, a minimum basis, or every chordless
        cycle up to `max_cycle_length`.
    max_cycle_length : int, optional
        Longer cycles are no candidates. Needed by "induced" (default there: 6).
    rings : {"given", "apart", "only"} or bool, default="given"
        What becomes of the cycles of the graph itself, those of `CycleLifting`. "given": they are
        cells from the start, as the graph's edges are, and candidates are the cycles of learned
        edges among themselves. "apart": candidates are the one and the other. "only": they alone
        are candidates, and learned edges close none. True: candidates are they and the cycles of
        graph and learned edges together. False: these alone, which close over the learned edges,
        so that hardly any cycle of the graph is among them.
    closure_gradient : bool, default=False
        Whether the gate of a cycle passes a gradient to those of its edges, without which it
        would not be there. Otherwise they learn from their own features alone.

    Raises
    ------
    TypeError, ValueError
        If `cycles` is unknown, `max_cycle_length` is below 3, `rings` is neither a bool nor
        "given", "apart" or "only", or `closure_gradient` is no bool.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    topology: ClassVar[Literal["cell"]] = "cell"
    highest_rank: ClassVar[int] = 2
    default_rank: ClassVar[int] = 2

    def __init__(
        self,
        cycles: str = "filtration",
        max_cycle_length: int | None = None,
        rings: bool | Literal["given", "apart", "only"] = "given",
        closure_gradient: bool = False,
    ) -> None:
        check_one_of("cycles", cycles, CYCLES)
        if rings not in ("given", "apart", "only"):
            check_flag("rings", rings, ", 'given', 'apart' or 'only'")
        check_flag("closure_gradient", closure_gradient)
        if max_cycle_length is not None:
            check_at_least("max_cycle_length", max_cycle_length, 3, "the length of a triangle")
        if cycles == "induced" and max_cycle_length is None:
            max_cycle_length = 6
        self.cycles, self.max_cycle_length, self.rings = cycles, max_cycle_length, rings
        self.closure_gradient = closure_gradient

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
        found = self._candidates(skeleton)
        return CandidateCells.exact(*found, skeleton.graph.batch, like=skeleton.graph.x)

    def own(self, skeleton: Skeleton, rank: int) -> kernels.Cycles | None:
        """
        List the edges of the graph, or its cycles if they are given.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1 or 2.

        Returns
        -------
        tuple of torch.Tensor, optional
            Vertices, cell after cell, those of a cycle in cyclic order, and the number of each.
        """
        if rank == 1:
            return super().own(skeleton, rank)
        return self._rings(skeleton) if self.rings == "given" else None

    def _candidates(self, skeleton: Skeleton) -> kernels.Cycles:
        if self.rings == "only":
            return self._rings(skeleton)
        edges = skeleton.accepted_edges(learned=self.rings in ("given", "apart"))
        arrival = skeleton.arrival(edges) if self.cycles == "filtration" else None
        without = edges.size(1) == skeleton.graph.edges.size(1)
        if self.rings is True and arrival is None and without:
            # Without a learned edge, as in a static lifting, the graph's own are all there are.
            return self._rings(skeleton)
        found = self._search(edges, skeleton.num_nodes, arrival)
        if self.rings in (True, "apart"):
            found = kernels.unite(self._rings(skeleton), found)
        return found

    def _rings(self, skeleton: Skeleton) -> kernels.Cycles:
        """Cycles of the graph itself, among which lengths do not count."""
        return kernels.sort_by_root(*self._search(skeleton.graph.edges, skeleton.num_nodes))

    def _search(
        self, edges: Tensor, num_nodes: int, arrival: Tensor | None = None
    ) -> kernels.Cycles:
        if self.cycles == "induced":
            assert self.max_cycle_length is not None
            return kernels.induced_cycles(edges, num_nodes, self.max_cycle_length)
        longest = self.max_cycle_length
        if self.cycles == "fundamental":
            return kernels.fundamental_cycles(edges, num_nodes, max_length=longest)
        if self.cycles == "minimum":
            return kernels.minimum_cycle_basis(edges, num_nodes, max_length=longest)
        return kernels.shortest_cycle_basis(edges, num_nodes, arrival=arrival, max_length=longest)

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
        column = ragged.owners(cells.sizes, len(cells.vertices))
        here = cells.vertices
        there = here[ragged.successors(cells.sizes, len(cells.vertices))]
        edge = kernels.edge_ids(
            torch.minimum(here, there),
            torch.maximum(here, there),
            skeleton.ranks[0].vertices.view(-1, 2).t(),
            skeleton.num_nodes,
        )
        sign = (there > here).to(cells.weight.dtype) * 2 - 1
        return Boundary(torch.stack([edge, column]), sign, cells.weight)
