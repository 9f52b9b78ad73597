"""The commands of the console script."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import topox_difflift
from topox_difflift.compare.command import (
    DeviceOption,
    DropoutOption,
    LearningRateOption,
    OptionsOption,
    ProjectOption,
    WeightDecayOption,
    compare,
)  # fmt: skip
from topox_difflift.datasets import SYNTHETIC
from topox_difflift.datasets.sources import NAMES
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.liftings import LIFTINGS
from topox_difflift.nn import TNNS
from topox_difflift.upstream import KITS, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from topox_difflift.job import Result

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(topox_difflift.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Differentiable lifting for topological neural networks."""


def _names(names: Any) -> str:
    return ", ".join(names)


@app.command()
def train(  # numpydoc ignore=PR01
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Option(
            help=f"{_names(SYNTHETIC)}, a TUDataset such as MUTAG, or one of {_names(NAMES)}. "
            "It sets what is predicted, and the metric.",
        ),
    ] = "planted_hyperedges",
    root: Annotated[
        str | None,
        typer.Option(
            help="Folder of the dataset; downloaded into it if it is not there. "
            "[default: the one that TOPOX_DIFFLIFT_DATA names, else data]"
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            help=f"{_names(DOMAINS)}. [default: what --lifting needs, where cells are planted the "
            "domain that holds them, else what --tnn needs, else cell]"
        ),
    ] = None,
    tnn: Annotated[
        str | None,
        typer.Option(help=f"{_names(TNNS)}, or gnn: no cells. [default: the one for the domain]"),
    ] = None,
    lifting: Annotated[
        str,
        typer.Option(
            help=f"{_names(LIFTINGS)}. accept_all and random propose as difflift does; "
            "those after them are static; oracle takes planted cells."
        ),
    ] = "difflift",
    encoder: Annotated[
        str, typer.Option(help=f"{_names(ENCODERS)}; the same for every lifting.")
    ] = "gin",
    estimator: Annotated[
        str | None,
        typer.Option(help=f"{_names(ESTIMATORS)}. Only difflift. [default: straight_through]"),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Share of cells accepted. Only random. [default: 0.5]")
    ] = None,
    options: OptionsOption = None,
    hidden_channels: Annotated[int, typer.Option(help="Width of the hidden layers.")] = 32,
    n_layers: Annotated[int, typer.Option(help="Layers of the topological network.")] = 2,
    batch_size: Annotated[
        int, typer.Option(help="Graphs per step and process; nodes: one graph.")
    ] = 32,
    max_epochs: Annotated[int, typer.Option(help="Epochs.")] = 20,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better validation score."),
    ] = None,
    lr: LearningRateOption = None,
    project: ProjectOption = None,
    dropout: DropoutOption = None,
    weight_decay: WeightDecayOption = None,
    seed: Annotated[
        int, typer.Option(help="Seed of split, initialisation, batches and lifting.")
    ] = 0,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="stratified, public, scaffold, full, geom-gcn or paper, the protocol of the "
            "∂lift paper. [default: the usual one for the dataset]"
        ),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(
            help="Round of a ten-fold cross-validation, or which of ten published splits, "
            "0 to 9. [default: one random split, or the first]"
        ),
    ] = None,
    device: DeviceOption = "cpu",
    devices: Annotated[
        int | None,
        typer.Option(
            help="Processes that train together (Lightning's ddp), each with its share of the "
            "graphs and --batch-size of them per step: n take steps of n times as many. "
            "[default: 1]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for all that the run leaves. [default: runs/<time>]"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder of an interrupted run to continue, with its own options."),
    ] = None,
) -> None:
    """
    Train a topological network through a lifting, and test the epoch that validates best.

    Leaves under --out: metrics.json, config.json, checkpoints/best.ckpt and last.ckpt,
    lifted.pkl (a test graph with its learned cells, for TopoNetX) and lifted.png (its picture, up
    to 300 nodes),
    acceptance.png (the share of proposed cells accepted in each epoch, where cells are proposed).
    """
    from topox_difflift.config import TrainingConfig
    from topox_difflift.job import Job

    chosen = {
        name: value
        for name, value in context.params.items()
        if name not in ("out", "resume") and context.get_parameter_source(name).name != "DEFAULT"  # type: ignore[union-attr]
    }
    if resume is not None and (chosen or out is not None):
        given = [*chosen, *(["out"] if out is not None else [])]
        raise typer.BadParameter(
            "a run is continued with its own options; leave out "
            + ", ".join("--" + name.replace("_", "-") for name in given),
            param_hint="--resume",
        )
    _quieten()
    console = Console()
    try:
        if resume is not None:
            folder = resume
            job = Job.resume(resume)
        else:
            folder = out if out is not None else _new_folder()
            job = Job.start(TrainingConfig(**chosen), folder)
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    console.print(f"{job.describe()}\nleaving everything under {folder}", highlight=False)
    try:
        with _warning_in_words(console):
            result = job.run(progress=True)
    except BaseException:
        console.print(f"Interrupted; continue with: topox-difflift train --resume {folder}")
        raise
    _report(console, result, folder)


def _quieten() -> None:
    """Leave out what Lightning says about itself and about this machine."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated"
    )


@contextmanager
def _warning_in_words(console: Console) -> Iterator[None]:
    """Print that a lifting has collapsed as a sentence, without the line of code that found it."""
    from topox_difflift.diagnostics import CollapsedLifting

    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, CollapsedLifting):
                console.print(str(message), style="yellow", highlight=False)
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _new_folder() -> Path:
    from pathlib import Path

    return Path("runs") / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")


#: What is said of planted cells.
_RECOVERY = {"accepted_recall": "planted cells accepted", "purity": "accepted cells planted"}


def _report(console: Console, result: Result, folder: Path) -> None:
    config = result.config
    table = Table(title=f"{config.dataset}: {config.lifting}, {config.tnn}, {config.encoder}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    metric = config.task.metric
    table.add_row(f"test {metric} (epoch {result.best_epoch})", f"{result.test:.3f}")
    table.add_row(f"validation {metric}, which chose it", f"{result.val:.3f}")
    table.add_row("seconds per epoch", f"{result.seconds_per_epoch:.2f}")
    for rank in result.ranks:
        rate = rank.acceptance_rate
        accepted = "none proposed" if rate is None else f"{rate:.1%} of {rank.candidates}"
        table.add_row(f"rank {rank.rank}: accepted", accepted)
        table.add_row(f"rank {rank.rank}: cells, mean size", f"{rank.cells}, {rank.mean_size:.2f}")
    found = result.recovery or {}
    for name, words in _RECOVERY.items():
        if (share := found.get(name)) is not None:
            table.add_row(words, f"{share:.1%}")
    console.print(table)
    left = ", ".join(sorted(path.name for path in folder.iterdir()))
    console.print(f"{left}: {folder}", highlight=False)


app.command()(compare)


@app.command()
def upstream(  # numpydoc ignore=PR01
    kit: Annotated[str, typer.Argument(help=f"{_names(KITS)}.")],
    checkout: Annotated[Path, typer.Argument(help="Root of a checkout of that project.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that are there with another content.")
    ] = False,
) -> None:
    """
    Write the files of a pull request into a checkout of TopoModelX or TopoBench: all or none.

    They are generated from this package, in the style that the checkout's configuration of ruff
    sets. What to run afterwards is printed.
    """
    if kit not in KITS:
        raise typer.BadParameter(f"expected one of {_names(KITS)} (got {kit!r})")
    try:
        files = write(KITS[kit], checkout, force)
    except (ValueError, FileExistsError, ImportError, RuntimeError) as error:
        raise typer.BadParameter(str(error)) from error
    root = checkout.resolve()
    paths = [path.relative_to(root).as_posix() for path in files]
    for path, changed in zip(paths, files.values(), strict=True):
        typer.echo(f"{'written' if changed else 'as it was'}: {path}")
    typer.echo(f"\nTo check them, in {checkout}:")
    for command in KITS[kit].checks:
        typer.echo("  " + command.format(files=" ".join(paths)))
    if KITS[kit].note:
        typer.echo(f"\n{KITS[kit].note}")
