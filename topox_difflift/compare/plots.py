"""Charts of a comparison."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from topox_difflift.compare.report import comparison_of
from topox_difflift.compare.text import units
from topox_difflift.plotting import new_figure
from topox_difflift.plotting.figures import CLASS_COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from topox_difflift.compare.report import Report, Row
    from topox_difflift.compare.verdicts import Verdict

__all__ = ["plot_differences", "plot_probability_counts", "plot_scores", "plot_verdicts"]


def plot_scores(report: Report) -> Figure:
    """
    Plot the mean of each arm, with its standard deviation.

    Parameters
    ----------
    report : Report
        The table.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each dataset, network, encoder and settings.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the report is empty.
    """
    figure, panels = _panels(list(report.rows))
    for axes, rows in panels:
        for place, row in enumerate(rows):
            axes.errorbar(row.mean, place, xerr=row.std, fmt="o", color=CLASS_COLORS[0], capsize=3)
        axes.set_xlabel(f"test {rows[0].metric}, mean ± sd")
    return figure


def plot_differences(report: Report) -> Figure:
    """
    Plot the difference of each arm to the baseline, with its confidence interval.

    Parameters
    ----------
    report : Report
        The table, with a baseline.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each dataset, network, encoder and settings.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the report has no differences.
    """
    figure, panels = _panels([row for row in report.rows if row.difference is not None])
    for axes, rows in panels:
        axes.axvline(0, color="black", linewidth=0.8)
        for place, row in enumerate(rows):
            found = row.difference
            assert found is not None  # noqa: S101 -- selected above, for the type checker
            reach = None if found.high is None else found.high - found.mean
            axes.errorbar(found.mean, place, xerr=reach, fmt="o", color=CLASS_COLORS[0], capsize=3)
        axes.set_xlabel(f"{rows[0].metric} minus {report.baseline}, 95 % interval")
    return figure


def plot_verdicts(verdicts: Sequence[Verdict]) -> Figure:
    """
    Plot what learning the lifting gains over the best static one.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one; a line each.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each metric, with mean and interval of each difference; right of zero the
        learned lifting is better, whatever the metric, and what is significant is filled.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there is none.
    """
    if not verdicts:
        raise ValueError("Expected 'verdicts' to hold at least one (got none); record more runs")
    metrics = {one.comparison.metric: None for one in verdicts}
    groups = [[one for one in verdicts if one.comparison.metric == name] for name in metrics]
    figure, axes = new_figure((7, sum(0.9 + 0.28 * len(group) for group in groups)))
    axes.remove()
    ratios = [3 + len(group) for group in groups]
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for panel, metric, group in zip(panels, metrics, groups, strict=True):
        panel.axvline(0, color="black", linewidth=0.8)
        for place, one in enumerate(group):
            _plot_gain(panel, place, one)
        names = [", ".join((*one.comparison.title[:3], one.static)) for one in group]
        panel.set_yticks(range(len(group)), names, fontsize="small")
        panel.set_ylim(len(group) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
        unit = "points" if units(metric)[0] == 100 else "lower error"
        panel.set_xlabel(f"{metric}: gain over the best static lifting, {unit}, 95 % interval")
    return figure


def _plot_gain(axes: Axes, place: int, verdict: Verdict) -> None:
    sign, found = verdict.comparison.sign, verdict.difference
    scale = units(verdict.comparison.metric)[0]
    reach = None if found.high is None else scale * (found.high - found.mean)
    color = CLASS_COLORS[0] if verdict.better else CLASS_COLORS[5] if verdict.worse else "grey"
    fill = color if verdict.better or verdict.worse else "white"
    axes.errorbar(
        sign * scale * found.mean,
        place,
        xerr=reach,
        fmt="o",
        color=color,
        markerfacecolor=fill,
        capsize=3,
    )


def plot_probability_counts(counts: Sequence[int]) -> Figure:
    """
    Plot how sure a lifting is.

    Parameters
    ----------
    counts : sequence of int
        How many acceptance probabilities lie in each of as many equal intervals from 0 to 1.

    Returns
    -------
    matplotlib.figure.Figure
        Their shares; two peaks at the ends are a lifting that has decided.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If nothing was counted.
    """
    if not sum(counts):
        raise ValueError("Expected 'counts' to count something (got none); record more runs")
    figure, axes = new_figure((5, 2.5))
    n = len(counts)
    shares = [count / sum(counts) for count in counts]
    axes.bar([(i + 0.5) / n for i in range(n)], shares, 0.9 / n, color=CLASS_COLORS[0])
    axes.set_xlim(0, 1)
    axes.set_xlabel("acceptance probability")
    axes.set_ylabel("share of candidates")
    return figure


def _panels(rows: list[Row]) -> tuple[Figure, list[tuple[Axes, list[Row]]]]:
    """Make a panel for each comparison, with a line for each arm."""
    groups = [list(group) for _, group in groupby(rows, comparison_of)]
    if not groups:
        raise ValueError("Expected 'report' to have rows to plot (got none); choose a baseline")
    height = sum(0.9 + 0.3 * len(group) for group in groups)
    # Names of arms that change several options are long; the panels keep their width.
    longest = max(len(row.arm) for row in rows)
    figure, axes = new_figure((max(6.5, 3.5 + 0.075 * longest), height))
    axes.remove()
    ratios = [3 + len(group) for group in groups]
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
    several = len({group[0].settings for group in groups}) > 1
    for panel, group in zip(panels, groups, strict=True):
        first = group[0]
        title = f"{first.dataset}, {first.tnn}, {first.encoder}"
        panel.set_title(f"{title}\n{first.settings}" if several else title, fontsize="small")
        panel.set_yticks(range(len(group)), [row.arm for row in group])
        panel.set_ylim(len(group) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
    return figure, list(zip(panels, groups, strict=True))
