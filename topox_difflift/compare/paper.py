"""The two tables of the ∂lift paper, beside ours under its protocol."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from topox_difflift.compare.comparisons import LEARNED
from topox_difflift.compare.text import NOTHING, reached, score_text, units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.text import Columns

__all__ = ["PAPER", "Published", "paper_statements", "paper_table"]


@dataclass(frozen=True)
class Published:
    """
    A row of a table of the paper.

    Attributes
    ----------
    network, lifting : str
        As the paper names them.
    tnn, arm : str
        The network and the arm of `topox_difflift.compare` that are the same, or come closest.
    figures : dict of str to float
        Test metric on each dataset: percent of accuracy or of ROC-AUC, or the mean absolute
        error.
    """

    network: str
    lifting: str
    tnn: str
    arm: str
    figures: Mapping[str, float]


_GRAPHS = ("NCI1", "NCI109", "ogbg-molhiv", "MUTAG", "ZINC")
_NODES = ("Cora", "CiteSeer", "Texas", "Wisconsin")


def _row(
    network: str, lifting: str, tnn: str, arm: str, datasets: tuple[str, ...], *figures: float
) -> Published:
    return Published(network, lifting, tnn, arm, dict(zip(datasets, figures, strict=True)))


#: Predictions on graphs and on nodes, row by row; means of three seeds, whose spread is not
#: published [1]_.
#:
#: .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
PAPER: dict[str, tuple[Published, ...]] = {
    "graphs": (
        _row("CWN", "cycle", "cwn", "cycle", _GRAPHS, 76.93, 76.71, 70.15, 66.67, 0.46),
        _row("CWN", "∂lift", "cwn", LEARNED, _GRAPHS, 79.81, 80.55, 75.37, 85.96, 0.17),
        _row("CXN (CCXN)", "cycle", "ccxn", "cycle", _GRAPHS, 72.02, 75.01, 69.17, 61.40, 0.79),
        _row("CXN (CCXN)", "∂lift", "ccxn", LEARNED, _GRAPHS, 82.08, 82.57, 74.83, 84.21, 0.17),
        _row("UniGCNII", "k-hop", "unigcnii", "khop", _GRAPHS, 72.70, 72.01, 50.72, 61.40, 0.66),
        _row("UniGCNII", "∂lift", "unigcnii", LEARNED, _GRAPHS, 77.45, 75.30, 69.32, 89.47, 0.56),
    ),
    "nodes": (
        _row("DCM", "its own", "cwn", "dcm", _NODES, 80.73, 77.90, 56.76, 73.86),
        _row("CWN", "cycle", "cwn", "cycle", _NODES, 74.80, 75.83, 63.06, 80.39),
        _row("CWN", "∂lift", "cwn", LEARNED, _NODES, 80.17, 72.83, 80.18, 77.78),
        _row("TopoTune", "∂lift", "topotune", LEARNED, _NODES, 86.82, 78.23, 72.97, 65.36),
    ),
}


def paper_table(found: Sequence[Comparison], level: str) -> Columns:
    """
    Set a table of the paper beside ours.

    Parameters
    ----------
    found : sequence of Comparison
        Ours, under the paper's protocol.
    level : {"graphs", "nodes"}
        Which table.

    Returns
    -------
    dict of str to list of str
        Column by column: below each row of the paper one of ours for each encoder.
    """
    published = PAPER[level]
    names = ("network", "lifting", "whose", *published[0].figures)
    ours = {one.encoder: None for one in found if one.dataset in published[0].figures}
    lines = []
    for row in published:
        figures = (f"{value:.2f}" for value in row.figures.values())
        lines.append((row.network, row.lifting, "paper", *figures))
        for encoder in sorted(ours):
            scores = (_cell(_like(found, row, name, encoder), row.arm) for name in row.figures)
            lines.append(("", "", f"ours, {encoder}", *scores))
    columns = zip(*lines, strict=True)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def paper_statements(found: Sequence[Comparison]) -> list[str]:
    """
    Say whether ours are above the paper's figures for ∂lift.

    Parameters
    ----------
    found : sequence of Comparison
        Ours, under the paper's protocol.

    Returns
    -------
    list of str
        A sentence for each encoder.
    """
    cells = [(row, name) for rows in PAPER.values() for row in rows for name in row.figures]
    cells = [(row, name) for row, name in cells if row.arm == LEARNED]
    said = []
    for encoder in sorted({one.encoder for one in found}):
        ours = [(row, one) for row, name in cells for one in _like(found, row, name, encoder)]
        better = sum(_is_better(one, row) for row, one in ours)
        done = reached(better == len(ours) >= len(cells))
        said.append(
            f"Encoder {encoder}: ∂lift is better than the paper's figure for it in {better} of "
            f"{len(ours)} cells that have runs, of {len(cells)} in all. Goal, all of them: {done}."
        )
    return said or ["There is no run under the paper's protocol yet."]


def _like(
    found: Sequence[Comparison], row: Published, dataset: str, encoder: str
) -> list[Comparison]:
    wanted = dataset, row.tnn, encoder
    return [one for one in found if one.title[:3] == wanted and row.arm in one.arms]


def _cell(ours: Sequence[Comparison], arm: str) -> str:
    return "; ".join(score_text(one.values(arm, "test"), one.metric) for one in ours) or NOTHING


def _is_better(ours: Comparison, theirs: Published) -> bool:
    mean = units(ours.metric)[0] * fmean(ours.values(theirs.arm, "test"))
    return ours.sign * (mean - theirs.figures[ours.dataset]) > 0
