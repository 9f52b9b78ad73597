"""What the runs of a comparison say: means, spreads, and paired differences."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from topox_difflift.checks import check_one_of
from topox_difflift.compare.grid import ARMS, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Difference", "Report", "Row", "comparison_of", "paired_difference"]

Record = dict[str, Any]
#: What differs between the arms, the datasets or the repetitions of one comparison.
_VARIES = {
    *("dataset", "domain", "tnn", "lifting", "encoder", "estimator", "options", "rate"),
    *("seed", "fold"),
}


@dataclass(frozen=True)
class Difference:
    """
    How much better an arm is than another one, over the runs that both have.

    Attributes
    ----------
    mean : float
        Mean of the differences, arm minus baseline.
    low, high : float, optional
        Confidence interval; None with fewer than two pairs.
    p_value : float, optional
        Of the two-sided test that the mean is zero; None with fewer than two pairs, or where
        all differences are equal.
    n_pairs : int
        Number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    n_pairs: int


def paired_difference(differences: Sequence[float], confidence: float = 0.95) -> Difference:
    """
    Estimate a mean difference by Student's t.

    Parameters
    ----------
    differences : sequence of float
        One for each pair, at least one.
    confidence : float, default=0.95
        Level of the interval.

    Returns
    -------
    Difference
        With n differences of mean m and standard deviation s (of n - 1 degrees of freedom), the
        interval m ± t s / √n, where t is the (1 + confidence) / 2 quantile of Student's
        distribution with n - 1 degrees of freedom.

    Notes
    -----
    It takes the pairs for independent. The rounds of a cross-validation share most of their
    training sets, so that the interval is somewhat too narrow for them.
    """
    from scipy.stats import t

    n, mean = len(differences), fmean(differences)
    if n < 2:
        return Difference(mean, None, None, None, n)
    error = stdev(differences) / math.sqrt(n)
    reach = float(t.ppf((1 + confidence) / 2, n - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, n - 1)) if error > 0 else None
    return Difference(mean, mean - reach, mean + reach, p_value, n)


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
        last = list({record["id"]: record for record in records}.values())
        done = [record for record in last if record["status"] == "done"]
        arms = tuple(dict.fromkeys(record["arm"] for record in done))
        if baseline is not None:
            check_one_of("baseline", baseline, arms, ", of which there are runs")
        groups: dict[tuple[str, ...], dict[str, list[Record]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for record in done:
            for key in _groups(record, done):
                groups[key][record["arm"]].append(record)
        rows = [
            _row(key, arm, runs, None if arm == baseline else of_key.get(baseline or ""))
            for key, of_key in sorted(groups.items())
            for arm, runs in sorted(of_key.items(), key=lambda item: _place(item[0]))
        ]
        failed = tuple(record for record in last if record["status"] == "failed")
        return cls(tuple(rows), baseline, failed)

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
            "s a run": [f"{row.seconds:.1f}" for row in rows],
        }
        if self.baseline is None:
            del columns[f"minus {self.baseline} [95 %]"]
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
            lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
            table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
            text += f"**{title}**\n\n{table}\n"
        notes = ["Test metric of the epoch that validated best: mean ± standard deviation."]
        if self.baseline is not None:
            notes.append(
                f"Differences to {self.baseline} are means over pairs of runs of the same seed "
                "and fold, with the 95 % interval m ± t s / √n of Student's t with n - 1 degrees "
                "of freedom. Pairs are taken for independent; the rounds of a cross-validation "
                "are not quite."
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


def _place(arm: str) -> tuple[int, str]:
    """Order arms as `ARMS` does; those of a later version come last."""
    kind = kind_of(arm)
    return ARMS.index(kind) if kind in ARMS else len(ARMS), arm


def _groups(record: Record, records: list[Record]) -> list[tuple[str, ...]]:
    """List the comparisons that a run belongs to: one, and a plain GNN to those of all networks."""
    tnns = [record["tnn"]]
    if record["arm"] == "gnn":
        tnns = (
            list(
                dict.fromkeys(
                    other["tnn"]
                    for other in records
                    if other["arm"] != "gnn" and _shared(other) == _shared(record)
                )
            )
            or tnns
        )
    dataset, encoder, settings = _shared(record)
    return [(dataset, tnn, encoder, settings) for tnn in tnns]


def _shared(record: Record) -> tuple[str, str, str]:
    common = {k: v for k, v in record["config"].items() if k not in _VARIES and v is not None}
    parts = [f"{name} {value}" for name, value in sorted(common.items())]
    parts.append(f"version {record['version']}")
    return record["dataset"], record["encoder"], ", ".join(parts)


def _row(key: tuple[str, ...], arm: str, runs: list[Record], baseline: list[Record] | None) -> Row:
    dataset, tnn, encoder, settings = key
    scores = [run["test"] for run in runs]
    rates = [rate for run in runs if (rate := _acceptance(run)) is not None]
    return Row(
        dataset=dataset,
        tnn=tnn,
        encoder=encoder,
        arm=arm,
        settings=settings,
        metric=runs[0]["metric"],
        higher_is_better=runs[0]["higher_is_better"],
        mean=fmean(scores),
        std=stdev(scores) if len(scores) > 1 else None,
        n_runs=len(scores),
        acceptance_rate=fmean(rates) if rates else None,
        n_collapsed=sum(bool(run["collapsed"]) for run in runs),
        seconds=median(run["seconds"] for run in runs),
        difference=None if baseline is None else _difference(runs, baseline),
    )


def _difference(runs: list[Record], baseline: list[Record]) -> Difference | None:
    theirs = {(run["seed"], run["fold"]): run["test"] for run in baseline}
    pairs = [((run["seed"], run["fold"]), run["test"]) for run in runs]
    differences = [score - theirs[key] for key, score in pairs if key in theirs]
    return paired_difference(differences) if differences else None


def _acceptance(run: Record) -> float | None:
    """Share of the candidates of all ranks that was accepted on the test set."""
    ranks = run["lifting"].values()
    candidates = sum(rank["candidates"] for rank in ranks)
    return sum(rank["accepted"] for rank in ranks) / candidates if candidates else None
