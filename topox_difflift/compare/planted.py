"""How well planted cells are found, in scores, probabilities and candidates."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from topox_difflift.compare.comparisons import LEARNED, STATIC, kind_of
from topox_difflift.compare.text import (
    NOTHING,
    arm_scores,
    heads,
    mean_text,
    reached,
    score_text,
)
from topox_difflift.compare.verdicts import CONTROLS, best_static, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topox_difflift.compare.comparisons import Comparison
    from topox_difflift.compare.text import Columns

__all__ = [
    "gap_closed",
    "planted_statements",
    "planted_table",
    "recovered",
    "recovery_table",
]

_COLUMNS = {
    "auroc": "AUROC",
    "candidate_recall": "planted among the candidates",
    "accepted_recall": "planted among the accepted",
    "purity": "accepted that are planted",
}
#: Share of the gap, and area under the curve, that are to be reached.
_GAP, _AUROC = 0.9, 0.95
#: What the true cells have to get, and what is too much for those who do not know them.
_TRUTH, _OTHERS = 0.95, 0.7


def gap_closed(comparison: Comparison, arm: str = LEARNED) -> float | None:
    """
    Share of the way from no lifting to the true cells.

    Parameters
    ----------
    comparison : Comparison
        Runs on planted cells.
    arm : str, optional
        Whose way.

    Returns
    -------
    float, optional
        Of the mean test metrics over the seeds and folds that the arm shares with "none" and
        "oracle"; None if there are none, or the true cells do not help.
    """
    keys = comparison.shared(arm, "none", "oracle")
    if not keys:
        return None
    nothing, truth, found = (
        comparison.sign * fmean(comparison.values(name, "test", keys))
        for name in ("none", "oracle", arm)
    )
    return (found - nothing) / (truth - nothing) if truth > nothing else None


def recovered(comparison: Comparison, arm: str, name: str) -> list[float]:
    """
    Collect how well an arm recovers the planted cells.

    Parameters
    ----------
    comparison : Comparison
        Runs on planted cells.
    arm : str
        Whose.
    name : {"auroc", "candidate_recall", "accepted_recall", "purity"}
        Which measure, see `topox_difflift.recovery`.

    Returns
    -------
    list of float
        One for each run for which it is defined.
    """
    measured = comparison.values(arm, "recovery")
    return [one[name] for one in measured if one[name] is not None]


def planted_table(found: Sequence[Comparison]) -> Columns:
    """
    Say how well planted cells are found.

    Parameters
    ----------
    found : sequence of Comparison
        Comparisons on planted cells, a row each.

    Returns
    -------
    dict of str to list of str
        Column by column: scores, the share of the gap that ∂lift closes, and how well its
        probabilities and its candidates recover the planted cells. Comparisons of other forms of
        ∂lift alone, which `recovery_table` lists, have none.
    """
    gnn, *controls = CONTROLS
    shown = {gnn, *STATIC, *controls, LEARNED, "oracle"}
    found = [one for one in found if shown & one.arms.keys()]
    columns = heads(found)
    columns |= {name_of(arm): arm_scores(found, arm) for arm in (gnn, "none")}
    columns["best static"] = [_best(one) for one in found]
    columns |= {name_of(arm): arm_scores(found, arm) for arm in (*controls, LEARNED, "oracle")}
    return columns | _recovery([(one, LEARNED) for one in found])


def recovery_table(found: Sequence[Comparison]) -> Columns:
    """
    Say how well planted cells are found by each form of ∂lift.

    Parameters
    ----------
    found : sequence of Comparison
        Comparisons on planted cells.

    Returns
    -------
    dict of str to list of str
        A row for each comparison and each arm that learns what to accept: its score, the share of
        the gap that it closes, and how well it recovers the planted cells.
    """
    rows = [(one, arm) for one in found for arm in _learned(one)]
    columns = heads([one for one, _ in rows])
    columns["arm"] = [f"`{arm}`" for _, arm in rows]
    columns["score"] = [score_text(one.values(arm, "test"), one.metric) for one, arm in rows]
    return columns | _recovery(rows)


def _learned(comparison: Comparison) -> list[str]:
    """Arms that learn what to accept, the default first."""
    others = [arm for arm in comparison.arms if kind_of(arm) == "difflift" and arm != LEARNED]
    return [LEARNED, *others] if LEARNED in comparison.arms else others


def _recovery(rows: Sequence[tuple[Comparison, str]]) -> Columns:
    """Share of the gap that arms close, and how well they recover the planted cells."""
    gaps = [gap_closed(one, arm) for one, arm in rows]
    columns = {"gap closed": [NOTHING if gap is None else f"{gap:.0%}" for gap in gaps]}
    for name, title in _COLUMNS.items():
        columns[title] = [mean_text(recovered(one, arm, name)) for one, arm in rows]
    return columns


def planted_statements(found: Sequence[Comparison]) -> list[str]:
    """
    Say whether planted cells are found, and whether the tasks are what they should be.

    Parameters
    ----------
    found : sequence of Comparison
        Comparisons on planted cells.

    Returns
    -------
    list of str
        Sentences, for each comparison that has the runs for them.
    """
    said = []
    for one in found:
        where, gap = ", ".join(one.title[:3]), gap_closed(one)
        if epochs := one.settings.get("max_epochs"):
            where += f", {epochs} epochs"
        areas = recovered(one, LEARNED, "auroc")
        if gap is not None:
            done = reached(gap >= _GAP)
            said.append(f"{where}: ∂lift closes {gap:.0%} of the gap. Mark, {_GAP:.0%}: {done}.")
        if areas:
            done = reached(fmean(areas) >= _AUROC)
            said.append(f"{where}: AUROC {fmean(areas):.2f}. Mark, {_AUROC}: {done}.")
        said += [text for arm in _learned(one) if (text := _both(one, arm, where))]
        said += _fitness(one, where)
    return said or ["There is no run on planted cells yet."]


def _both(comparison: Comparison, arm: str, where: str) -> str | None:
    """Say it of another form of ∂lift than the default where both marks are reached."""
    gap, areas = gap_closed(comparison, arm), recovered(comparison, arm, "auroc")
    if arm == LEARNED or gap is None or not areas or gap < _GAP or fmean(areas) < _AUROC:
        return None
    return f"{where}: `{arm}` closes {gap:.0%} of the gap, AUROC {fmean(areas):.2f}: both reached."


def _best(comparison: Comparison) -> str:
    static = best_static(comparison)
    if static is None:
        return NOTHING
    return f"{static} {score_text(comparison.values(static, 'test'), comparison.metric)}"


def _fitness(comparison: Comparison, where: str) -> list[str]:
    """Say whether the true cells solve the task, and who does not know them does not."""
    ignorant = [arm for arm in comparison.arms if kind_of(arm) in ("gnn", *STATIC)]
    if not ignorant or "oracle" not in comparison.arms:
        return []
    truth = fmean(comparison.values("oracle", "test"))
    best = max(fmean(comparison.values(arm, "test")) for arm in ignorant)
    said = (
        f"{where}: the true cells get {truth:.1%} (wanted: at least {_TRUTH:.0%}), the plain GNN "
        f"and static liftings at most {best:.1%} (wanted: at most {_OTHERS:.0%})."
    )
    return [said]
