"""The main job: train on a dataset, test what validated best, leave everything in a folder."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.loader import DataLoader

from topox_difflift.config import TrainingConfig, ended_untrained
from topox_difflift.datasets import load_splits
from topox_difflift.diagnostics import chooses, warn_if_collapsed
from topox_difflift.lift import DiffLift
from topox_difflift.recovery import recovery_of
from topox_difflift.summary import LiftingSummary, RankSummary
from topox_difflift.training import TrainingModule, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning.pytorch import Callback
    from torch import Tensor
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.nn import TopologicalNetwork
    from topox_difflift.tasks import Task

__all__ = ["Job", "Result", "Splits", "check_device", "figures"]

#: Most nodes of a complex that is drawn: a picture of thousands takes minutes and shows nothing.
_DRAWN = 300


@dataclass(frozen=True)
class Splits:
    """
    The data of a run.

    Attributes
    ----------
    train, val, test : list of torch_geometric.data.Data
        Graphs with a target each, or the one graph with a target for each node and the nodes
        that count in its `mask`.
    task : Task
        What is predicted.
    """

    train: list[Data]
    val: list[Data]
    test: list[Data]
    task: Task

    @classmethod
    def of(cls, config: TrainingConfig) -> Splits:
        """
        Load and split the dataset of a run.

        Parameters
        ----------
        config : TrainingConfig
            What is run.

        Returns
        -------
        Splits
            The data.

        Raises
        ------
        ValueError
            If there is no such dataset, or what is to be predicted cannot be learned from it.
        """
        parts = load_splits(config.dataset, config.protocol, config.fold, config.root, config.seed)
        splits = cls(*parts, config.task)
        for name, part in zip(("training", "validation", "test"), parts, strict=True):
            targets = splits.targets(part)
            if not config.task.possible(targets):
                raise ValueError(
                    f"Expected 'dataset' to have {config.task.wanted} (got "
                    f"{config.dataset!r}, whose {name} set has 'y' of {targets.dtype}, values "
                    f"{targets.unique()[:5].tolist()})"
                )
        return splits

    def targets(self, part: list[Data]) -> Tensor:
        """
        Collect the targets that count.

        Parameters
        ----------
        part : list of torch_geometric.data.Data
            The training, validation or test set.

        Returns
        -------
        torch.Tensor, shape = (n,)
            One for each graph, or for each node in the mask.
        """
        return torch.cat([self.task.examples(graph.y, graph)[1].view(-1) for graph in part])

    def sizes(self) -> tuple[int, int, int]:
        """
        Measure what a model has to know.

        Returns
        -------
        tuple of int
            Widths of the node features, of the edge features and of the prediction.
        """
        first, edge_attr = self.train[0], self.train[0].edge_attr
        edge_channels = 0 if edge_attr is None else edge_attr.view(len(edge_attr), -1).size(1)
        targets = torch.cat([self.targets(part) for part in (self.train, self.val, self.test)])
        return first.x.size(1), edge_channels, self.task.out_channels(targets)

    def __str__(self) -> str:
        counts = (str(len(self.targets(part))) for part in (self.train, self.val, self.test))
        return f"{'/'.join(counts)} {self.task.level}s"


@dataclass(frozen=True)
class Result:
    """
    What a run found.

    Attributes
    ----------
    config : TrainingConfig
        What was run.
    best_epoch : int
        Epoch with the best validation metric, the first of equals.
    val, test : float
        The metric of the task for that epoch's model.
    history : list of dict
        Figures of every epoch, with what the lifting did to the training graphs, all draws
        together ("lifting").
    ranks : tuple of RankSummary
        What the lifting did on the test set.
    example : LiftedComplex
        The accepted complex of one test graph, or of the one graph.
    recovery : dict, optional
        How well planted cells were found, the fields of a `Recovery`; None where none are planted
        or the lifting proposes none. The area is None where nothing learns to accept.
    """

    config: TrainingConfig
    best_epoch: int
    val: float
    test: float
    history: list[dict[str, Any]]
    ranks: tuple[RankSummary, ...]
    example: LiftedComplex
    recovery: dict[str, float | None] | None = None

    @property
    def seconds_per_epoch(self) -> float:
        """
        Median time of training and validation.

        Returns
        -------
        float
            Seconds.
        """
        return median(epoch["seconds"] for epoch in self.history)

    @property
    def summaries(self) -> list[LiftingSummary]:
        """
        What the lifting did to the training graphs, epoch by epoch.

        Returns
        -------
        list of LiftingSummary
            All draws of an epoch together.
        """
        written = [epoch["lifting"] for epoch in self.history]
        return [
            LiftingSummary(**{**one, "ranks": tuple(RankSummary(**r) for r in one["ranks"])})
            for one in written
        ]

    def metrics(self) -> dict[str, Any]:
        """
        Collect the figures.

        Returns
        -------
        dict
            Figures that JSON can hold. All of them but "timing" are the same in every
            repetition, and whether or not the run was interrupted.
        """
        epochs = [
            {**{k: v for k, v in epoch.items() if k != "seconds"}, "lifting": figures(did.ranks)}
            for epoch, did in zip(self.history, self.summaries, strict=True)
        ]
        return {
            "config": asdict(self.config),
            "metric": self.config.task.metric,
            "test": self.test,
            "val": self.val,
            "best_epoch": self.best_epoch,
            "lifting": figures(self.ranks),
            "recovery": self.recovery,
            "epochs": epochs,
            "timing": {
                "seconds_per_epoch": self.seconds_per_epoch,
                "seconds": [epoch["seconds"] for epoch in self.history],
            },
        }


def figures(ranks: Sequence[RankSummary]) -> dict[str, dict[str, Any]]:
    """
    Collect what a lifting did.

    Parameters
    ----------
    ranks : sequence of RankSummary
        What it did, rank by rank.

    Returns
    -------
    dict
        The same for JSON, by the name of the rank.
    """
    names = ("original", "candidates", "accepted", "acceptance_rate", "mean_size", "collapsed")
    return {
        str(rank.rank): {name: _jsonable(getattr(rank, name)) for name in names} for rank in ranks
    }


def _jsonable(value: Any) -> Any:
    """Replace nan, which JSON does not know, by None."""
    return None if value != value else value


@dataclass(frozen=True)
class Job:
    """
    A run: what to do, on which graphs, and where to leave it.

    Attributes
    ----------
    config : TrainingConfig
        What to run.
    splits : Splits
        The graphs.
    out : pathlib.Path
        Folder for everything the run leaves.
    """

    config: TrainingConfig
    splits: Splits
    out: Path

    @classmethod
    def start(cls, config: TrainingConfig, out: str | Path) -> Job:
        """
        Begin a run.

        Parameters
        ----------
        config : TrainingConfig
            What to run.
        out : str or pathlib.Path
            A folder that does not hold a run yet.

        Returns
        -------
        Job
            The run, whose folder holds its config.json.

        Raises
        ------
        FileExistsError
            If `out` holds a run.
        ValueError
            If the dataset cannot be used.
        """
        out = Path(out)
        if (out / "config.json").exists():
            raise FileExistsError(
                f"Expected 'out' to be a folder without a run (got {str(out)!r}); continue that "
                f"one with --resume {out}, or take another folder"
            )
        check_device(config)
        splits = Splits.of(config)
        _check_shares(config, splits)
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
        return cls(config, splits, out)

    @classmethod
    def resume(cls, out: str | Path) -> Job:
        """
        Take up a run that was interrupted.

        Parameters
        ----------
        out : str or pathlib.Path
            Folder of the run.

        Returns
        -------
        Job
            The run; it ends with the same figures as without the interruption.

        Raises
        ------
        FileNotFoundError
            If there is no run.
        ValueError
            If the dataset cannot be used.
        """
        out = Path(out)
        if not (out / "config.json").is_file():
            raise FileNotFoundError(
                "Expected 'resume' to be the folder of a run, with its config.json "
                f"(got {str(out)!r})"
            )
        config = TrainingConfig(**json.loads((out / "config.json").read_text()))
        check_device(config)
        return cls(config, Splits.of(config), out)

    def describe(self) -> str:
        """
        Say what the run does.

        Returns
        -------
        str
            One line.
        """
        config, splits = self.config, self.splits
        return (
            f"{config.dataset}, {splits}, {config.task.metric}: {config.encoder} encoder, "
            f"{config.lifting} lifting to domain {config.domain}, {config.tnn}, "
            f"{config.max_epochs} epochs"
        )

    def run(self, progress: bool = False) -> Result:
        """
        Train, select an epoch on the validation set, test it, and write everything down.

        Parameters
        ----------
        progress : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        Result
            What it found. The folder holds metrics.json, checkpoints (best.ckpt, last.ckpt),
            lifted.pkl, a TopoNetX complex, lifted.png, its picture, if it has no more than 300
            nodes, and, where cells are proposed, acceptance.png.
        """
        result = self.train(progress)[0]
        _write(result, self.out)
        return result

    def train(
        self,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
        prepare: Callable[[TrainingModule], None] | None = None,
    ) -> tuple[Result, TrainingModule]:
        """
        Train, select an epoch on the validation set, and test it.

        Parameters
        ----------
        progress : bool, default=False
            Whether to show a progress bar.
        callbacks : sequence of lightning.pytorch.Callback, default=()
            What else looks on.
        prepare : callable, optional
            What to change in the model before it is trained.

        Returns
        -------
        result : Result
            What was found; the folder holds checkpoints alone.
        module : TrainingModule
            The model that was tested.
        """
        module = TrainingModule(asdict(self.config), *self.splits.sizes())
        if prepare is not None:
            prepare(module)
        fit(module, self.splits.train, self.splits.val, self.out, progress, callbacks)
        checkpoints = self.out / "checkpoints"
        last, best = (
            torch.load(checkpoints / f"{name}.ckpt", map_location="cpu", weights_only=True)
            for name in ("last", "best")
        )
        # Tested, and left, on the host, wherever it was trained.
        module.cpu().load_state_dict(best["state_dict"])
        test, ranks, example = _test(module, self.splits.test)
        chosen = best["history"][-1]
        result = Result(
            config=self.config,
            best_epoch=int(chosen["epoch"]),
            val=chosen["val"],
            test=test,
            history=last["history"],
            ranks=ranks,
            example=example,
            recovery=_recovery(module.model, self.splits.test, self.config.seed),
        )
        warn_if_collapsed(module.model.lift.lift, ranks)
        _warn_if_untrained(result)
        return result, module


def check_device(config: TrainingConfig) -> None:
    """
    Check that a run can be done on this machine.

    Parameters
    ----------
    config : TrainingConfig
        What to run.

    Raises
    ------
    ValueError
        If its device is not there, or has fewer than are asked for.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "Expected 'device' to be one that PyTorch can use here (got 'cuda', and "
            "torch.cuda.is_available() is False); take 'cpu', or a build of PyTorch for this GPU"
        )
    if config.device == "cuda" and (config.devices or 1) > torch.cuda.device_count():
        raise ValueError(
            f"Expected 'devices' to be at most {torch.cuda.device_count()}, the number of GPUs "
            f"that PyTorch finds here (got {config.devices})"
        )


def _check_shares(config: TrainingConfig, splits: Splits) -> None:
    """Check that there is a graph for each process, to train on and to validate with."""
    devices, most = config.devices or 1, min(len(splits.train), len(splits.val))
    if devices > most:
        single = splits.task.level == "node"
        remedy = (
            "the nodes of one graph are not shared; leave 'devices' out, or train on subgraphs, "
            "which torch_geometric.loader.NeighborLoader and ClusterLoader make"
            if single
            else "take fewer processes"
        )
        raise ValueError(
            f"Expected 'devices' to be at most {most}, so that each process has a graph to train "
            f"on and one to validate with (got {devices}, dataset {config.dataset!r} with "
            f"{len(splits.train)} and {len(splits.val)}); {remedy}"
        )


def _test(
    module: TrainingModule, graphs: list[Data]
) -> tuple[float, tuple[RankSummary, ...], LiftedComplex]:
    """Return the metric, what the lifting did, and the graph with most learned cells."""
    model, task = module.model.eval(), module.task
    metric = module.metric
    metric.reset()
    summaries: list[LiftingSummary] = []
    examples: list[LiftedComplex] = []
    with torch.no_grad():
        for batch in DataLoader(graphs, module.config.batch_size, generator=torch.Generator()):
            lifted = model.lifted(batch)
            predictions, targets = task.examples(model.predict(lifted), batch)
            metric.update(task.scores(predictions), targets)
            summaries.append(lifted.summary())
            examples = [max([*examples, *lifted.accepted().unbatch()], key=_liveliness)]
    return float(metric.compute()), LiftingSummary.total(summaries).ranks, examples[0]


def _warn_if_untrained(result: Result) -> None:
    """Warn if patience ended a run in which no epoch was better than the first that counts."""
    config, epochs, best = result.config, len(result.history), result.best_epoch
    higher = config.task.higher_is_better
    if ended_untrained(asdict(config), best, epochs, result.val, higher):
        warnings.warn(
            "No epoch validated better than the first, and training ended "
            f"{epochs - 1 - best} epochs later: "
            f"'patience' ({config.patience}) may be too short for the network to begin to learn; "
            "take a longer one, or none",
            stacklevel=2,
        )


def _recovery(
    model: TopologicalNetwork, graphs: list[Data], seed: int
) -> dict[str, float | None] | None:
    """Say how well planted cells are found; None where none are planted or none proposed."""
    if "planted_index" not in graphs[0] or not isinstance(model.lift.lift, DiffLift):
        return None
    measured = asdict(recovery_of(model, graphs, seed=seed))
    found = {name: _jsonable(value) for name, value in measured.items()}
    # Where nothing learns to accept, probabilities mean nothing.
    return found if chooses(model.lift.lift) else {**found, "auroc": None}


def _liveliness(lifted: LiftedComplex) -> tuple[int, int]:
    """Order complexes by what there is to see: learned cells, then cells of the top rank."""
    return sum(rank.accepted for rank in lifted.summary().ranks), lifted.num_cells[-1]


def _write(result: Result, out: Path) -> None:
    from toponetx.readwrite.serialization import to_pickle

    from topox_difflift.plotting import draw, plot_acceptance

    (out / "metrics.json").write_text(json.dumps(result.metrics(), indent=2) + "\n")
    to_pickle(result.example.to_toponetx(), out / "lifted.pkl")
    pictures: dict[str, Any] = {}
    if result.example.num_cells[0] <= _DRAWN:
        pictures["lifted.png"] = draw(result.example)
    if any(rank.candidates for epoch in result.summaries for rank in epoch.ranks):
        pictures["acceptance.png"] = plot_acceptance(result.summaries)
    for name, axes in pictures.items():
        axes.figure.savefig(out / name, dpi=150, bbox_inches="tight")
