"""How well a lifting recovers planted cells: in its probabilities, its candidates, its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.liftings import OracleLifting

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex

__all__ = ["Recovery", "area_under_curve", "recovery"]


@dataclass(frozen=True)
class Recovery:
    """
    How well planted cells were recovered.

    Attributes
    ----------
    auroc : float
        Probability that a planted candidate has a larger acceptance probability than one that
        is not, ties counted half (nan: no candidate of one of the kinds).
    candidate_recall : float
        Share of the planted cells that are among the candidates.
    accepted_recall : float
        Share of the planted cells that are among the accepted cells.
    purity : float
        Share of the accepted cells that are planted (nan: nothing accepted).
    """

    auroc: float
    candidate_recall: float
    accepted_recall: float
    purity: float


def recovery(lifted: LiftedComplex, data: Data, rank: int | None = None) -> Recovery:
    """
    Compare a complex with that of the planted cells.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex. Rejected cells count as candidates where it keeps them; where they were
        dropped, as in `eval()`, accepted cells are all that is left to compare.
    data : torch_geometric.data.Data
        The graphs that were lifted, with their planted cells, as
        `topox_difflift.datasets.planted_cells` makes them.
    rank : int, optional
        Rank of the cells to compare; by default 1 in a hypergraph and 2 elsewhere. At rank 1
        of a complex these are the edges of the planted cells.

    Returns
    -------
    Recovery
        The measures. Edges of the graph are none of the cells compared. A cell of a cell complex
        is planted if it is a planted cycle, whatever node it starts at and in either
        direction; of other complexes, if it has the nodes of a planted cell.

    Raises
    ------
    ValueError
        If the rank was not lifted, or `data` carries no planted cells.
    """
    if rank is None:
        rank = 1 if lifted.domain == "hypergraph" else 2
    cells = [_canonical(cell) for cell in lifted.cells(rank)]
    planted = {_canonical(cell) for cell in OracleLifting(lifted.domain, rank)(data).cells(rank)}
    given = {(u, v) for u, v in data.edge_index.t().tolist()} if rank == 1 else set()
    planted -= given
    candidates = [i for i, cell in enumerate(cells) if cell not in given]
    right = torch.tensor([cells[i] in planted for i in candidates], dtype=torch.bool)
    kept = lifted[f"mask_{rank}"].detach().cpu()[candidates] != 0
    score = lifted[f"prob_{rank}"].detach().cpu()[candidates]
    found = {cells[i] for i in candidates} & planted
    accepted = {cells[i] for i, k in zip(candidates, kept.tolist(), strict=True) if k} & planted
    return Recovery(
        auroc=area_under_curve(score, right),
        candidate_recall=_share(len(found), len(planted)),
        accepted_recall=_share(len(accepted), len(planted)),
        purity=_share(int((right & kept).sum()), int(kept.sum())),
    )


def area_under_curve(score: Tensor, positive: Tensor) -> float:
    """
    Area under the receiver operating characteristic, exactly, by the rank sum.

    Parameters
    ----------
    score : torch.Tensor, shape = (n,)
        The larger, the rather positive.
    positive : torch.Tensor, shape = (n,), bool
        Which are positive.

    Returns
    -------
    float
        Probability that a positive one scores higher than another, ties counted half; nan if
        all are alike.
    """
    _, level, count = torch.unique(score, return_inverse=True, return_counts=True)
    hits = torch.zeros_like(count).index_add_(0, level, positive.long())
    misses = count - hits
    below = misses.cumsum(0) - misses
    return _share(float((hits * (below + misses / 2)).sum()), int(hits.sum()) * int(misses.sum()))


def _canonical(cell: tuple[int, ...]) -> tuple[int, ...]:
    """Walk a cycle from its smallest node towards the smaller neighbour; a sorted set stays."""
    start = cell.index(min(cell))
    forward = cell[start:] + cell[:start]
    return min(forward, forward[:1] + forward[:0:-1])


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
