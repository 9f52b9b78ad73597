"""Figures and tables for reading."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.paired import Difference

__all__ = [
    "NOTHING",
    "Columns",
    "arm_scores",
    "difference_text",
    "heads",
    "markdown_table",
    "mean_text",
    "reached",
    "score_text",
    "units",
]

#: A table, column by column.
Columns = dict[str, list[str]]
#: What stands where there is no run.
NOTHING = "-"


def markdown_table(columns: Mapping[str, Sequence[str]]) -> str:
    """
    Write a table down.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Column by column.

    Returns
    -------
    str
        Markdown.
    """
    lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def score_text(scores: Sequence[float], metric: str) -> str:
    """
    Write the scores of runs down.

    Parameters
    ----------
    scores : sequence of float
        One for each run.
    metric : {"accuracy", "ROC-AUC", "MAE"}
        What they are.

    Returns
    -------
    str
        Mean ± standard deviation, of accuracies and areas in percent, and the number of runs in
        brackets.
    """
    if not scores:
        return NOTHING
    scale, digits = units(metric)
    spread = f" ± {scale * stdev(scores):.{digits}f}" if len(scores) > 1 else ""
    return f"{scale * fmean(scores):.{digits}f}{spread} ({len(scores)})"


def difference_text(difference: Difference | None, metric: str) -> str:
    """
    Write a difference down.

    Parameters
    ----------
    difference : Difference, optional
        The difference.
    metric : {"accuracy", "ROC-AUC", "MAE"}
        Of what.

    Returns
    -------
    str
        Mean, of accuracies and areas in points, interval, and number of pairs in brackets.
    """
    if difference is None:
        return NOTHING
    scale, digits = units(metric)
    text = f"{scale * difference.mean:+.{digits}f}"
    if difference.low is not None and difference.high is not None:
        low, high = scale * difference.low, scale * difference.high
        text += f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{text} ({difference.n_pairs})"


def mean_text(values: Sequence[float], form: str = ".2f") -> str:
    """
    Write a mean down.

    Parameters
    ----------
    values : sequence of float
        What it is the mean of.
    form : str, default=".2f"
        How to write it.

    Returns
    -------
    str
        The mean, or a dash.
    """
    return format(fmean(values), form) if values else NOTHING


def units(metric: str) -> tuple[int, int]:
    """
    Say how a figure is written.

    Parameters
    ----------
    metric : {"accuracy", "ROC-AUC", "MAE"}
        What it is.

    Returns
    -------
    tuple of int
        What it is multiplied by, and how many digits follow the point.
    """
    return (1, 3) if metric == "MAE" else (100, 1)


def heads(found: Sequence[Comparison]) -> Columns:
    """
    Begin a table with a row for each comparison.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    dict of str to list of str
        Dataset, network, encoder, and, where these do not tell rows apart, the settings that do.
    """
    columns = {
        "dataset": [one.dataset for one in found],
        "network": [one.tnn for one in found],
        "encoder": [one.encoder for one in found],
    }
    differing = []
    for one in found:
        others = [other.settings for other in found if other.title[:3] == one.title[:3]]
        names = [n for n, v in one.settings.items() if any(o.get(n) != v for o in others)]
        differing.append(", ".join(f"{name} {one.settings[name]}" for name in names))
    return columns | ({"settings": differing} if any(differing) else {})


def arm_scores(found: Sequence[Comparison], arm: str) -> list[str]:
    """
    Write the scores of an arm down.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.
    arm : str
        The arm.

    Returns
    -------
    list of str
        One for each comparison.
    """
    return [score_text(one.values(arm, "test"), one.metric) for one in found]


def reached(yes: bool) -> str:
    """
    Say whether a goal is reached.

    Parameters
    ----------
    yes : bool
        Whether it is.

    Returns
    -------
    str
        The words.
    """
    return "reached" if yes else "not reached"
