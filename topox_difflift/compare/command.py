"""The command `topox-difflift compare`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from topox_difflift.compare.grid import ARMS, VARIED, Grid, Plan, Run
from topox_difflift.compare.report import Report
from topox_difflift.compare.results import Results, read_results
from topox_difflift.datasets import SYNTHETIC
from topox_difflift.datasets.sources import NAMES
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.nn import TNNS
from topox_difflift.options import OF_CONTROLS, OPTIONS, parse_options

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["compare"]

LearningRateOption = Annotated[
    float | None,
    typer.Option(
        help="Learning rate of Adam. [default: 0.01 for nodes, 0.003 for graphs, with gps 0.001]"
    ),
]
ProjectOption = Annotated[
    int | None,
    typer.Option(
        help="Width that the node features are brought to first, by a linear layer; 0: as they "
        "are. [default: --hidden-channels for features more than 4 times as wide]"
    ),
]
DropoutOption = Annotated[
    float | None,
    typer.Option(
        help="Share of projected features, and of what is predicted from, that is dropped. "
        "[default: 0.5 for nodes, 0 for graphs]"
    ),
]
WeightDecayOption = Annotated[
    float | None,
    typer.Option(
        help="Of Adam, for all but the lifting. [default: 0.0005 for nodes, 0 for graphs]"
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda: where to train.")]


def _parsed(texts: list[str] | None) -> dict[str, Any] | None:
    try:
        return parse_options(texts) if texts else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


OptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        callback=_parsed,
        help=f"NAME=VALUE, of {', '.join(OPTIONS)}, or paper: the form of the paper. Of difflift; "
        f"accept_all and random have {', '.join(OF_CONTROLS)}. Can be repeated.",
    ),
]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name for name in re.split(r"[,\s]+", text) if name)


def _numbers(text: str, what: str) -> tuple[int, ...]:
    """Read "0,3,5-7"."""
    found: list[int] = []
    for part in _listed(text):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ValueError(
                f"Expected '{what}' to be numbers and ranges such as 0,3,5-9 (got {part!r})"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def compare(  # numpydoc ignore=PR01
    datasets: Annotated[
        str,
        typer.Option(
            help=", ".join([*SYNTHETIC, *NAMES]) + ", TUDatasets such as MUTAG. Each has its task "
            "and metric."
        ),
    ] = "molecules",
    tnns: Annotated[str, typer.Option(help=", ".join(TNNS))] = "cwn",
    liftings: Annotated[
        str,
        typer.Option(
            help=", ".join(ARMS) + ". gnn has no cells; random accepts as many as difflift; "
            "frozen trains a network anew on the cells that difflift finds."
        ),
    ] = ",".join(ARMS),
    encoders: Annotated[str, typer.Option(help=", ".join(ENCODERS))] = "gin",
    estimators: Annotated[
        str, typer.Option(help=", ".join(ESTIMATORS) + ". Of difflift, random and frozen.")
    ] = "straight_through",
    variants: Annotated[
        list[str] | None,
        typer.Option(
            help="Options of difflift that make a further arm, such as rejected=drop,rings=true; "
            "paper is its form in the paper. Repeat it for more arms."
        ),
    ] = None,
    varied: Annotated[
        str, typer.Option(help=", ".join(VARIED) + ": the arms that come in the variants as well.")
    ] = "difflift",
    domains: Annotated[
        str | None,
        typer.Option(
            help=", ".join(DOMAINS) + ". [default: what network and lifting ask for, else cell]"
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Rounds of a ten-fold cross-validation, or numbers of published splits. "
            "[default: one split]"
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How datasets are split, as with train; paper is that of the ∂lift paper. "
            "[default: the first one that a dataset has]"
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds.")] = "0",
    hidden_channels: Annotated[int, typer.Option(help="Width of the hidden layers.")] = 32,
    n_layers: Annotated[int, typer.Option(help="Layers of the network.")] = 2,
    batch_size: Annotated[int, typer.Option(help="Graphs per step.")] = 32,
    max_epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better validation score.")
    ] = 20,
    lr: LearningRateOption = None,
    project: ProjectOption = None,
    dropout: DropoutOption = None,
    weight_decay: WeightDecayOption = None,
    root: Annotated[
        str | None,
        typer.Option(
            help="Folder of the datasets. [default: the one that TOPOX_DIFFLIFT_DATA names, else "
            "data]"
        ),
    ] = None,
    device: DeviceOption = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="File of the results, one line of JSON for each run.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one for each core]")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a grid with impossible combinations.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Repeat runs that failed before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Run nothing: report the results in this file.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Arm that the report compares the others with.")
    ] = None,
) -> None:
    """
    Train every combination of datasets, networks, liftings and encoders, and compare them.

    Lists are separated by commas, ranges are 0-9. All runs have the same encoder, epochs, patience
    and learning rate, and test the epoch that validates best. A comparison that was interrupted
    goes on with the same command; runs that have a line in --out are not repeated. Arms are named
    with the domain and the options that are not the default, such as accept_all[rings=true].

    Beside the results are left: <name>.md and <name>.report.json, the table, <name>.scores.png and,
    with --baseline, <name>.differences.png.
    """
    console = Console()
    if (out is None) == (report is None):
        raise typer.BadParameter("give --out to run a comparison, or --report to read one")
    if report is not None:
        _write_report(console, report, baseline)
        return
    assert out is not None  # noqa: S101 -- checked above, for the type checker
    from topox_difflift.job import check_device

    try:
        plan = Grid(
            datasets=_listed(datasets),
            tnns=_listed(tnns),
            liftings=_listed(liftings),
            encoders=_listed(encoders),
            estimators=_listed(estimators),
            variants=tuple(variants or ()),
            varied=_listed(varied),
            domains=(None,) if domains is None else _listed(domains),
            folds=(None,) if folds is None else _numbers(folds, "folds"),
            seeds=_numbers(seeds, "seeds"),
            settings={
                "hidden_channels": hidden_channels,
                "n_layers": n_layers,
                "batch_size": batch_size,
                "max_epochs": max_epochs,
                "patience": patience,
                "lr": lr,
                "project": project,
                "dropout": dropout,
                "weight_decay": weight_decay,
                "device": device,
                "protocol": protocol,
                "root": root,
            },
        ).plan()
        for run in plan.runs[:1]:
            check_device(run.config)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _announce(console, plan)
    if strict and plan.left_out:
        raise typer.BadParameter("the grid has impossible combinations, which --strict refuses")
    if not plan.runs:
        raise typer.BadParameter("every combination is impossible")
    if dry_run:
        for run in plan.runs:
            console.print(f"{run.id}  {run}", highlight=False, markup=False)
        return
    try:
        results = Results(out)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    with results:
        _run(console, results, plan, out, jobs or _cores(), retry)
        failed = [
            (run, record)
            for run in plan.runs
            if (record := results.records[run.id])["status"] == "failed"
        ]
    done = {record["arm"] for record in results.records.values() if record["status"] == "done"}
    if done:
        _write_report(console, out, baseline if baseline in done else None)
    if failed:
        console.print(f"[red]{len(failed)} of {len(plan.runs)} runs failed[/red]; --retry repeats")
        for run, record in failed:
            console.print(f"  {run}: {record['error']}", highlight=False, markup=False)
        raise typer.Exit(1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _announce(console: Console, plan: Plan) -> None:
    console.print(f"{len(plan.runs)} runs, {len(plan.left_out)} combinations left out")
    for combination, reason in plan.left_out.items():
        console.print(f"  left out {combination}: {reason}", highlight=False, markup=False)


def _run(console: Console, results: Results, plan: Plan, out: Path, jobs: int, retry: bool) -> None:
    from topox_difflift.compare.campaign import Campaign

    scratch = out.with_name(out.name + ".unfinished")
    campaign = Campaign(results, plan.runs, scratch, retry)
    n_missing = len(campaign.missing)
    console.print(f"{len(plan.runs) - n_missing} already done, {n_missing} to do, {jobs} at a time")
    with _Shown(console, n_missing) as shown:
        try:
            campaign.run(jobs, shown)
        except KeyboardInterrupt:
            console.print("Interrupted; the same command goes on from here")
            raise typer.Exit(130) from None


class _Shown:
    """Show the progress of a campaign."""

    def __init__(self, console: Console, n_runs: int) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self.task = self.bar.add_task("runs", total=n_runs)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def started(self, run: Run) -> None:
        self.bar.update(self.task, description=escape(str(run)))

    def ended(self, run: Run, record: dict[str, Any]) -> None:
        self.bar.advance(self.task)
        if record["status"] == "failed":
            text = f"failed: {record['error']}"
        else:
            text = f"{record['metric']} {record['test']:.3f}, {record['seconds']:.1f} s"
        lines = [text, *record.get("warnings", ())]
        self.bar.console.print(f"{run}: " + "; ".join(lines), highlight=False, markup=False)


def _write_report(console: Console, path: Path, baseline: str | None) -> None:
    try:
        report = Report.of(read_results(path), baseline)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--report") from error
    _show(console, report)
    written = {".md": report.markdown(), ".report.json": report.json()}
    for suffix, text in written.items():
        path.with_suffix(suffix).write_text(text)
    left = [path.with_suffix(suffix).name for suffix in written]
    with suppress(ImportError):
        left += _draw(report, path)
    console.print(f"{', '.join(left)}: {path.parent}", highlight=False)


def _draw(report: Report, path: Path) -> Sequence[str]:
    from topox_difflift.compare.plots import plot_differences, plot_scores

    pictures = {}
    if report.rows:
        pictures[".scores.png"] = plot_scores(report)
    if any(row.difference for row in report.rows):
        pictures[".differences.png"] = plot_differences(report)
    for suffix, figure in pictures.items():
        figure.savefig(path.with_suffix(suffix), dpi=150)
    return [path.with_suffix(suffix).name for suffix in pictures]


def _show(console: Console, report: Report) -> None:
    for title, columns in report.tables.items():
        table = Table(title=escape(title))
        for name in columns:
            table.add_column(escape(name))
        for line in zip(*columns.values(), strict=True):
            table.add_row(*map(escape, line))
        console.print(table)
