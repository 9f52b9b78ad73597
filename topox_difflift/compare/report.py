"""What the runs of a comparison say: means, spreads, and paired differences."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from topox_difflift.checks import check_one_of
from topox_difflift.compare.comparisons import comparisons, last_lines
from topox_difflift.compare.paired import difference_between
from topox_difflift.compare.text import markdown_table
from topox_difflift.config import ended_untrained

if TYPE_CHECKING:
    from collections.abc import Iterable

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.paired import Difference

__all__ = ["Report", "Row", "acceptance_of", "comparison_of", "untrained"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """
    The runs of one arm in one comparison.

    Attributes
    ----------
    dataset, tnn, encoder, arm : str
        What they have in common.
    settings : str
        Everything else that they have in common, such as the number of epochs.
    metric : str
        What is measured on the test set.
    higher_is_better : bool
        Which way.
    mean, std : float
        Mean and standard deviation (of n - 1 degrees of freedom; None for one run).
    n_runs : int
        Number of runs.
    acceptance_rate : float, optional
        Mean share of the candidates of the test set that was accepted.
    n_collapsed : int
        Runs whose lifting accepted nothing or everything of the test set at some rank.
    n_untrained : int
        Runs that patience ended before any epoch validated better than the first.
    seconds : float
        Median time of a run.
    difference : Difference, optional
        To the baseline.
    """

    dataset: str
    tnn: str
    encoder: str
    arm: str
    settings: str
    metric: str
    higher_is_better: bool
    mean: float
    std: float | None
    n_runs: int
    acceptance_rate: float | None
    n_collapsed: int
    n_untrained: int
    seconds: float
    difference: Difference | None

    @property
    def score(self) -> str:
        """Mean and spread, for reading."""
        return f"{self.mean:.3f}" + ("" if self.std is None else f" ± {self.std:.3f}")

    @property
    def gain(self) -> str:
        """Difference with its interval, and of how many pairs if not of all runs."""
        found = self.difference
        if found is None:
            return ""
        text = f"{found.mean:+.3f}"
        if found.low is not None and found.high is not None:
            text += f" [{found.low:+.3f}, {found.high:+.3f}]"
        return text if found.n_pairs == self.n_runs else f"{text} of {found.n_pairs}"


@dataclass(frozen=True)
class Report:
    """
    The table of a comparison.

    Attributes
    ----------
    rows : tuple of Row
        One for each dataset, network, encoder, arm and settings.
    baseline : str, optional
        Arm that the others are compared with.
    failed : tuple of dict
        Lines of runs that failed.
    """

    rows: tuple[Row, ...]
    baseline: str | None
    failed: tuple[Record, ...]

    @classmethod
    def of(cls, records: Iterable[Record], baseline: str | None = None) -> Report:
        """
        Summarise the lines of a file of results.

        Parameters
        ----------
        records : iterable of dict
            The lines; of several with one identity the last counts.
        baseline : str, optional
            Arm to compare the others with, run by run: those of the same dataset, network,
            encoder, settings, seed and fold are pairs.

        Returns
        -------
        Report
            The table. A plain GNN ("gnn") stands beside the arms of every network.

        Raises
        ------
        ValueError
            If there is no run of the baseline.
        """
        records = list(records)
        found = comparisons(records)
        if baseline is not None:
            arms = tuple(dict.fromkeys(arm for comparison in found for arm in comparison.arms))
            check_one_of("baseline", baseline, arms, ", of which there are runs")
        rows = [_row(comparison, arm, baseline) for comparison in found for arm in comparison.arms]
        return cls(tuple(rows), baseline, tuple(last_lines(records, "failed")))

    @property
    def tables(self) -> dict[str, dict[str, list[str]]]:
        """What there is to read: a table, column by column, for each comparison by its title."""
        return {
            f"{dataset}, {tnn}, {encoder} encoder ({settings})": self._columns(list(rows))
            for (dataset, tnn, encoder, settings), rows in groupby(self.rows, comparison_of)
        }

    def _columns(self, rows: list[Row]) -> dict[str, list[str]]:
        arrow = "↑" if rows[0].higher_is_better else "↓"
        columns = {
            "arm": [row.arm for row in rows],
            f"{rows[0].metric} {arrow}": [row.score for row in rows],
            "runs": [str(row.n_runs) for row in rows],
            f"minus {self.baseline} [95 %]": [row.gain for row in rows],
            "accepted": [
                "" if row.acceptance_rate is None else f"{row.acceptance_rate:.1%}" for row in rows
            ],
            "collapsed": [str(row.n_collapsed) if row.n_collapsed else "" for row in rows],
            "untrained": [str(row.n_untrained) if row.n_untrained else "" for row in rows],
            "s a run": [f"{row.seconds:.1f}" for row in rows],
        }
        if self.baseline is None:
            del columns[f"minus {self.baseline} [95 %]"]
        if not any(columns["untrained"]):
            del columns["untrained"]
        return columns

    def markdown(self) -> str:
        """
        Write the table down.

        Returns
        -------
        str
            Markdown.
        """
        text = ""
        for title, columns in self.tables.items():
            text += f"**{title}**\n\n{markdown_table(columns)}\n"
        notes = ["Test metric of the epoch that validated best: mean ± standard deviation."]
        if self.baseline is not None:
            notes.append(
                f"Differences to {self.baseline} are means over pairs of runs of the same seed "
                "and fold, with the 95 % interval of Student's t; for splits of one dataset it is "
                "that of the corrected resampled t-test (Nadeau and Bengio 2003)."
            )
        if any(row.n_untrained for row in self.rows):
            notes.append(
                "Untrained are runs that patience ended before any epoch validated better than the "
                "first; with a longer --patience they may begin to learn."
            )
        if self.failed:
            notes.append(f"Runs that failed and are not in the table: {len(self.failed)}.")
        return text + "\n".join(notes) + "\n"

    def json(self) -> str:
        """
        Write the figures down.

        Returns
        -------
        str
            JSON.
        """
        rows = [asdict(row) for row in self.rows]
        content = {"baseline": self.baseline, "rows": rows, "n_failed": len(self.failed)}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def comparison_of(row: Row) -> tuple[str, str, str, str]:
    """
    Say what the arms that a row is compared with have in common.

    Parameters
    ----------
    row : Row
        The row.

    Returns
    -------
    tuple of str
        Dataset, network, encoder and settings.
    """
    return row.dataset, row.tnn, row.encoder, row.settings


def _row(comparison: Comparison, arm: str, baseline: str | None) -> Row:
    dataset, tnn, encoder, settings = comparison.title
    runs = list(comparison.arms[arm].values())
    scores = comparison.values(arm, "test")
    rates = [rate for run in runs if (rate := acceptance_of(run)) is not None]
    return Row(
        dataset=dataset,
        tnn=tnn,
        encoder=encoder,
        arm=arm,
        settings=settings,
        metric=comparison.metric,
        higher_is_better=comparison.sign > 0,
        mean=fmean(scores),
        std=stdev(scores) if len(scores) > 1 else None,
        n_runs=len(scores),
        acceptance_rate=fmean(rates) if rates else None,
        n_collapsed=sum(comparison.values(arm, "collapsed")),
        n_untrained=sum(map(untrained, runs)),
        seconds=median(comparison.values(arm, "seconds")),
        difference=(
            None
            if baseline is None or arm == baseline
            else difference_between(comparison, arm, baseline)
        ),
    )


def untrained(run: Record) -> bool:
    """
    Whether patience ended a run before any epoch validated better than the first.

    Parameters
    ----------
    run : dict
        The line of a run.

    Returns
    -------
    bool
        Whether it did, see `ended_untrained`.
    """
    names = ("config", "best_epoch", "epochs", "val", "higher_is_better")
    return ended_untrained(*(run[name] for name in names))


def acceptance_of(run: Record) -> float | None:
    """
    Share of the candidates of all ranks that was accepted on the test set.

    Parameters
    ----------
    run : dict
        The line of a run.

    Returns
    -------
    float, optional
        None if nothing was proposed.
    """
    ranks = run["lifting"].values()
    candidates = sum(rank["candidates"] for rank in ranks)
    return sum(rank["accepted"] for rank in ranks) / candidates if candidates else None
