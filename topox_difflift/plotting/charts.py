"""Charts of what a lifting did: acceptance over training, sizes and probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from topox_difflift.complex import LiftedComplex
from topox_difflift.plotting.figures import CLASS_COLORS, axes_or_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray
    from toponetx.classes.complex import Complex

    from topox_difflift.summary import LiftingSummary

__all__ = ["plot_acceptance", "plot_probabilities", "plot_sizes"]

_SIZE = (6.0, 3.6)
_STYLES: dict[str, dict[str, Any]] = {
    "given": {"alpha": 0.35},
    "accepted": {},
    "rejected": {"fill": False, "hatch": "///"},
}
_BINS = 20


def plot_acceptance(
    summaries: Sequence[LiftingSummary], ax: Axes | None = None, *, xlabel: str = "epoch"
) -> Axes:
    """
    Plot the share of the proposed cells that is accepted, rank by rank, over training.

    Parameters
    ----------
    summaries : sequence of LiftingSummary
        One for each epoch or step, such as ``lift(batch).summary()``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.
    xlabel : str, default="epoch"
        What the summaries are of.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with one line for each rank that ever proposed a cell. Where nothing was
        proposed, it has a gap; where nothing or everything was accepted, a cross.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there is no summary, or they have different ranks.
    """
    if not len(summaries):
        raise ValueError(
            "Expected 'summaries' to hold at least one LiftingSummary (got none); collect "
            "lift(batch).summary() after every epoch"
        )
    axes = axes_or_new(ax, _SIZE)
    steps = np.arange(len(summaries))
    crossed = False
    for index in range(len(summaries[0].ranks)):
        ranks = [summary.ranks[index] for summary in summaries]
        rates = [np.nan if r.acceptance_rate is None else r.acceptance_rate for r in ranks]
        if np.isnan(rates).all():
            continue
        color = _rank_color(ranks[0].rank)
        axes.plot(steps, rates, marker=".", color=color, label=f"rank {ranks[0].rank}")
        collapsed = np.array([bool(r.collapsed) for r in ranks])
        if collapsed.any():
            axes.plot(
                steps[collapsed], np.array(rates)[collapsed], "X", color="black",
                markeredgecolor="white", markersize=9, zorder=3,
                label=None if crossed else "collapsed: all or none",
            )  # fmt: skip
            crossed = True
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("accepted share of the proposed cells")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    else:
        _say(axes, "nothing was proposed")
    return axes


def plot_sizes(complex_: LiftedComplex | Complex, ax: Axes | None = None) -> Axes:
    """
    Plot how many cells have how many vertices.

    Parameters
    ----------
    complex_ : LiftedComplex or toponetx complex
        The complex of one graph or of a batch.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with one stack of bars for each size: given, accepted and, if the complex
        kept them, rejected cells of each rank.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    axes = axes_or_new(ax, _SIZE)
    parts = _parts(complex_)
    most = max((int(part.sizes.max()) for part in parts), default=1)
    _stack(axes, parts, [part.sizes for part in parts], np.arange(0.5, most + 1))
    axes.set_xlabel("vertices of a cell")
    _count_in_integers(axes.xaxis)
    if not parts:
        _say(axes, "no cell")
    return axes


def plot_probabilities(complex_: LiftedComplex | Complex, ax: Axes | None = None) -> Axes:
    """
    Plot how the acceptance probabilities of the proposed cells are distributed.

    Parameters
    ----------
    complex_ : LiftedComplex or toponetx complex
        The complex of one graph or of a batch.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with a stacked histogram: accepted and, if the complex kept them, rejected
        cells of each rank. Cells that were not learned do not count.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    axes = axes_or_new(ax, _SIZE)
    parts = [part for part in _parts(complex_) if part.kind != "given"]
    _stack(axes, parts, [part.prob for part in parts], np.linspace(0, 1, _BINS + 1))
    axes.set_xlim(0, 1)
    axes.set_xlabel("acceptance probability")
    if not parts:
        _say(axes, "no learned cell")
    return axes


class _Part(NamedTuple):
    """Sizes and probabilities of the cells of one rank and kind."""

    rank: int
    kind: str
    sizes: NDArray[np.int64]
    prob: NDArray[np.float64]


def _parts(complex_: LiftedComplex | Complex) -> list[_Part]:
    if not isinstance(complex_, LiftedComplex):
        complex_ = LiftedComplex.from_toponetx(complex_)
    parts = []
    for rank in range(1, complex_.max_rank + 1):
        sizes = np.array([len(cell) for cell in complex_.cells(rank)], dtype=np.int64)
        mask, prob = (
            complex_[f"{name}_{rank}"].detach().double().cpu().numpy() for name in ("mask", "prob")
        )
        kinds = np.where(mask == 0, "rejected", np.where(prob < 1, "accepted", "given"))
        parts += [
            _Part(rank, kind, sizes[kinds == kind], prob[kinds == kind])
            for kind in _STYLES
            if (kinds == kind).any()
        ]
    return parts


def _stack(
    axes: Axes, parts: list[_Part], values: Sequence[NDArray[Any]], edges: NDArray[np.float64]
) -> None:
    bottom = np.zeros(len(edges) - 1)
    for part, of_part in zip(parts, values, strict=True):
        heights = np.histogram(of_part, edges)[0]
        color = _rank_color(part.rank)
        axes.bar(
            edges[:-1], heights, np.diff(edges) * 0.9, bottom, align="edge", color=color,
            edgecolor=color, label=f"rank {part.rank}, {part.kind}", **_STYLES[part.kind],
        )  # fmt: skip
        bottom += heights
    axes.set_ylabel("number of cells")
    _count_in_integers(axes.yaxis)
    if parts:
        axes.legend()


def _count_in_integers(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _rank_color(rank: int) -> str:
    return CLASS_COLORS[(rank - 1) % len(CLASS_COLORS)]


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
