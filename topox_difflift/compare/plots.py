"""Charts of a comparison."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from topox_difflift.compare.report import comparison_of
from topox_difflift.plotting import new_figure
from topox_difflift.plotting.figures import CLASS_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from topox_difflift.compare.report import Report, Row

__all__ = ["plot_differences", "plot_scores"]


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


def _panels(rows: list[Row]) -> tuple[Figure, list[tuple[Axes, list[Row]]]]:
    """Make a panel for each comparison, with a line for each arm."""
    groups = [list(group) for _, group in groupby(rows, comparison_of)]
    if not groups:
        raise ValueError("Expected 'report' to have rows to plot (got none); choose a baseline")
    height = sum(0.9 + 0.3 * len(group) for group in groups)
    figure, axes = new_figure((6.5, height))
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
