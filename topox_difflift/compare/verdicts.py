"""Whether learning the lifting paid: against the best static one, and against controls."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from topox_difflift.compare.comparisons import LEARNED, STATIC, kind_of
from topox_difflift.compare.paired import difference_between
from topox_difflift.compare.text import NOTHING, arm_scores, difference_text, heads, reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.paired import Difference
    from topox_difflift.compare.text import Columns

__all__ = [
    "CONTROLS",
    "Verdict",
    "arms_table",
    "best_static",
    "judge",
    "name_of",
    "verdict_statements",
    "verdict_table",
]

#: Arms that say what else than learning the cells it could have been.
CONTROLS = ("gnn", "accept_all", f"random/{LEARNED.partition('/')[2]}")

#: What two scores that are equal may differ by, having been added up.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """
    A learned lifting against the best static one.

    Attributes
    ----------
    comparison : Comparison
        The runs.
    static : str
        The best static arm, see `best_static`.
    difference : Difference
        Of the test metric, learned minus static.
    """

    comparison: Comparison
    static: str
    difference: Difference

    @property
    def at_least(self) -> bool:
        """Whether the learned lifting is as good, or better, in the mean."""
        return self.comparison.sign * self.difference.mean >= -_NOTHING

    @property
    def better(self) -> bool:
        """Whether it is better, and the whole interval says so."""
        return self._beyond(self.comparison.sign)

    @property
    def worse(self) -> bool:
        """Whether it is worse, and the whole interval says so."""
        return self._beyond(-self.comparison.sign)

    def _beyond(self, sign: int) -> bool:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return False
        return min(sign * low, sign * high) > _NOTHING

    def __str__(self) -> str:
        if self.better:
            return "better"
        if self.worse:
            return "worse"
        return "no difference shown"


def best_static(comparison: Comparison, learned: str = LEARNED) -> str | None:
    """
    Choose a static lifting as one would who does not know the test set.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    learned : str, optional
        The arm that it is to be compared with.

    Returns
    -------
    str, optional
        Of the static arms the one with the best validation metric, in the mean over the seeds and
        folds that all of them share with `learned`; None if there are none.
    """
    static = [arm for arm in comparison.arms if kind_of(arm) in STATIC]
    keys = comparison.shared(learned, *static)
    if not static or not keys:
        return None
    return max(static, key=lambda arm: comparison.sign * fmean(comparison.values(arm, "val", keys)))


def judge(comparison: Comparison, learned: str = LEARNED) -> Verdict | None:
    """
    Compare a learned lifting with the best static one.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    learned : str, optional
        Which learned lifting.

    Returns
    -------
    Verdict, optional
        None where runs that could be compared are missing.
    """
    static = best_static(comparison, learned)
    if static is None:
        return None
    difference = difference_between(comparison, learned, static)
    assert difference is not None  # noqa: S101 -- chosen on shared runs, for the type checker
    return Verdict(comparison, static, difference)


def arms_table(found: Sequence[Comparison]) -> Columns:
    """
    List the scores of all arms but ablations.

    Parameters
    ----------
    found : sequence of Comparison
        The comparisons, a row each.

    Returns
    -------
    dict of str to list of str
        Column by column: scores as mean ± standard deviation (runs).
    """
    gnn, *controls = CONTROLS
    arms = [a for a in (gnn, *STATIC, *controls, LEARNED) if any(a in one.arms for one in found)]
    columns = heads(found) | {"metric": [_metric(one) for one in found]}
    columns["protocol"] = [str(one.settings.get("protocol", NOTHING)) for one in found]
    return columns | {name_of(arm): arm_scores(found, arm) for arm in arms}


def verdict_table(verdicts: Sequence[Verdict]) -> Columns:
    """
    Set ∂lift against the best static arm, and against the controls.

    Parameters
    ----------
    verdicts : sequence of Verdict
        A row each.

    Returns
    -------
    dict of str to list of str
        Column by column: differences with their 95 % interval (pairs of runs).
    """
    found = [one.comparison for one in verdicts]
    columns = heads(found) | {"metric": [_metric(one) for one in found]}
    columns["best static"] = [one.static for one in verdicts]
    columns["∂lift - best static"] = [
        difference_text(one.difference, one.comparison.metric) for one in verdicts
    ]
    columns["∂lift is"] = [str(one) for one in verdicts]
    columns["pairs differ in"] = [one.difference.over for one in verdicts]
    for arm in CONTROLS:
        columns[f"∂lift - {name_of(arm)}"] = [
            difference_text(difference_between(one, LEARNED, arm), one.metric) for one in found
        ]
    return columns


def verdict_statements(verdicts: Sequence[Verdict]) -> list[str]:
    """
    Say how often learning the lifting pays.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One for each pair of a network and a dataset.

    Returns
    -------
    list of str
        Sentences, those of each encoder by themselves.
    """
    said = []
    for encoder in sorted({one.comparison.encoder for one in verdicts}):
        said += _statements(encoder, [v for v in verdicts if v.comparison.encoder == encoder])
    return said or ["There is no pair of ∂lift and a static lifting yet."]


def _statements(encoder: str, verdicts: Sequence[Verdict]) -> list[str]:
    n = len(verdicts)
    counts = {
        ("at least as good as", 0.9): sum(one.at_least for one in verdicts),
        ("significantly better than", 0.5): sum(one.better for one in verdicts),
    }
    said = [
        f"Encoder {encoder}: ∂lift is {what} the best static arm in {count} of {n} pairs of "
        f"network and dataset, {count / n:.0%}. Goal, {goal:.0%}: {reached(count >= goal * n)}."
        for (what, goal), count in counts.items()
    ]
    worse = sum(one.worse for one in verdicts)
    said.append(f"Encoder {encoder}: it is significantly worse in {worse} of {n}.")
    if alone := sum(one.difference.low is None for one in verdicts):
        said.append(
            f"Encoder {encoder}: {alone} of {n} have one run of each arm alone, and no interval."
        )
    return said


def name_of(arm: str) -> str:
    """
    Call the learned lifting by its name, and other arms by their kind.

    Parameters
    ----------
    arm : str
        The arm.

    Returns
    -------
    str
        For the head of a column.
    """
    return "∂lift" if arm == LEARNED else kind_of(arm)


def _metric(comparison: Comparison) -> str:
    return f"{comparison.metric} {'↑' if comparison.sign > 0 else '↓'}"
