"""Charts of what a lifting did: acceptance over training, sizes and probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from topox_difflift.plotting.cells import as_lifted, cell_groups
from topox_difflift.plotting.figures import CLASS_COLORS, axes_or_new
from topox_difflift.summary import LiftingSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray
    from toponetx.classes.complex import Complex

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.plotting.cells import CellGroup

__all__ = ["plot_acceptance", "plot_probabilities", "plot_sizes"]

_SIZE = (6.0, 3.6)
_STYLES: dict[str, dict[str, Any]] = {
    "given": {"alpha": 0.35},
    "accepted": {},
    "not accepted": {"fill": False, "hatch": "///"},
}
_BINS = 20
_COLLAPSED: dict[str, Any] = {
    "marker": "X",
    "s": 80,
    "color": "black",
    "edgecolor": "white",
    "zorder": 3,
}


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
    summaries = [summaries] if isinstance(summaries, LiftingSummary) else list(summaries)
    if len({tuple(r.rank for r in summary.ranks) for summary in summaries}) != 1:
        raise ValueError(
            "Expected 'summaries' to be of at least one lifting, all to the same ranks (got "
            f"{len(summaries)} of ranks {sorted({len(s.ranks) for s in summaries})}); collect "
            "lift(batch).summary() after every epoch"
        )
    axes = axes_or_new(ax, _SIZE)
    collapses = []
    for of_rank in zip(*(summary.ranks for summary in summaries), strict=True):
        rates = [np.nan if r.acceptance_rate is None else r.acceptance_rate for r in of_rank]
        collapses += [(i, rates[i]) for i, r in enumerate(of_rank) if r.collapsed]
        if not np.isnan(rates).all():
            rank = of_rank[0].rank
            axes.plot(rates, marker=".", color=_rank_color(rank), label=f"rank {rank}")
    if collapses:
        label = "collapsed: all or nothing accepted"
        axes.scatter(*zip(*collapses, strict=True), **_COLLAPSED, label=label)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("accepted share of the proposed cells")
    _count_in_integers(axes.xaxis)
    axes.grid(alpha=0.3)
    _explain(axes, "nothing was proposed")
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
        The axes, with one stack of bars for each size: the given cells of each rank, the
        accepted ones and those that the complex kept without accepting them.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    axes = axes_or_new(ax, _SIZE)
    groups = cell_groups(as_lifted(complex_))
    sizes = [np.array([len(cell) for cell in group.cells]) for group in groups]
    extent = np.concatenate(sizes) if sizes else np.ones(1)
    _stack(axes, groups, sizes, np.arange(extent.min() - 0.5, extent.max() + 1))
    axes.set_xlabel("vertices of a cell")
    _count_in_integers(axes.xaxis)
    _explain(axes, "no cell")
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
        The axes, with a stacked histogram: the accepted cells of each rank, and those that
        the complex kept without accepting them. Cells that nobody decided on do not count.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    axes = axes_or_new(ax, _SIZE)
    groups = [group for group in cell_groups(as_lifted(complex_)) if group.kind != "given"]
    _stack(axes, groups, [group.prob for group in groups], np.linspace(0, 1, _BINS + 1))
    axes.set_xlim(0, 1)
    axes.set_xlabel("acceptance probability")
    _explain(axes, "no cell that a lifting decided on")
    return axes


def _stack(
    axes: Axes,
    groups: Sequence[CellGroup],
    values: Sequence[NDArray[Any]],
    edges: NDArray[np.float64],
) -> None:
    """Stack the histograms of all ranks and kinds."""
    joined: dict[tuple[int, str], NDArray[np.int64]] = {}
    for group, of_group in zip(groups, values, strict=True):
        key, heights = (group.rank, group.kind), np.histogram(of_group, edges)[0]
        joined[key] = joined.get(key, 0) + heights
    bottom = np.zeros(len(edges) - 1)
    for (rank, kind), heights in joined.items():
        color, width = _rank_color(rank), 0.9 * np.diff(edges)
        style = {"color": color, "edgecolor": color, **_STYLES[kind]}
        centres, label = (edges[:-1] + edges[1:]) / 2, f"rank {rank}, {kind}"
        axes.bar(centres, heights, width, bottom, label=label, **style)
        bottom += heights
    axes.set_ylim(0, 1.08 * max(bottom.max(), 1))
    axes.set_ylabel("number of cells")
    _count_in_integers(axes.yaxis)


def _count_in_integers(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _rank_color(rank: int) -> str:
    return CLASS_COLORS[(rank - 1) % len(CLASS_COLORS)]


def _explain(axes: Axes, nothing: str) -> None:
    """Add a legend, or say why there is none."""
    n_entries = len(axes.get_legend_handles_labels()[0])
    if n_entries:
        # Above, where it covers nothing; where there are many, one column for each rank.
        columns = 3 if n_entries <= 3 else 2
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, ncols=columns)
    else:
        axes.text(0.5, 0.5, nothing, ha="center", va="center", transform=axes.transAxes)
