"""How well a lifting recovers planted cells: in its probabilities, its candidates, its result."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from topox_difflift.complex import LiftedComplex
from topox_difflift.lift import DiffLift
from topox_difflift.liftings import OracleLifting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch_geometric.data import Data

    from topox_difflift.nn import TopologicalNetwork

__all__ = ["Recovery", "area_under_curve", "recovery", "recovery_of"]

Cell = tuple[int, ...]

#: Graphs are enough to score the cells of.
_FEW = 200


@dataclass(frozen=True)
class Recovery:
    """
    How well planted cells were recovered.

    Attributes
    ----------
    auroc : float
        Probability that a planted candidate scores higher than one that is not, ties counted
        half (nan: no candidate of one of the kinds). The score of a cell is how probable it is
        in the complex.
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


class _Draw(NamedTuple):
    """Cells of one complex, each once: candidates with their probability, and accepted ones."""

    candidates: dict[Cell, float]
    accepted: set[Cell]


def recovery(
    lifted: LiftedComplex | Sequence[LiftedComplex], data: Data, rank: int | None = None
) -> Recovery:
    """
    Compare a complex, or several draws of it, with that of the planted cells.

    Parameters
    ----------
    lifted : LiftedComplex or sequence of LiftedComplex
        The complex, or what a lifting in training drew for the same graphs several times.
        Rejected cells count as candidates where it keeps them; where they were dropped, as
        in `eval()`, accepted cells are all that is left to compare. Pairs that are listed only
        for their gradient (``included_1`` is False) are none.
    data : torch_geometric.data.Data
        The graphs that were lifted, with their planted cells, as
        `topox_difflift.datasets.planted_cells` makes them.
    rank : int, optional
        Rank of the cells to compare; by default 1 in a hypergraph and 2 elsewhere. At rank 1
        of a complex these are the edges of the planted cells.

    Returns
    -------
    Recovery
        The measures. Edges of the graph are none of the cells compared, and neither are cells
        that a learned lifting does not propose (``Cell(rings="given")``). A cell of a cell complex
        is planted if it is a planted cycle, whatever node it starts at and in either
        direction; of other complexes, if it has the nodes of a planted cell.

    Raises
    ------
    ValueError
        If there is no complex, the rank was not lifted, or `data` carries no planted cells.

    Notes
    -----
    Equal cells, such as hyperedges that several nodes propose, count once. The score of a cell
    is the mean over the draws of its acceptance probability, which is 0 in a draw that does not
    propose it, and the largest of those of equal cells. So it estimates the probability of the
    cell in the complex, that of its size and of its faces included; in a single draw it is the
    acceptance probability alone. Recall and purity are means over the draws, purity over those
    that accept something.
    """
    draws = [lifted] if isinstance(lifted, LiftedComplex) else list(lifted)
    if not draws:
        raise ValueError("Expected 'lifted' to be a complex, or at least one draw of it (got none)")
    domain = draws[0].domain
    if rank is None:
        rank = 1 if domain == "hypergraph" else 2
    given = _given(draws, data, rank)
    planted = {_canonical(cell) for cell in OracleLifting(domain, rank)(data).cells(rank)} - given
    found = [_draw(complex_, rank, given) for complex_ in draws]
    scores: dict[Cell, float] = defaultdict(float)
    for candidates, _ in found:
        for cell, prob in candidates.items():
            scores[cell] += prob  # they rank as their means do
    right = torch.tensor([cell in planted for cell in scores], dtype=torch.bool)
    return Recovery(
        auroc=area_under_curve(torch.tensor(list(scores.values()), dtype=torch.float64), right),
        candidate_recall=_mean_share((planted & set(d.candidates), planted) for d in found),
        accepted_recall=_mean_share((planted & d.accepted, planted) for d in found),
        purity=_mean_share((planted & d.accepted, d.accepted) for d in found),
    )


def recovery_of(
    model: TopologicalNetwork, graphs: list[Data], *, draws: int = 16, seed: int = 0
) -> Recovery:
    """
    Measure how well a model recovers the planted cells of graphs.

    Parameters
    ----------
    model : TopologicalNetwork
        A model with an `EmbedThenLift`; not changed.
    graphs : list of torch_geometric.data.Data
        Graphs with their planted cells.
    draws : int, default=16
        Number of draws.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    Recovery
        Area under the curve and recall of the candidates from cells drawn as in training, of
        up to 200 graphs; recall and purity of what is accepted in evaluation.
    """
    model = copy.deepcopy(model).eval()
    lifting = model.lift.lift
    few, every = (Batch.from_data_list(part) for part in (graphs[:_FEW], graphs))
    with torch.no_grad():
        lifted = model.lifted(every)
        rank = min(2, lifted.max_rank)
        accepted = recovery(lifted, every, rank)
        if isinstance(lifting, DiffLift):
            # As in training: drawn, and with the rejected ones.
            lifting.train()
            lifting.rejected, lifting.generator = "keep", torch.Generator().manual_seed(seed)
        else:
            draws = 1
        proposed = recovery([model.lifted(few) for _ in range(draws)], few, rank)
    return replace(proposed, accepted_recall=accepted.accepted_recall, purity=accepted.purity)


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


def _given(draws: Sequence[LiftedComplex], data: Data, rank: int) -> set[Cell]:
    """Edges of the graph, or cells that a learned lifting has without proposing them."""
    if rank == 1:
        return set(map(tuple, data.edge_index.t().tolist()))
    given = set()
    for lifted in draws:
        cells = lifted.cells(rank)
        # A static lifting proposes nothing, and all of its cells are compared.
        if any(bool(lifted[f"candidates_{r}"].any()) for r in range(1, rank + 1)):
            prob = lifted[f"prob_{rank}"].tolist()
            given |= {_canonical(cell) for cell, p in zip(cells, prob, strict=True) if p == 1}
    return given


def _draw(lifted: LiftedComplex, rank: int, given: set[Cell]) -> _Draw:
    candidates: dict[Cell, float] = {}
    accepted = set()
    cells = map(_canonical, lifted.cells(rank))
    columns = [lifted[f"{name}_{rank}"].tolist() for name in ("included", "prob", "mask")]
    for cell, included, prob, mask in zip(cells, *columns, strict=True):
        if included and cell not in given:
            candidates[cell] = max(prob, candidates.get(cell, 0.0))
            if mask:
                accepted.add(cell)
    return _Draw(candidates, accepted)


def _canonical(cell: Cell) -> Cell:
    """Walk a cycle from its smallest node towards the smaller neighbour; a sorted set stays."""
    start = cell.index(min(cell))
    forward = cell[start:] + cell[:start]
    return min(forward, forward[:1] + forward[:0:-1])


def _mean_share(parts: Iterable[tuple[set[Cell], set[Cell]]]) -> float:
    """Mean of the shares of wholes that are not empty."""
    shares = [len(part) / len(whole) for part, whole in parts if whole]
    return fmean(shares) if shares else float("nan")


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
