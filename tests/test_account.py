"""What is said of recorded comparisons: chosen on validation, counted and corrected right."""

from __future__ import annotations

import itertools
import math
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
import torch

pytest.importorskip("lightning", reason='needs the extra "train"')
pytest.importorskip("typer", reason='needs the extra "train"')

from topox_difflift.compare import Account, Grid, read_folder
from topox_difflift.compare.behaviour import (
    ablation_table,
    collapse_statements,
    diagnostics_table,
    probability_counts,
    untrained_statements,
)
from topox_difflift.compare.commands import commands_of, files_table
from topox_difflift.compare.comparisons import LEARNED, comparisons, kind_of
from topox_difflift.compare.paired import difference_between, paired_difference
from topox_difflift.compare.paper import PAPER, paper_statements, paper_table
from topox_difflift.compare.planted import (
    gap_closed,
    planted_statements,
    planted_table,
    recovery_table,
)
from topox_difflift.compare.text import markdown_table
from topox_difflift.compare.verdicts import (
    arms_table,
    best_static,
    judge,
    verdict_statements,
    verdict_table,
)
from topox_difflift.compare.worker import describe
from topox_difflift.config import TrainingConfig
from topox_difflift.datasets import planted_cells
from topox_difflift.job import _recovery
from topox_difflift.recovery import recovery_of

if TYPE_CHECKING:
    from pathlib import Path

COUNT = itertools.count()


def line(arm: str, test: float, fold: int | None = 0, **more: Any) -> dict[str, Any]:
    """Make the line of a run with what reports read of it."""
    dataset, protocol = more.pop("dataset", "MUTAG"), more.pop("protocol", "stratified")
    tnn, seed = "gnn" if arm == "gnn" else more.pop("tnn", "cwn"), more.pop("seed", 0)
    metric = more.pop("metric", "accuracy")
    config = {"dataset": dataset, "tnn": tnn, "encoder": "gin", "protocol": protocol}
    config |= {"max_epochs": 20, "patience": 7}
    learns = arm.startswith("difflift")
    return {
        "id": str(next(COUNT)),
        "status": "done",
        "dataset": dataset,
        "tnn": tnn,
        "encoder": "gin",
        "arm": arm,
        "seed": seed,
        "fold": fold,
        "version": "1",
        "config": config | more.pop("config", {}),
        "metric": metric,
        "higher_is_better": metric != "MAE",
        "val": more.pop("val", test),
        "test": test,
        "split": {"train": 80, "val": 10, "test": 10},
        "best_epoch": 5,
        "epochs": 15,
        "seconds": 3.0 if learns else 2.0,
        "seconds_per_epoch": 0.6 if learns else 0.2,
        "lifting": {"2": {"candidates": 4 if learns else 0, "accepted": 1}},
        "collapsed": False if learns else None,
        "collapsed_in_training": False if learns else None,
        "probabilities": {"2": [4, *[0] * 4, 2, *[0] * 3, 2]} if learns else {},
        "prediction_variance": 0.01 if learns else None,
        "warnings": [],
        "versions": {"torch": "2"},
        **more,
    }


def runs(arm: str, tests: tuple[float, ...], **more: Any) -> list[dict[str, Any]]:
    return [line(arm, test, fold, **more) for fold, test in enumerate(tests)]


# ---------------------------------------------------------------------- intervals


def test_corrected_interval_is_that_computed_by_hand() -> None:
    """Nadeau and Bengio 2003: variance (1 / n + n_test / n_train) s²."""
    # Mean 0.02; deviations -0.02, 0, 0.02, 0: s² = 0.0008 / 3. t, 3 degrees, at 0.975: 3.182446.
    differences, error = (0.0, 0.02, 0.04, 0.02), math.sqrt(0.0008 / 3 * (1 / 4 + 1 / 8))
    found = paired_difference(differences, overlap=1 / 8)
    assert found.mean == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02 - 3.182446 * error, rel=1e-6)
    assert found.high == pytest.approx(0.02 + 3.182446 * error, rel=1e-6)
    # t = 2: the p-value for 3 degrees of freedom, by its closed form.
    t = 0.02 / error
    inside = t / math.sqrt(3) / (1 + t * t / 3) + math.atan(t / math.sqrt(3))
    assert found.p_value == pytest.approx(1 - 2 / math.pi * inside)
    plain = paired_difference(differences)
    assert plain.high == pytest.approx(0.02 + 3.182446 * math.sqrt(0.0008 / 3 / 4), rel=1e-6)


def test_differences_without_a_spread_have_no_p_value() -> None:
    one, same = paired_difference([0.2]), paired_difference([0.25, 0.25], overlap=0.5)
    assert (one.low, one.high, one.p_value) == (None, None, None)
    assert (same.low, same.high, same.p_value) == (0.25, 0.25, None)


@pytest.mark.parametrize(
    ("dataset", "protocol", "keys", "over", "overlap", "units"),
    [
        # Each seed makes its own graphs; with folds, they are shared again.
        ("planted_cycles", "stratified", [(0, None), (1, None), (2, None)], "graphs", 0, (0, 1, 2)),
        ("planted_cycles", "stratified", [(0, 0), (0, 1), (0, 2)], "splits", 1 / 8, (0, 1, 2)),
        # Another seed draws another split of the same graphs.
        ("MUTAG", "paper", [(0, None), (1, None), (2, None)], "splits", 1 / 8, (0, 1, 2)),
        ("MUTAG", "stratified", [(0, 0), (0, 1), (1, 0)], "splits", 1 / 8, (0, 1, 2)),
        # Published splits: two seeds on one are one; one split says nothing of others.
        ("Texas", "geom-gcn", [(0, 0), (1, 0), (0, 1)], "splits", 1 / 8, (0.5, 2)),
        ("Texas", "paper", [(0, 0), (1, 0), (2, 0)], "seeds", 0, (0, 1, 2)),
        ("Cora", "public", [(0, None), (1, None), (2, None)], "seeds", 0, (0, 1, 2)),
    ],
)
def test_interval_knows_what_the_runs_share(dataset, protocol, keys, over, overlap, units) -> None:
    common = {"dataset": dataset, "protocol": protocol}
    gains = (0.0, 0.1, 0.2)
    lines = [line("none", 0.5, fold, seed=seed, **common) for seed, fold in keys]
    for (seed, fold), gain in zip(keys, gains, strict=True):
        lines.append(line("cycle", 0.5 + gain, fold, seed=seed, **common))
    (one,) = comparisons(lines)
    found = difference_between(one, "cycle", "none")
    assert found is not None
    expected = paired_difference([0.1 * unit for unit in units], overlap=overlap)
    assert (found.over, found.n_pairs) == (over, 3)
    assert found.mean == pytest.approx(expected.mean)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)
    assert difference_between(one, "cycle", "khop") is None


# ---------------------------------------------------------------------- comparisons


def test_options_belong_to_the_arm_and_settings_to_the_comparison() -> None:
    other = f"{LEARNED}[memberships=hard]"
    lines = [
        line(LEARNED, 0.8, config={"options": {"memberships": "kernel"}, "device": "auto"}),
        line(other, 0.7, config={"options": {"memberships": "hard"}, "device": "cpu"}),
        line("none", 0.6, config={"options": {}}),
        line("none", 0.9, config={"weight_decay": 0.1}),
    ]
    plain, decayed = comparisons(lines)
    assert list(plain.arms) == ["none", LEARNED, other]
    assert [kind_of(arm) for arm in plain.arms] == ["none", "difflift", "difflift"]
    assert list(decayed.arms) == ["none"]
    assert arms_table([plain, decayed])["settings"] == ["", "weight_decay 0.1"]
    again = line("none", 0.6, config={"options": {"rings": True}})
    with pytest.raises(ValueError, match=r"none, seed 0, fold 0, that differ in options\)"):
        comparisons([*lines, again])


# ---------------------------------------------------------------------- verdicts


def test_best_static_arm_is_chosen_by_validation_on_shared_runs_alone() -> None:
    lines = [
        *runs(LEARNED, (0.6, 0.7)),
        # The best on the test set, but not on the validation set.
        *runs("cycle", (0.9, 0.9), val=0.5),
        *runs("none", (0.6, 0.6), val=0.7),
        # Would be first with a fold that the others do not have.
        *[line("clique", 0.5, fold, val=val) for fold, val in enumerate((0.6, 0.6, 1.0))],
    ]
    (one,) = comparisons(lines)
    assert best_static(one) == "none"
    verdict = judge(one)
    assert verdict is not None
    assert verdict.difference.mean == pytest.approx(0.05)
    assert best_static(one, "difflift/gumbel") is None
    assert judge(comparisons(runs(LEARNED, (0.6, 0.7)))[0]) is None


def test_errors_are_better_if_lower_in_the_choice_and_in_the_verdict() -> None:
    common = {"dataset": "ZINC", "protocol": "public", "metric": "MAE"}
    seeds = [{"seed": seed, "fold": None, **common} for seed in range(3)]
    lines = [line(LEARNED, 0.2 + 0.001 * s["seed"], **s) for s in seeds]
    lines += [line("cycle", 0.3, val=0.4, **s) for s in seeds]
    lines += [line("none", 0.5, val=0.3, **s) for s in seeds]
    (one,) = comparisons(lines)
    verdict = judge(one)
    assert verdict is not None
    assert (verdict.static, str(verdict)) == ("none", "better")
    assert (verdict.at_least, verdict.better, verdict.worse) == (True, True, False)
    assert verdict_table([verdict])["∂lift - best static"] == ["-0.299 [-0.301, -0.297] (3)"]


def test_shares_of_pairs_and_goals_follow_from_the_lines() -> None:
    lines = []
    for tnn, gain in (("cwn", (0.1, 0.11)), ("ccxn", (0.0, 0.0)), ("unigcnii", (-0.1, -0.11))):
        lines += runs(LEARNED, tuple(0.5 + g for g in gain), tnn=tnn)
        lines += runs("none", (0.5, 0.5), tnn=tnn)
    lines += [line(LEARNED, 0.5, tnn="topotune"), line("none", 0.4, tnn="topotune")]
    lines += runs("gnn", (0.4, 0.4))
    verdicts = [judge(one) for one in Account.of(lines).fair]
    assert {one.comparison.tnn: str(one) for one in verdicts} == {
        "ccxn": "no difference shown",
        "cwn": "better",
        "topotune": "no difference shown",
        "unigcnii": "worse",
    }
    said = verdict_statements(verdicts)
    assert said[0].endswith("in 3 of 4 pairs of network and dataset, 75%. Goal, 90%: not reached.")
    assert said[1].endswith("in 1 of 4 pairs of network and dataset, 25%. Goal, 50%: not reached.")
    assert said[2] == "Encoder gin: it is significantly worse in 1 of 4."
    assert said[3].startswith("Encoder gin: 1 of 4 have one run")
    few = verdict_statements([one for one in verdicts if one.better])
    assert all(sentence.endswith(": reached.") for sentence in few[:2])
    assert verdict_statements([]) == ["There is no pair of ∂lift and a static lifting yet."]
    table = arms_table(Account.of(lines).fair)
    assert table["gnn"] == ["40.0 ± 0.0 (2)"] * 4
    assert table["∂lift"][2] == "50.0 (1)"
    assert verdict_table(verdicts)["∂lift - random"] == ["-"] * 4


def test_each_encoder_is_counted_by_itself() -> None:
    lines = runs(LEARNED, (0.6, 0.61)) + runs("none", (0.5, 0.5))
    lines += runs(LEARNED, (0.4, 0.39), encoder="gps") + runs("none", (0.5, 0.5), encoder="gps")
    said = verdict_statements([judge(one) for one in Account.of(lines).fair])
    assert [sentence.split(":")[0][-3:] for sentence in said] == ["gin"] * 3 + ["gps"] * 3
    assert "in 1 of 1 pairs" in said[0]
    assert "in 0 of 1 pairs" in said[3]
    assert said[5].endswith("worse in 1 of 1.")


def test_of_a_pair_most_runs_count_and_then_the_longest_training() -> None:
    def both(**more: Any) -> list[dict[str, Any]]:
        return runs(LEARNED, (0.6, 0.6), **more) + runs("none", (0.5, 0.5), **more)

    longer = {"config": {"max_epochs": 200}}
    lines = both() + both(**longer) + both(tnn="ccxn") + both(protocol="other", **longer)
    # One that is not complete yet does not take the place of one that is.
    lines += [line(LEARNED, 0.7, tnn="ccxn", **longer)]
    account = Account.of(lines)
    found = [(one.tnn, one.settings["protocol"], one.title[3]) for one in account.fair]
    assert [(tnn, protocol) for tnn, protocol, _ in found] == [
        ("ccxn", "stratified"), ("cwn", "other"), ("cwn", "stratified")
    ]  # fmt: skip
    assert ["max_epochs 200" in title for _, _, title in found] == [False, True, True]
    assert [one.tnn for one in account.set_aside] == ["ccxn", "cwn"]
    assert all(one in account.all for one in account.set_aside)


# ---------------------------------------------------------------------- the paper


def test_tables_of_the_paper_stand_above_ours() -> None:
    common = {"dataset": "MUTAG", "protocol": "paper", "fold": None}
    lines = [line(LEARNED, test, seed=s, **common) for s, test in enumerate((0.9, 0.8, 0.9))]
    lines += [line("cycle", 0.6, seed=0, **common)]
    found = Account.of(lines).paper
    table = paper_table(found, "graphs")
    assert table["whose"][:4] == ["paper", "ours, gin", "paper", "ours, gin"]
    assert table["MUTAG"][:6] == ["66.67", "60.0 (1)", "85.96", "86.7 ± 5.8 (3)", "61.40", "-"]
    assert table["ZINC"][:2] == ["0.46", "-"]
    assert set(paper_table(found, "nodes")["whose"]) == {"paper"}
    (said,) = paper_statements(found)
    assert "in 1 of 1 cells that have runs, of 23 in all. Goal, all of them: not reached." in said


def test_goal_of_the_paper_is_reached_where_every_figure_is_beaten() -> None:
    def ours(margin: float) -> list[str]:
        lines = []
        for row in (row for rows in PAPER.values() for row in rows if row.arm == LEARNED):
            for dataset, figure in row.figures.items():
                error = dataset == "ZINC"
                test = figure - margin if error else (figure + margin) / 100
                metric = "MAE" if error else "accuracy"
                lines.append(
                    line(LEARNED, test, dataset=dataset, tnn=row.tnn, protocol="paper",
                         metric=metric)
                )  # fmt: skip
        return paper_statements(Account.of(lines).paper)

    assert ours(0.01)[0].endswith(": reached.")
    assert "in 0 of 23 cells that have runs" in ours(-0.01)[0]


# ---------------------------------------------------------------------- planted cells


def planted_lines() -> list[dict[str, Any]]:
    found = {"auroc": 0.97, "candidate_recall": 0.5, "accepted_recall": 0.4, "purity": None}
    lines = []
    for seed in range(2):
        common = {"dataset": "planted_cycles", "seed": seed, "fold": None}
        lines += [line("none", 0.5, **common), line("oracle", 1.0, **common)]
        lines += [line("gnn", 0.55, **common), line("cycle", 0.65, **common)]
        lines += [line(LEARNED, 0.9 + 0.05 * seed, recovery=found, **common)]
    # A seed without the two ends of the gap does not count.
    return [*lines, line(LEARNED, 0.0, None, dataset="planted_cycles", seed=7, recovery=None)]


def test_share_of_the_gap_is_that_of_the_runs_with_both_ends() -> None:
    (one,) = Account.of(planted_lines()).planted
    assert gap_closed(one) == pytest.approx(0.85)
    table = planted_table([one])
    assert table["gap closed"] == ["85%"]
    assert table["AUROC"] == ["0.97"]
    assert table["accepted that are planted"] == ["-"]
    said = " ".join(planted_statements([one]))
    assert "closes 85% of the gap. Mark, 90%: not reached." in said
    assert "AUROC 0.97. Mark, 0.95: reached." in said
    assert "the true cells get 100.0% (wanted: at least 95%)" in said
    assert "at most 65.0% (wanted: at most 70%)" in said
    assert "both" not in said
    (without,) = comparisons([line(LEARNED, 0.9), line("none", 0.5)])
    assert gap_closed(without) is None


def test_other_forms_of_the_lifting_have_a_row_each_and_a_sentence_if_they_reach_both() -> None:
    found = {"auroc": 0.96, "candidate_recall": 0.9, "accepted_recall": 0.9, "purity": 0.8}
    lines = planted_lines()
    for text, test in (("cell_price=0.1", 0.99), ("paper", 0.6)):
        for seed in range(2):
            common = {"dataset": "planted_cycles", "seed": seed, "fold": None, "recovery": found}
            lines.append(line(f"{LEARNED}[{text}]", test, **common))
    (one,) = Account.of(lines).planted
    table = recovery_table([one])
    assert table["arm"] == [
        f"`{LEARNED}`", f"`{LEARNED}[cell_price=0.1]`", f"`{LEARNED}[paper]`"
    ]  # fmt: skip
    assert table["gap closed"] == ["85%", "98%", "20%"]
    assert table["AUROC"] == ["0.97", "0.96", "0.96"]
    assert table["accepted that are planted"] == ["-", "0.80", "0.80"]
    forms = [one for one in lines if one["arm"].startswith(f"{LEARNED}[")]
    assert not any(planted_table(Account.of(forms).planted).values())
    assert len(planted_table([one])["dataset"]) == 1
    said = [text for text in planted_statements([one]) if "both" in text]
    assert len(said) == 1
    assert (
        f"`{LEARNED}[cell_price=0.1]` closes 98% of the gap, AUROC 0.96: both reached." in said[0]
    )


@pytest.mark.parametrize("tnn", ["unigcn", "cwn"])
def test_a_run_notes_how_well_it_recovers_planted_cells(tnn: str) -> None:
    kind = "hyperedges" if tnn == "unigcn" else "cycles"
    graphs = planted_cells(kind, 6, seed=0)
    config = TrainingConfig(dataset=f"planted_{kind}", tnn=tnn, hidden_channels=8)
    model = config.build(graphs[0].x.size(1), 0, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noted = _recovery(model, graphs, seed=0)
    assert noted is not None
    assert noted == pytest.approx(asdict(recovery_of(model, graphs, seed=0)), nan_ok=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    every = TrainingConfig(f"planted_{kind}", tnn=tnn, lifting="accept_all", hidden_channels=8)
    unlearned = _recovery(every.build(graphs[0].x.size(1), 0, 2), graphs, seed=0)
    assert unlearned is not None
    assert unlearned["auroc"] is None
    assert unlearned["candidate_recall"] >= unlearned["accepted_recall"]
    static = TrainingConfig(dataset=f"planted_{kind}", tnn=tnn, lifting="none", hidden_channels=8)
    assert _recovery(static.build(graphs[0].x.size(1), 0, 2), graphs, seed=0) is None


# ---------------------------------------------------------------------- behaviour


def test_ablations_are_differences_to_the_nearest_form() -> None:
    other = f"{LEARNED}[memberships=hard]"
    lines = runs(LEARNED, (0.8, 0.9)) + runs(other, (0.7, 0.9)) + runs("cycle", (0.1, 0.2))
    table = ablation_table(Account.of(lines).fair)
    assert table["arm"] == [f"`{other}`"]
    assert table["minus ∂lift"][0].startswith("-5.0 [")
    assert table["that with"] == ["the defaults"]
    assert "AUROC" not in table
    nearer, both = f"{LEARNED}[rings=true]", f"{LEARNED}[memberships=hard,rings=true]"
    lines += runs(nearer, (0.6, 0.6)) + runs(both, (0.7, 0.5))
    lines += runs("accept_all[rings=true]", (0.5, 0.5)) + runs("accept_all", (0.5, 0.5))
    table = ablation_table(Account.of(lines).fair)
    found = dict(zip(table["arm"], table["that with"], strict=True))
    assert found == {
        f"`{other}`": "the defaults",
        f"`{nearer}`": "the defaults",
        # As near to the one with the other option; the first of them counts.
        f"`{both}`": "`memberships=hard`",
        "`accept_all`": "the defaults",
        "`accept_all[rings=true]`": "`rings=true`",
    }
    by_arm = dict(zip(table["arm"], table["minus ∂lift"], strict=True))
    assert by_arm["`accept_all[rings=true]`"].startswith("-10.0 [")
    assert not any(ablation_table(Account.of(runs(other, (0.7,))).fair).values())


def test_diagnostics_count_what_collapsed_and_who_did_not_say_so() -> None:
    ended = {"collapsed": True, "collapsed_in_training": True}
    lines = [
        line(LEARNED, 0.8, 0, **ended, warnings=["The lifting has collapsed"]),
        line(LEARNED, 0.8, 1, **ended),
        line(LEARNED, 0.8, 2, collapsed=True, collapsed_in_training=False),
        *runs("cycle", (0.7, 0.7, 0.7)),
    ]
    found = Account.of(lines).fair
    table = diagnostics_table(found)
    names = ("runs", "accepted", "undecided", "collapsed in the test", "in training", "warned")
    assert [table[name] for name in names] == [["3"], ["25%"], ["25%"], ["3"], ["2"], ["1"]]
    assert table["s a run"] + table["s a run, best static"] == ["3.0", "2.0"]
    assert table["an epoch takes"] == ["3.0 times as long"]
    assert probability_counts(found) == [12, *[0] * 4, 6, *[0] * 3, 6]
    said = collapse_statements(found)
    assert said[0].startswith("2 of 3 runs")
    assert "3 of 3" in said[1]
    # One that came to accept all or nothing in the test alone has collapsed unnoticed as well.
    assert said[2] == "Without a warning, of both: 2. Goal, none: not reached."


def test_runs_that_patience_ended_before_they_learned_are_counted() -> None:
    first, perfect = {"best_epoch": 0}, {"best_epoch": 0, "val": 1.0}
    lines = [
        *runs(LEARNED, (0.8,) * 5),
        *runs("none", (0.5,) * 5, **first),
        # None of these is one: it cannot be better, or patience did not end it.
        *runs("cycle", (0.7,) * 5, **perfect),
        *runs("khop", (0.7,) * 5, **first, epochs=7),
        *runs(LEARNED, (0.7,) * 19, tnn="ccxn"),
        line("none", 0.5, tnn="ccxn", **first),
        *runs("none", (0.2, 0.3), dataset="ZINC", metric="MAE", best_epoch=0, val=0.0),
    ]
    (said,) = untrained_statements(Account.of(lines).fair)
    expected = "MUTAG, cwn, gin (max_epochs 20, patience 7): in 5 of 20 runs no epoch validated"
    assert said.startswith(expected)
    # Where a schedule runs first, epochs count from its end.
    scheduled = {"config": {"options": {"cell_price": "step:0:0.1:4"}}}
    late = runs(LEARNED, (0.5,) * 2, best_epoch=4, **scheduled)
    (said,) = untrained_statements(Account.of(late).fair)
    assert "in 2 of 2 runs" in said
    (nothing,) = untrained_statements(Account.of(runs(LEARNED, (0.8, 0.9))).fair)
    assert nothing.startswith("In no comparison")


def test_nothing_recorded_is_said_and_no_error() -> None:
    empty = Account.of([])
    for table in (arms_table, ablation_table, diagnostics_table, planted_table, verdict_table):
        assert not any(table(()).values())
    assert {*paper_table(empty.paper, "nodes")["whose"]} == {"paper"}
    for statements in (
        paper_statements,
        verdict_statements,
        planted_statements,
        collapse_statements,
    ):
        assert statements(())[0].startswith("There is no")
    assert probability_counts(()) == []
    # Synthetic graphs without planted cells are in none of the parts.
    assert Account.of([line("none", 0.5, dataset="molecules")]).all == ()


# ---------------------------------------------------------------------- files and commands


def test_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none\n")
    with pytest.raises(FileNotFoundError, match=r"'folder' to hold results, files \*.jsonl"):
        read_folder(tmp_path)
    (tmp_path / "b.jsonl").write_text('{"id": "b"}\n')
    (tmp_path / "a.jsonl").write_text("")
    assert read_folder(tmp_path) == {"a.jsonl": [], "b.jsonl": [{"id": "b"}]}


@pytest.mark.parametrize(
    "grid",
    [
        Grid(
            datasets=("MUTAG", "NCI1"),
            tnns=("cwn", "unigcnii"),
            liftings=("gnn", "none", "khop", "random", "difflift"),
            encoders=("gin", "gps"),
            estimators=("straight_through", "gumbel"),
            folds=(0, 1, 2, 5),
            seeds=(0, 3),
            settings={"max_epochs": 7, "patience": 20},
        ),
        Grid(
            datasets=("Texas", "Cora"),
            tnns=("topotune",),
            liftings=("none", "difflift"),
            settings={"protocol": "paper", "lr": 0.02, "patience": 3, "max_epochs": 100},
        ),
        Grid(
            datasets=("MUTAG",),
            tnns=("topotune",),
            liftings=("gnn", "cycle", "clique", "random", "difflift"),
            variants=("paper", "k_max=8,rejected=drop"),
            varied=("difflift", "random"),
            domains=("cell", "simplicial"),
            settings={"patience": 20, "max_epochs": 100, "dropout": 0.5, "project": 4},
        ),
    ],
)
def test_command_makes_the_runs_whose_lines_it_is_made_from(grid: Grid) -> None:
    from typer.main import get_command

    from topox_difflift.commands import app
    from topox_difflift.compare.command import _listed, _numbers

    runs = grid.plan().runs
    lines = [{**describe(run), "status": "done"} for run in runs]
    found = []
    for text in commands_of(lines, "out.jsonl"):
        _, name, *words = shlex.split(text)
        command = get_command(app).commands[name]
        chosen = command.make_context(name, words).params
        options = set(TrainingConfig.__dataclass_fields__) & set(chosen)
        again = Grid(
            folds=(None,) if chosen["folds"] is None else _numbers(chosen["folds"], "folds"),
            seeds=_numbers(chosen["seeds"], "seeds"),
            variants=tuple(chosen["variants"] or ()),
            varied=_listed(chosen["varied"]),
            domains=(None,) if chosen["domains"] is None else _listed(chosen["domains"]),
            settings={option: chosen[option] for option in options},
            **{
                name: _listed(chosen[name])
                for name in ("datasets", "tnns", "liftings", "encoders", "estimators")
            },
        )
        found += [run.id for run in again.plan().runs]
    assert sorted(found) == sorted(run.id for run in runs)


def test_command_names_the_variants_and_domains_of_arms() -> None:
    def command(*given: tuple[str, str]) -> str:
        (text,) = commands_of([line(a, 0.5, config={"domain": d}) for a, d in given], "out.jsonl")
        return text

    found = command(
        ("none", "cell"),
        (LEARNED, "cell"),
        (f"{LEARNED}[paper]", "cell"),
        (f"{LEARNED}[rejected=drop,rings=true]", "cell"),
    )
    assert "--liftings none,difflift --encoders gin --estimators straight_through " in found
    assert " --variants paper --variants rejected=drop,rings=true --folds 0 " in found
    found = command(
        (LEARNED, "cell"),
        (f"{LEARNED}[domain=simplicial]", "simplicial"),
        ("accept_all[domain=simplicial,k_max=8]", "simplicial"),
    )
    assert " --variants k_max=8 --varied accept_all --domains cell,simplicial " in found


def test_files_are_counted_with_their_hours() -> None:
    lost = {**line("none", 0.0), "status": "failed"}
    table = files_table({"a.jsonl": [*runs("none", (0.5, 0.5), seconds=1800.0), lost]})
    assert [table[name] for name in ("runs", "failed", "hours")] == [["2"], ["1"], ["1.00"]]
    assert "| a.jsonl | 2 | 1 | 1.00 | 1 | 2 |" in markdown_table(table)


def test_plots_have_a_line_for_each_verdict_and_refuse_nothing_to_plot() -> None:
    pytest.importorskip("matplotlib", reason='needs the extra "plot"')
    from topox_difflift.compare.plots import plot_probability_counts, plot_verdicts

    lines = runs(LEARNED, (0.8, 0.81)) + runs("none", (0.5, 0.5))
    error = {"dataset": "ZINC", "protocol": "public", "metric": "MAE", "fold": None}
    lines += [line(LEARNED, 0.3, **error), line("none", 0.4, **error)]
    verdicts = [judge(one) for one in Account.of(lines).fair]
    accuracy, mae = plot_verdicts(verdicts).axes
    for axes, gain in ((accuracy, 30.5), (mae, 0.1)):
        (point,) = axes.containers
        assert point.lines[0].get_xdata()[0] == pytest.approx(gain)
        assert len(axes.get_yticklabels()) == 1
    (axes,) = plot_probability_counts([3, 0, 1]).axes
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0, 0.25]
    for plot in (plot_verdicts, plot_probability_counts):
        with pytest.raises(ValueError, match="record more runs"):
            plot([])
