"""Training of a graph classifier with Lightning: the main job behind the command line."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.classifier import TNNS, Carried, LiftedClassifier
from topox_difflift.datasets import load_dataset, stratified_split
from topox_difflift.domains import DOMAINS
from topox_difflift.encoders import ENCODERS
from topox_difflift.estimators import ESTIMATORS
from topox_difflift.lift import DiffLift
from topox_difflift.liftings import CycleLifting, KHopLifting, NoLifting
from topox_difflift.summary import RankSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from topox_difflift.complex import LiftedComplex

__all__ = ["LIFTINGS", "Job", "Result", "Splits", "TrainingConfig", "TrainingModule"]

LIFTINGS = ("difflift", "cycle", "khop", "none")
#: Domain that a static lifting leads to.
_LEADS_TO = {"cycle": "cell", "khop": "hypergraph"}
#: Options that only a learned lifting has, with their defaults.
_LEARNED = {"estimator": "straight_through", "k_min": 2, "k_max": 5}


# ---------------------------------------------------------------------- what to run


@dataclass(frozen=True)
class TrainingConfig:
    """
    Everything that determines a run.

    Attributes
    ----------
    dataset : str
        "molecules", "planted_groups" or the name of a TUDataset.
    root : str
        Folder of the TUDataset.
    domain : str, optional
        Topological domain; by default the one that `lifting` and `tnn` ask for, else "cell".
    tnn : str, optional
        Topological network; by default the one for the domain.
    lifting : {"difflift", "cycle", "khop", "none"}
        The learned lifting or a static one, with the same encoder.
    encoder : {"gin", "gps"}
        Node embedding.
    estimator : str, optional
        How `DiffLift` accepts cells.
    k_min, k_max : int, optional
        Bounds of the neighbourhood size of `DiffLift`.
    hidden_channels, n_layers : int
        Width, and number of layers of the topological network.
    batch_size, max_epochs, lr : int, int, float
        Training with Adam.
    seed : int
        Seed of the split, the initialisation, the batches and the lifting.

    Raises
    ------
    ValueError
        If an option is unknown, impossible, or without effect beside the others.
    """

    dataset: str = "molecules"
    root: str = "data"
    domain: str | None = None
    tnn: str | None = None
    lifting: str = "difflift"
    encoder: str = "gin"
    estimator: str | None = None
    k_min: int | None = None
    k_max: int | None = None
    hidden_channels: int = 32
    n_layers: int = 2
    batch_size: int = 32
    max_epochs: int = 20
    lr: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options and fill in those that follow from others."""
        check_one_of("lifting", self.lifting, LIFTINGS)
        check_one_of("encoder", self.encoder, tuple(ENCODERS))
        for name in ("hidden_channels", "n_layers", "batch_size", "max_epochs"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("seed", self.seed, 0)
        if not self.lr > 0:
            raise ValueError(f"Expected 'lr' to be positive (got {self.lr})")
        self._settle_domain()
        self._settle_lifting()

    def _settle_domain(self) -> None:
        domain, tnn = self.domain, self.tnn
        if tnn is not None:
            check_one_of("tnn", tnn, tuple(TNNS))
        if domain is None:
            made_for = TNNS[tnn].topologies[0] if tnn else "cell"
            domain = _LEADS_TO.get(self.lifting, made_for)
        check_one_of("domain", domain, tuple(DOMAINS))
        topology = DOMAINS[domain].topology
        fitting = [name for name, network in TNNS.items() if topology in network.topologies]
        if tnn is None:
            tnn = fitting[0]
        if tnn not in fitting:
            raise ValueError(
                f"Expected 'tnn' to be {' or '.join(fitting)} for domain {domain!r} (got {tnn!r}, "
                f"which is for {', '.join(TNNS[tnn].topologies)})"
            )
        if _LEADS_TO.get(self.lifting, domain) != domain:
            raise ValueError(
                f"Expected 'domain' to be {_LEADS_TO[self.lifting]!r} with lifting "
                f"{self.lifting!r}, which makes no other (got {domain!r})"
            )
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "tnn", tnn)

    def _settle_lifting(self) -> None:
        given = {name: getattr(self, name) for name in _LEARNED if getattr(self, name) is not None}
        if self.lifting != "difflift":
            if given:
                raise ValueError(
                    f"Expected no {' or '.join(map(repr, given))} with lifting {self.lifting!r}, "
                    "where it would have no effect; leave it out, or take lifting 'difflift'"
                )
            return
        settled = {**_LEARNED, **given}
        if "k_max" not in given:
            settled["k_max"] = max(settled["k_min"], settled["k_max"])
        check_one_of("estimator", settled["estimator"], tuple(ESTIMATORS))
        check_at_least("k_min", settled["k_min"], 1)
        check_at_least("k_max", settled["k_max"], settled["k_min"], "the value of k_min")
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def build(self, in_channels: int, edge_channels: int, num_classes: int) -> LiftedClassifier:
        """
        Build the model, initialised from the seed.

        Parameters
        ----------
        in_channels : int
            Width of the node features.
        edge_channels : int
            Width of the edge features, 0 if there are none.
        num_classes : int
            Number of classes.

        Returns
        -------
        LiftedClassifier
            The model; no parameter waits for a first input. The global seed is as before.
        """
        hidden = self.hidden_channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            assert self.tnn is not None  # noqa: S101 -- settled above, for the type checker
            model = LiftedClassifier(
                ENCODERS[self.encoder](in_channels, hidden),
                self._lifting(hidden),
                TNNS[self.tnn](in_channels + hidden, hidden, self.n_layers),
                num_classes,
            )
            with torch.no_grad():
                model.eval()(_smallest_graph(in_channels, edge_channels))
        return model.train()

    def _lifting(self, hidden: int) -> torch.nn.Module:
        if self.lifting == "cycle":
            return CycleLifting()
        if self.lifting == "khop":
            return KHopLifting()
        assert self.domain is not None  # noqa: S101 -- settled above, for the type checker
        if self.lifting == "none":
            return NoLifting(self.domain)
        learned: dict[str, Any] = {name: getattr(self, name) for name in _LEARNED}
        generator = torch.Generator()
        return DiffLift(
            self.domain,
            encoder=Carried(hidden),
            hidden_channels=hidden,
            generator=generator,
            **learned,
        )


def _smallest_graph(in_channels: int, edge_channels: int) -> Data:
    """Make a triangle, which has a candidate of every rank that parameters could wait for."""
    edge_index = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    edge_attr = torch.zeros(6, edge_channels) if edge_channels else None
    return Data(x=torch.zeros(3, in_channels), edge_index=edge_index, edge_attr=edge_attr)


# ---------------------------------------------------------------------- data


class _EpochShuffle(Sampler[int]):
    """Shuffle by seed and epoch alone, so that a resumed run sees the same batches."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(_epoch_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.size, generator=generator).tolist())

    def __len__(self) -> int:
        return self.size


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


@dataclass(frozen=True)
class Splits:
    """
    The graphs of a run.

    Attributes
    ----------
    train, val, test : list of torch_geometric.data.Data
        Graphs with one class each.
    """

    train: list[Data]
    val: list[Data]
    test: list[Data]

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
            The graphs: 80 % for training, 10 % for validation, 10 % for the test.

        Raises
        ------
        ValueError
            If there is no such dataset, or it is not for graph classification.
        """
        graphs = load_dataset(config.dataset, config.root, config.seed)
        labels = torch.cat([graph.y.view(-1) for graph in graphs])
        if labels.numel() != len(graphs) or labels.is_floating_point():
            raise ValueError(
                "Expected 'dataset' to have one class for each graph "
                f"(got {config.dataset!r}, with 'y' of {labels.dtype}, {labels.numel()} values for "
                f"{len(graphs)} graphs); take one for graph classification, such as 'MUTAG'"
            )
        parts = stratified_split(labels, config.seed)
        return cls(*([graphs[i] for i in part.tolist()] for part in parts))

    def sizes(self) -> tuple[int, int, int]:
        """
        Measure what a model has to know.

        Returns
        -------
        tuple of int
            Widths of the node and edge features, number of classes.
        """
        graphs = [*self.train, *self.val, *self.test]
        edge_attr = graphs[0].edge_attr
        edge_channels = 0 if edge_attr is None else edge_attr.view(len(edge_attr), -1).size(1)
        return graphs[0].x.size(1), edge_channels, 1 + max(int(graph.y) for graph in graphs)


# ---------------------------------------------------------------------- the loop


class TrainingModule(LightningModule):
    """
    Lightning's view of a `LiftedClassifier`.

    A checkpoint holds all that is needed to build it again:
    ``TrainingModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt")``.

    Parameters
    ----------
    options : dict
        The fields of a `TrainingConfig`.
    in_channels, edge_channels, num_classes : int
        What the model has to know about the data.
    """

    def __init__(
        self, options: dict[str, Any], in_channels: int, edge_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = TrainingConfig(**options)
        self.model = self.config.build(in_channels, edge_channels, num_classes)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.history: list[dict[str, float]] = []
        self._started = 0.0

    def forward(self, batch: Data) -> Tensor:
        """
        Classify graphs.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            The graphs.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, num_classes)
            Logits.
        """
        return self.model(batch)

    def on_train_epoch_start(self) -> None:
        """Seed the draws of the lifting by the epoch, and start the clock."""
        generator = getattr(self.model.lifting, "generator", None)
        if generator is not None:
            # Set apart from the shuffle, which has the seed of the epoch as well.
            generator.manual_seed(_epoch_seed(self.config.seed, self.current_epoch) ^ 0x5EED)
        self._started = perf_counter()

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        """
        Compute the loss of a batch.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            Graphs with their class `y`.
        batch_idx : int
            Not used.

        Returns
        -------
        torch.Tensor
            Cross entropy.
        """
        loss = torch.nn.functional.cross_entropy(self(batch), batch.y)
        self._log("train_loss", loss, batch)
        return loss

    def validation_step(self, batch: Data, batch_idx: int) -> None:
        """
        Count right answers.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            Graphs with their class `y`.
        batch_idx : int
            Not used.
        """
        logits = self(batch)
        self.accuracy(logits, batch.y)
        self._log("val_loss", torch.nn.functional.cross_entropy(logits, batch.y), batch)
        self._log("val_accuracy", self.accuracy, batch)

    def _log(self, name: str, value: Any, batch: Data) -> None:
        self.log(
            name, value, on_step=False, on_epoch=True, prog_bar=True, batch_size=batch.num_graphs
        )

    def on_train_epoch_end(self) -> None:
        """Write down the epoch, before the checkpoint is written."""
        figures = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        seconds = perf_counter() - self._started
        self.history.append({"epoch": self.current_epoch, **figures, "seconds": seconds})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """
        Add the history.

        Parameters
        ----------
        checkpoint : dict
            What is about to be saved.
        """
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """
        Take up the history.

        Parameters
        ----------
        checkpoint : dict
            What was saved.
        """
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """
        Choose Adam.

        Returns
        -------
        torch.optim.Optimizer
            The optimiser of all parameters.
        """
        return torch.optim.Adam(self.parameters(), lr=self.config.lr)


@dataclass(frozen=True)
class Result:
    """
    What a run found.

    Attributes
    ----------
    config : TrainingConfig
        What was run.
    best_epoch : int
        Epoch with the highest validation accuracy, the first of equals.
    val_accuracy, test_accuracy : float
        Accuracies of that epoch's model.
    history : list of dict
        Figures of every epoch.
    ranks : tuple of RankSummary
        What the lifting did on the test set.
    example : LiftedComplex
        The accepted complex of one test graph.
    """

    config: TrainingConfig
    best_epoch: int
    val_accuracy: float
    test_accuracy: float
    history: list[dict[str, float]]
    ranks: tuple[RankSummary, ...]
    example: LiftedComplex

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

    def metrics(self) -> dict[str, Any]:
        """
        Collect the figures.

        Returns
        -------
        dict
            Figures that JSON can hold. All of them but "timing" are the same in every
            repetition, and whether or not the run was interrupted.
        """
        epochs = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in self.history]
        names = ("original", "candidates", "accepted", "acceptance_rate", "mean_size", "collapsed")
        return {
            "config": asdict(self.config),
            "test_accuracy": self.test_accuracy,
            "val_accuracy": self.val_accuracy,
            "best_epoch": self.best_epoch,
            "lifting": {
                str(rank.rank): {name: _jsonable(getattr(rank, name)) for name in names}
                for rank in self.ranks
            },
            "epochs": epochs,
            "timing": {
                "seconds_per_epoch": self.seconds_per_epoch,
                "seconds": [epoch["seconds"] for epoch in self.history],
            },
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
        """
        out = Path(out)
        if (out / "config.json").exists():
            raise FileExistsError(
                f"Expected 'out' to be a folder without a run (got {str(out)!r}); continue that "
                f"one with --resume {out}, or take another folder"
            )
        splits = Splits.of(config)
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
        """
        out = Path(out)
        if not (out / "config.json").is_file():
            raise FileNotFoundError(
                "Expected 'resume' to be the folder of a run, with its config.json "
                f"(got {str(out)!r})"
            )
        config = TrainingConfig(**json.loads((out / "config.json").read_text()))
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
        sizes = "/".join(str(len(part)) for part in (splits.train, splits.val, splits.test))
        return (
            f"{config.dataset}, {sizes} graphs: {config.encoder} encoder, {config.lifting} lifting "
            f"to domain {config.domain}, {config.tnn}, {config.max_epochs} epochs"
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
            lifted.png and lifted.pkl, a TopoNetX complex.
        """
        module = TrainingModule(asdict(self.config), *self.splits.sizes())
        _fit(module, self.splits, self.out, progress)
        checkpoints = self.out / "checkpoints"
        last = torch.load(checkpoints / "last.ckpt", weights_only=True)
        best = torch.load(checkpoints / "best.ckpt", weights_only=True)
        module.load_state_dict(best["state_dict"])
        accuracy, ranks, example = _test(module, self.splits.test)
        chosen = best["history"][-1]
        result = Result(
            config=self.config,
            best_epoch=int(chosen["epoch"]),
            val_accuracy=chosen["val_accuracy"],
            test_accuracy=accuracy,
            history=last["history"],
            ranks=ranks,
            example=example,
        )
        _write(result, self.out)
        return result


def _fit(module: TrainingModule, splits: Splits, out: Path, progress: bool) -> None:
    config = module.config
    shuffle = _EpochShuffle(len(splits.train), config.seed)
    loader = DataLoader(splits.train, config.batch_size, sampler=shuffle)
    callbacks: list[Callback] = [_Checkpoints(out / "checkpoints")]
    if progress:
        callbacks.append(RichProgressBar())
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=out,
        max_epochs=config.max_epochs,
        callbacks=callbacks,
        gradient_clip_val=1.0,
        enable_progress_bar=progress,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
    )
    last = out / "checkpoints" / "last.ckpt"
    with warnings.catch_warnings():
        # One process reads graphs that are in memory; there is nothing for workers to do.
        warnings.filterwarnings("ignore", ".*does not have many workers")
        trainer.fit(
            module,
            loader,
            DataLoader(splits.val, config.batch_size),
            ckpt_path=str(last) if last.exists() else None,
        )


class _Checkpoints(Checkpoint):
    """
    After every epoch, keep what a run resumes from, and the best model on the validation set.

    Lightning's own ModelCheckpoint remembers absolute paths, and with them forgets the
    best score of a run whose folder was moved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.best = folder, -1.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        score = float(trainer.callback_metrics["val_accuracy"])
        if score > self.best:
            self.best = score
            trainer.save_checkpoint(self.folder / "best.ckpt")
        # Last, so that it knows of the best; an interruption in between repeats the epoch.
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score."""
        self.best = state_dict["best"]


# ---------------------------------------------------------------------- what it leaves


def _test(
    module: TrainingModule, graphs: list[Data]
) -> tuple[float, tuple[RankSummary, ...], LiftedComplex]:
    """Return the accuracy, what the lifting did, and the graph with most learned cells."""
    model, right = module.model.eval(), 0
    summaries: list[tuple[RankSummary, ...]] = []
    examples: list[LiftedComplex] = []
    with torch.no_grad():
        for batch in DataLoader(graphs, module.config.batch_size):
            lifted = model.lift(batch)
            right += int((model.classify(lifted).argmax(1) == batch.y).sum())
            summaries.append(lifted.summary().ranks)
            examples += lifted.accepted().unbatch()
    ranks = tuple(_total(of_rank) for of_rank in zip(*summaries, strict=True))
    return right / len(graphs), ranks, max(examples, key=_liveliness)


def _total(parts: Sequence[RankSummary]) -> RankSummary:
    """Add up the batches."""
    cells = sum(part.cells for part in parts)
    members = sum(part.cells * part.mean_size for part in parts if part.cells)
    return RankSummary(
        rank=parts[0].rank,
        original=sum(part.original for part in parts),
        candidates=sum(part.candidates for part in parts),
        accepted=sum(part.accepted for part in parts),
        mean_size=members / cells if cells else float("nan"),
    )


def _liveliness(lifted: LiftedComplex) -> tuple[int, int]:
    """Order complexes by what there is to see: learned cells, then cells of the top rank."""
    return sum(rank.accepted for rank in lifted.summary().ranks), lifted.num_cells[-1]


def _write(result: Result, out: Path) -> None:
    from toponetx.readwrite.serialization import to_pickle

    from topox_difflift.plotting import draw, new_figure

    (out / "metrics.json").write_text(json.dumps(result.metrics(), indent=2) + "\n")
    to_pickle(result.example.to_toponetx(), out / "lifted.pkl")
    figure, axes = new_figure()
    draw(result.example, axes)
    figure.savefig(out / "lifted.png", dpi=150, bbox_inches="tight")
