"""What a lifting did, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LiftingSummary", "RankSummary"]


@dataclass(frozen=True)
class RankSummary:
    """
    What the lifting did at one rank.

    Attributes
    ----------
    rank : int
        The rank.
    original : int
        Cells of the input: those with probability exactly 1.
    candidates : int
        Cells that the lifting proposed.
    accepted : int
        Proposed cells that were accepted.
    mean_size : float
        Mean number of vertices of the cells of the accepted complex (nan: no cell).
    """

    rank: int
    original: int
    candidates: int
    accepted: int
    mean_size: float

    @property
    def cells(self) -> int:
        """Number of cells of the accepted complex."""
        return self.original + self.accepted

    @property
    def rejected(self) -> int:
        """Number of proposed cells that were rejected."""
        return self.candidates - self.accepted

    @property
    def acceptance_rate(self) -> float | None:
        """Share of the proposed cells that were accepted; None without a proposal."""
        return self.accepted / self.candidates if self.candidates else None

    @property
    def collapsed(self) -> bool | None:
        """Whether nothing or everything was accepted; None without a proposal."""
        return self.accepted in (0, self.candidates) if self.candidates else None

    def __str__(self) -> str:
        if self.acceptance_rate is None:
            learned = "none proposed"
        else:
            learned = (
                f"{self.accepted} of {self.candidates} proposed accepted "
                f"({self.acceptance_rate:.1%})"
            )
        return (
            f"rank {self.rank}: {self.cells} cells, mean size {self.mean_size:.2f}; "
            f"{self.original} original, {learned}"
        )


@dataclass(frozen=True)
class LiftingSummary:
    """
    What a lifting did, rank by rank.

    Attributes
    ----------
    domain : str
        Topological domain.
    num_graphs, num_nodes : int
        Size of the input.
    ranks : tuple of RankSummary
        One entry per rank from 1 on.
    """

    domain: str
    num_graphs: int
    num_nodes: int
    ranks: tuple[RankSummary, ...]

    @classmethod
    def total(cls, summaries: Sequence[LiftingSummary]) -> LiftingSummary:
        """
        Add up what a lifting did to several batches.

        Parameters
        ----------
        summaries : sequence of LiftingSummary
            At least one, all of one domain and of the same ranks.

        Returns
        -------
        LiftingSummary
            All cells of all batches.
        """
        return cls(
            domain=summaries[0].domain,
            num_graphs=sum(summary.num_graphs for summary in summaries),
            num_nodes=sum(summary.num_nodes for summary in summaries),
            ranks=tuple(map(_total, zip(*(s.ranks for s in summaries), strict=True))),
        )

    @property
    def collapsed(self) -> bool | None:
        """Whether nothing or everything was accepted; None if nothing was proposed."""
        candidates = sum(rank.candidates for rank in self.ranks)
        accepted = sum(rank.accepted for rank in self.ranks)
        return accepted in (0, candidates) if candidates else None

    def __str__(self) -> str:
        verdict = {None: "nothing was proposed", True: "collapsed", False: "not collapsed"}
        head = f"{self.domain} complex of {self.num_graphs} graph(s), {self.num_nodes} nodes"
        return "\n  ".join([f"{head}: {verdict[self.collapsed]}", *map(str, self.ranks)])


def _total(parts: tuple[RankSummary, ...]) -> RankSummary:
    """Add up what was done at one rank."""
    cells = sum(part.cells for part in parts)
    members = sum(part.cells * part.mean_size for part in parts if part.cells)
    return RankSummary(
        rank=parts[0].rank,
        original=sum(part.original for part in parts),
        candidates=sum(part.candidates for part in parts),
        accepted=sum(part.accepted for part in parts),
        mean_size=members / cells if cells else float("nan"),
    )
