"""How learned liftings behave: what each part of them is worth, whether they collapse, the cost."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from topox_difflift.compare.comparisons import LEARNED, STATIC, kind_of, options_of
from topox_difflift.compare.paired import difference_between
from topox_difflift.compare.planted import recovered
from topox_difflift.compare.report import acceptance_of, untrained
from topox_difflift.compare.text import (
    NOTHING,
    difference_text,
    heads,
    mean_text,
    reached,
    score_text,
)
from topox_difflift.compare.verdicts import best_static

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.text import Columns

__all__ = [
    "ablation_table",
    "collapse_statements",
    "diagnostics_table",
    "probability_counts",
    "untrained_statements",
]

Record = dict[str, Any]


def ablation_table(found: Sequence[Comparison]) -> Columns:
    """
    List what changes where cells are chosen in another way than by default.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    dict of str to list of str
        A row for each comparison and each other arm that proposes cells: its score, and what it
        differs by from the nearest ∂lift: the one with most of its options, and no other ones.
    """
    rows = [(one, arm, base) for one in found for arm in one.arms if (base := _base(one, arm))]
    columns = heads([one for one, _, _ in rows])
    columns["arm"] = [f"`{arm}`" for _, arm, _ in rows]
    columns["score"] = [score_text(one.values(arm, "test"), one.metric) for one, arm, _ in rows]
    columns["minus ∂lift"] = [
        difference_text(difference_between(one, arm, base), one.metric) for one, arm, base in rows
    ]
    columns["that with"] = [_departing(base) for _, _, base in rows]
    areas = [recovered(one, arm, "auroc") for one, arm, _ in rows]
    return columns | ({"AUROC": [mean_text(area) for area in areas]} if any(areas) else {})


def _base(comparison: Comparison, arm: str) -> str | None:
    """Find the ∂lift that an arm which proposes cells differs from in the least."""
    if kind_of(arm) in ("gnn", "oracle", *STATIC):
        return None
    options = set(options_of(arm))
    bases = [
        base
        for base in comparison.arms
        if base != arm
        and base.partition("[")[0] == LEARNED
        and options.issuperset(options_of(base))
        and comparison.shared(arm, base)
    ]
    return max(bases, key=lambda base: len(options_of(base)), default=None)


def _departing(arm: str) -> str:
    return f"`{','.join(options_of(arm))}`" if arm != LEARNED else "the defaults"


def diagnostics_table(found: Sequence[Comparison]) -> Columns:
    """
    Say how ∂lift behaved, and what it cost.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    dict of str to list of str
        A row for each one with runs of ∂lift: rate of acceptance on the test set, share of the
        undecided candidates (with a probability from 0.1 to 0.9), runs that collapsed, variance
        of the prediction under resampling, median times of a run and of an epoch.
    """
    found = [one for one in found if LEARNED in one.arms]
    runs = [list(one.arms[LEARNED].values()) for one in found]
    columns = heads(found)
    columns["runs"] = [str(len(of_row)) for of_row in runs]
    columns["accepted"] = [mean_text(_known(map(acceptance_of, r)), ".0%") for r in runs]
    columns["undecided"] = [mean_text(_known(map(_undecided, r)), ".0%") for r in runs]
    columns["collapsed in the test"] = [_count(r, "collapsed") for r in runs]
    columns["in training"] = [_count(r, "collapsed_in_training") for r in runs]
    columns["warned"] = [_count(r, "warnings") for r in runs]
    columns["variance of predictions"] = [
        mean_text(one.values(LEARNED, "prediction_variance"), ".2g") for one in found
    ]
    static = [best_static(one) for one in found]
    columns["s a run"] = [_median(one, LEARNED, "seconds") for one in found]
    columns["s a run, best static"] = [
        _median(one, arm, "seconds") for one, arm in zip(found, static, strict=True)
    ]
    columns["an epoch takes"] = [_slower(one, arm) for one, arm in zip(found, static, strict=True)]
    return columns


def collapse_statements(found: Sequence[Comparison]) -> list[str]:
    """
    Say whether liftings have collapsed.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    list of str
        Sentences about all runs, ablations too, of liftings that learn what to accept.
    """
    runs = [run for one in found for of_arm in one.arms.values() for run in of_arm.values()]
    runs = [run for run in runs if run.get("collapsed_in_training") is not None]
    if not runs:
        return ["There is no run of a lifting that learns what to accept yet."]
    ended = [run for run in runs if run["collapsed_in_training"]]
    tested = [run for run in runs if run["collapsed"]]
    either = [run for run in runs if run["collapsed_in_training"] or run["collapsed"]]
    unnoticed = sum(not run["warnings"] for run in either)
    verdict = reached(not unnoticed)
    all_or_nothing = "accepted nothing or everything of some rank"
    ended_so = f"{len(ended)} of {len(runs)} runs of liftings that learn what to accept"
    return [
        f"{ended_so} {all_or_nothing} when training ended.",
        f"On the test set, where nothing is drawn, {len(tested)} of {len(runs)} {all_or_nothing}.",
        f"Without a warning, of both: {unnoticed}. Goal, none: {verdict}.",
    ]


def untrained_statements(found: Sequence[Comparison]) -> list[str]:
    """
    Say where networks were tested that may not have begun to learn.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    list of str
        A sentence for each in which patience ended a tenth of the runs, of all arms, before any
        epoch validated better than the first.
    """
    said = []
    for one in found:
        runs = [run for of_arm in one.arms.values() for run in of_arm.values()]
        count = sum(map(untrained, runs))
        if count >= len(runs) / 10:
            waiting = ", ".join(f"{n} {one.settings.get(n)}" for n in ("max_epochs", "patience"))
            said.append(
                f"{one.dataset}, {one.tnn}, {one.encoder} ({waiting}): in {count} of {len(runs)} "
                "runs no epoch validated better than the first before patience ended them."
            )
    return said or ["In no comparison did patience end a tenth of the runs after the first epoch."]


def probability_counts(found: Sequence[Comparison]) -> list[int]:
    """
    Count the acceptance probabilities of ∂lift's candidates.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons.

    Returns
    -------
    list of int
        How many of all runs and ranks lie in each of ten intervals from 0 to 1; empty if there
        are none.
    """
    counts = [
        of_rank
        for one in found
        for probabilities in one.values(LEARNED, "probabilities")
        for of_rank in probabilities.values()
    ]
    return [sum(of_bin) for of_bin in zip(*counts, strict=True)]


def _undecided(run: Record) -> float | None:
    counts = [sum(of_bin) for of_bin in zip(*run["probabilities"].values(), strict=True)]
    return sum(counts[1:-1]) / sum(counts) if sum(counts) else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _count(runs: list[Record], name: str) -> str:
    return str(sum(bool(run[name]) for run in runs))


def _median(comparison: Comparison, arm: str | None, name: str) -> str:
    return NOTHING if arm is None else f"{median(comparison.values(arm, name)):.1f}"


def _slower(comparison: Comparison, static: str | None) -> str:
    if static is None:
        return NOTHING
    ours, theirs = (
        median(comparison.values(arm, "seconds_per_epoch")) for arm in (LEARNED, static)
    )
    return f"{ours / theirs:.1f} times as long"
