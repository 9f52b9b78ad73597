"""The training loop, on Lightning; a resumed run goes on exactly as it would have."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.loader import DataLoader

from topox_difflift.config import TrainingConfig
from topox_difflift.diagnostics import CollapseWatch
from topox_difflift.estimators import leave_one_out, repeat_graphs
from topox_difflift.lift import DiffLift
from topox_difflift.summary import LiftingSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch_geometric.data import Data

__all__ = ["TrainingModule", "fit"]

#: Draws per step and graph with an estimator whose gates carry no gradient.
_DRAWS = 4


class TrainingModule(LightningModule):
    """
    Lightning's view of a `TopologicalNetwork`.

    A checkpoint holds all that is needed to build it again:
    ``TrainingModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt")``.

    Parameters
    ----------
    options : dict
        The fields of a `TrainingConfig`.
    in_channels, edge_channels, out_channels : int
        Widths of node features, edge features and predictions.
    """

    def __init__(
        self, options: dict[str, Any], in_channels: int, edge_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = TrainingConfig(**options)
        self.task = self.config.task
        self.model = self.config.build(in_channels, edge_channels, out_channels)
        self.metric = self.task.measure(out_channels)
        self.history: list[dict[str, Any]] = []
        self._summaries: list[LiftingSummary] = []
        self._started = 0.0

    def forward(self, batch: Data) -> Tensor:
        """
        Predict.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            The graphs.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, out_channels) or (n_nodes, out_channels)
            Logits or values.
        """
        return self.model(batch)

    def on_train_epoch_start(self) -> None:
        """Seed the draws of the lifting by the epoch, and start the clock."""
        lifting = self.model.lift.lift
        if isinstance(lifting, DiffLift):
            # Set apart from the shuffle, which has the seed of the epoch as well.
            seed = _epoch_seed(self.config.seed, self.current_epoch) ^ 0x5EED
            lifting.generator = torch.Generator(self.device).manual_seed(seed)
        self._summaries = []
        self._started = perf_counter()

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        """
        Compute the loss of a batch.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            Graphs with their targets.
        batch_idx : int
            Not used.

        Returns
        -------
        torch.Tensor
            The loss of the task. Where gates carry no gradient, the mean over several draws, with
            a gradient from how they compare.
        """
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            # What is dropped depends on the seed and the step alone, as in a resumed run.
            seed = _epoch_seed(self.config.seed, self.current_epoch)
            torch.manual_seed(seed ^ (batch_idx + 1 << 40))
            loss = self._loss(batch)
        self._log("train_loss", loss, batch)
        return loss

    def _loss(self, batch: Data) -> Tensor:
        lifting = self.model.lift.lift
        if isinstance(lifting, DiffLift) and not lifting.estimator.pathwise:
            repeated = repeat_graphs(batch, _DRAWS)
            losses = self.task.loss(*self._examples(repeated), reduction="none")
            of_graphs = losses.view(_DRAWS, batch.num_graphs, -1).mean(-1)
            return leave_one_out(of_graphs, lifting.log_prob().view(_DRAWS, -1))
        return self.task.loss(*self._examples(batch))

    def _examples(self, batch: Data) -> tuple[Tensor, Tensor]:
        """Predict what counts, and keep what the lifting did."""
        lifted = self.model.lifted(batch)
        self._summaries.append(lifted.summary())
        return self.task.examples(self.model.predict(lifted), batch)

    def validation_step(self, batch: Data, batch_idx: int) -> None:
        """
        Compare predictions with the truth.

        Parameters
        ----------
        batch : torch_geometric.data.Data
            Graphs with their targets.
        batch_idx : int
            Not used.
        """
        predictions, targets = self.task.examples(self(batch), batch)
        self.metric.update(self.task.scores(predictions), targets)
        self._log("val_loss", self.task.loss(predictions, targets), batch)
        self._log("val", self.metric, batch)

    def _log(self, name: str, value: Any, batch: Data) -> None:
        self.log(
            name, value, on_step=False, on_epoch=True, prog_bar=True, batch_size=batch.num_graphs
        )

    def on_train_epoch_end(self) -> None:
        """Write down the epoch, before the checkpoint is written."""
        figures = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        lifting = asdict(LiftingSummary.total(self._summaries))
        seconds = perf_counter() - self._started
        self.history.append(
            {"epoch": self.current_epoch, **figures, "lifting": lifting, "seconds": seconds}
        )

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
            The optimiser of all parameters; those of the lifting do not decay.
        """
        deciding = list(self.model.lift.lift.parameters())
        known = {id(parameter) for parameter in deciding}
        others = [p for p in self.parameters() if id(p) not in known]
        groups = [{"params": others, "weight_decay": self.config.weight_decay}]
        if deciding:
            groups.append({"params": deciding, "weight_decay": 0.0})
        assert self.config.lr is not None  # noqa: S101 -- settled there, for the type checker
        return torch.optim.Adam(groups, lr=self.config.lr)


def fit(
    module: TrainingModule,
    train: list[Data],
    val: list[Data],
    out: Path,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> None:
    """
    Train from the start, or from the last checkpoint of an interrupted run.

    Parameters
    ----------
    module : TrainingModule
        The model.
    train, val : list of torch_geometric.data.Data
        Graphs to train on and to select an epoch by.
    out : pathlib.Path
        Folder of the run; checkpoints (best.ckpt and last.ckpt) go to and come from its
        subfolder checkpoints.
    progress : bool, default=False
        Whether to show a progress bar.
    callbacks : sequence of lightning.pytorch.Callback, default=()
        What else looks on.
    """
    config = module.config
    shuffle = _EpochShuffle(len(train), config.seed)
    every: list[Callback] = [
        *callbacks,
        CollapseWatch(),
        # Last, so that a checkpoint holds what the others remember of its epoch.
        _Checkpoints(out / "checkpoints", module.task.higher_is_better, config.patience),
    ]
    if progress:
        every.append(RichProgressBar())
    trainer = Trainer(
        accelerator=config.device,
        devices=1,
        default_root_dir=out,
        max_epochs=config.max_epochs,
        callbacks=every,
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
            _loader(train, config.batch_size, sampler=shuffle),
            _loader(val, config.batch_size),
            ckpt_path=str(last) if last.exists() else None,
        )


def _loader(graphs: list[Data], batch_size: int, **options: Any) -> DataLoader:
    # A loader draws a seed for workers, even without any; not from the global source.
    return DataLoader(graphs, batch_size, generator=torch.Generator(), **options)


class _Checkpoints(Checkpoint):
    """
    After every epoch, keep what a run resumes from, and the best model on the validation set.

    Stop when there was no better one for `patience` epochs.

    Lightning's own ModelCheckpoint remembers absolute paths, and with them forgets the
    best score of a run whose folder was moved.
    """

    def __init__(
        self, folder: Path, higher_is_better: bool = True, patience: int | None = None
    ) -> None:
        self.folder, self.patience = folder, patience
        self.sign = 1 if higher_is_better else -1
        self.best, self.waited = -math.inf, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a run that had stopped as it is."""
        self._stop_if_in_vain(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        score = self.sign * float(trainer.callback_metrics["val"])
        self.waited += 1
        if score > self.best:
            self.best, self.waited = score, 0
            trainer.save_checkpoint(self.folder / "best.ckpt")
        # Last, so that it knows of the best; an interruption in between repeats the epoch.
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self._stop_if_in_vain(trainer)

    def _stop_if_in_vain(self, trainer: Trainer) -> None:
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score, and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up."""
        self.best, self.waited = state_dict["best"], state_dict["waited"]


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
