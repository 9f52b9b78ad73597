"""Liftings that keep the graph as it is: no cell above the edges, its cycles, its cliques."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from topox_difflift.checks import check_one_of
from topox_difflift.domains import Cell, Domain, Simplicial, Skeleton
from topox_difflift.domains.cell import CYCLES
from topox_difflift.liftings.base import StaticLifting, attach_all, check_rank, chosen_domain

if TYPE_CHECKING:
    from topox_difflift.graph import Graph

__all__ = ["CliqueLifting", "CycleLifting", "NoLifting"]


class NoLifting(StaticLifting):
    """
    The graph itself as a complex: its edges as 1-cells, and no cell above.

    Parameters
    ----------
    domain : {"cell", "simplicial", "combinatorial", "hypergraph"} or Domain, default="cell"
        Kind of the complex.
    max_rank : int, optional
        Highest rank; by default the domain's own. Ranks from 2 on are empty.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """

    leads_to: ClassVar[None] = None

    def __init__(self, domain: str | Domain = "cell", max_rank: int | None = None) -> None:
        super().__init__()
        self.domain, self.max_rank = chosen_domain(domain, max_rank)

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the edges, and nothing at all at higher ranks.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        skeleton = Skeleton(graph)
        for _ in range(self.max_rank):
            skeleton = attach_all(self.domain, skeleton, None)
        return skeleton

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            Domain and highest rank.
        """
        return f"{self.domain!r}, max_rank={self.max_rank}"


class CycleLifting(StaticLifting):
    """
    Cell complex of the graph and the cycles of a basis.

    TopoBench's takes the basis that networkx finds from an arbitrary root. The number of
    2-cells and the space they span are the same here; the cycles themselves are wherever
    the basis is unique, as in a graph whose cycles share no edge, and are short ones by
    default elsewhere.

    Parameters
    ----------
    cycles : {"shortest", "fundamental", "minimum", "induced"}, default="shortest"
        Which cycles become 2-cells, as in `topox_difflift.domains.Cell`.
    max_cycle_length : int, optional
        Longer cycles are left out.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """

    leads_to: ClassVar[str] = "cell"

    def __init__(self, cycles: str = "shortest", max_cycle_length: int | None = None) -> None:
        super().__init__()
        # A filtration needs lengths, which a graph alone does not have.
        check_one_of("cycles", cycles, tuple(name for name in CYCLES if name != "filtration"))
        self.domain = Cell(cycles, max_cycle_length, rings=True)

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the edges, then the cycles.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        return _attach_proposals(self.domain, graph, 2)

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The domain.
        """
        return repr(self.domain)


class CliqueLifting(StaticLifting):
    """
    Simplicial complex of the cliques: r + 1 nodes that are all joined are an r-simplex.

    This is TopoBench's definition, with its `complex_dim` for `max_rank`.

    Parameters
    ----------
    max_rank : int, default=2
        Highest rank, so that cliques of up to ``max_rank + 1`` nodes become simplices.

    Raises
    ------
    ValueError
        If `max_rank` is impossible.
    """

    leads_to: ClassVar[str] = "simplicial"

    def __init__(self, max_rank: int = 2) -> None:
        super().__init__()
        self.domain = Simplicial()
        check_rank(max_rank, 1, self.domain)
        self.max_rank = max_rank

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the edges, then the triangles, then the larger cliques.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        return _attach_proposals(self.domain, graph, self.max_rank)

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The highest rank.
        """
        return f"max_rank={self.max_rank}"


def _attach_proposals(domain: Domain, graph: Graph, max_rank: int) -> Skeleton:
    """Attach the graph's edges, then all that the domain proposes on them, rank by rank."""
    skeleton = attach_all(domain, Skeleton(graph), None)
    for rank in range(2, max_rank + 1):
        skeleton = attach_all(domain, skeleton, domain.propose(skeleton, rank, None))
    return skeleton
