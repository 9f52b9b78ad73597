"""The training loop, on Lightning; a resumed run goes on exactly as it would have."""

from __future__ import annotations

import logging
import math
import os
import pickle
import warnings
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DistributedSampler
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from topox_difflift.config import TrainingConfig
from topox_difflift.diagnostics import CollapseWatch
from topox_difflift.estimators import leave_one_out, repeat_graphs
from topox_difflift.lift import DiffLift
from topox_difflift.options import set_options
from topox_difflift.pool import Pool
from topox_difflift.summary import LiftingSummary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch_geometric.data import Data

    from topox_difflift.tasks import Task

__all__ = ["TrainingModule", "fit"]

#: Draws per step and graph with an estimator whose gates carry no gradient.
_DRAWS = 4
#: Between the seeds of two runs, so that one never meets those of the other's epochs.
_EPOCHS = 1_000_003


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
        self.model = self.config.build(in_channels, edge_channels, out_channels)
        self.metric = self.task.measure(out_channels)
        self.history: list[dict[str, Any]] = []
        self._summaries: list[LiftingSummary] = []
        self._started = 0.0

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.config.task

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
        """Seed the draws of the lifting by the epoch, move its schedules on, start the clock."""
        lifting = self.model.lift.lift
        if isinstance(lifting, DiffLift):
            schedules = self.config.schedules
            set_options(lifting, {name: at(self.current_epoch) for name, at in schedules.items()})
            # Set apart from the shuffle, which has the seed of the epoch as well.
            lifting.generator = torch.Generator(self.device).manual_seed(self._seed ^ 0x5EED)
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
            The loss of the task, and the price of the cells. Where gates carry no gradient, the
            mean over several draws, with a gradient from how they compare.
        """
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            # What is dropped depends on the seed and the step alone, as in a resumed run.
            torch.manual_seed(self._seed ^ (batch_idx + 1 << 40))
            loss = self._loss(batch)
        self._log("train_loss", loss, batch)
        return loss

    @property
    def _seed(self) -> int:
        """Seed of the draws of this epoch, another one in each process."""
        seed = self.config.seed * _EPOCHS + self.current_epoch
        return seed ^ (self.global_rank << 32)

    def _loss(self, batch: Data) -> Tensor:
        lifting = self.model.lift.lift
        if not isinstance(lifting, DiffLift):
            return self.task.loss(*self._examples(batch))
        if not lifting.estimator.pathwise:
            repeated = repeat_graphs(batch, _DRAWS)
            losses = self.task.loss(*self._examples(repeated), reduction="none")
            of_graphs = losses.view(_DRAWS, batch.num_graphs, -1).mean(-1)
            loss = leave_one_out(of_graphs, lifting.log_prob().view(_DRAWS, -1))
        else:
            loss = self.task.loss(*self._examples(batch))
        return loss + lifting.cost() if lifting.cell_price or lifting.entropy_price else loss

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
            name,
            value,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            sync_dist=True,
            batch_size=batch.num_graphs,
        )

    def on_train_epoch_end(self) -> None:
        """Write down the epoch, before the checkpoint is written."""
        figures = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        lifting = asdict(LiftingSummary.total(_of_all_processes(self._summaries)))
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
        The model. Where several processes train it, each has a copy, and what they have learned
        is in the checkpoints alone.
    train, val : list of torch_geometric.data.Data
        Graphs to train on and to select an epoch by.
    out : pathlib.Path
        Folder of the run; checkpoints (best.ckpt and last.ckpt) go to and come from its
        subfolder checkpoints.
    progress : bool, default=False
        Whether to show a progress bar.
    callbacks : sequence of lightning.pytorch.Callback, default=()
        What else looks on, a copy in each process where there are several.

    Raises
    ------
    RuntimeError
        If one of several processes failed; the others are ended.
    """
    if module.config.devices is None:
        _fit(module, train, val, out, progress, callbacks)
    else:
        _fit_together(module, train, val, out, progress, callbacks)


def _fit(
    module: TrainingModule,
    train: list[Data],
    val: list[Data],
    out: Path,
    progress: bool,
    callbacks: Sequence[Callback],
) -> None:
    """Train in this process, alone or as one of several."""
    config = module.config
    every: list[Callback] = [
        *callbacks,
        CollapseWatch(),
        # Last, so that a checkpoint holds what the others remember of its epoch.
        _Checkpoints(out / "checkpoints", module),
    ]
    if progress:
        every.append(RichProgressBar())
    trainer = Trainer(
        accelerator=config.device,
        devices=config.devices or 1,
        strategy="auto" if config.devices is None else _ddp(),
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
            datamodule=_Graphs(train, val, config.batch_size, config.seed),
            ckpt_path=str(last) if last.exists() else None,
        )


def _ddp() -> DDPStrategy:
    """
    Average the gradients of processes that are there already, on this machine.

    Not every parameter has a gradient in every process: acceptances of a control that does not
    learn them have none, nor what CCXN, CAN and HyperGAT never read, nor, where no graph of a
    share has a cell, what of CAN cells alone would use.
    """
    return DDPStrategy(cluster_environment=LightningEnvironment(), find_unused_parameters=True)


class _Share(NamedTuple):
    """What one of several processes is given: its number, and all that `_fit` takes, packed."""

    rank: int
    port: int
    packed: bytes


def _fit_together(module: TrainingModule, train: list[Data], val: list[Data], *others: Any) -> None:
    """Start the processes, and end all of them if one fails: the others would wait for it."""
    # As bytes, since each tensor would take a file of shared memory.
    packed = pickle.dumps((module, *map(Batch.from_data_list, (train, val)), *others))
    port, devices = LightningEnvironment().main_port, module.config.devices or 1
    pool: Pool[_Share] = Pool(_fit_share, devices)
    try:
        for rank in range(devices):
            pool.start(_Share(rank, port, packed))
        while pool.running:
            for _, outcome in pool.finished():
                if outcome.error is not None:
                    where = "; ".join(outcome.where)
                    raise RuntimeError(
                        f"One of {devices} processes failed: {outcome.error} ({where})"
                    )
                for warning in outcome.value:
                    warnings.warn(warning, stacklevel=3)
    finally:
        pool.stop()


def _fit_share(share: _Share) -> list[Warning]:
    """Train as one of several processes; the first one returns what it was warned of."""
    # By these Lightning finds the others.
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(share.port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(share.rank),
    }
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(record=True) as caught:
        # Lightning's own call of a torch function that is deprecated.
        warnings.filterwarnings("ignore", ".*LeafSpec")
        # Which parameters have no gradient is not known before.
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        module, train, val, *others = pickle.loads(share.packed)  # noqa: S301 -- packed above
        _fit(module, train.to_data_list(), val.to_data_list(), *others)
    return [warning.message for warning in caught] if share.rank == 0 else []  # type: ignore[misc]


def _of_all_processes(summaries: list[LiftingSummary]) -> list[LiftingSummary]:
    """Put together what the lifting did to the graphs of each process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return summaries
    mine = LiftingSummary.total(summaries)
    found = [mine] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    return found


class _Graphs(LightningDataModule):
    """
    Graphs in memory, a share of them for each process.

    They are shuffled by seed and epoch alone, so that a resumed run sees the same batches.
    Shares of the training set are of one size, for which some graphs are taken twice; those of
    the validation set hold each graph once.
    """

    def __init__(self, train: list[Data], val: list[Data], batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed

    def train_dataloader(self) -> DataLoader:
        """Shuffle, anew in each epoch."""
        return self._loader(self.train, DistributedSampler, seed=self.seed * _EPOCHS)

    def val_dataloader(self) -> DataLoader:
        """Take them as they come."""
        return self._loader(self.val, UnrepeatedDistributedSampler, shuffle=False)

    def _loader(self, graphs: list[Data], sampler: type, **options: Any) -> DataLoader:
        trainer = cast("Trainer", self.trainer)
        share = sampler(graphs, trainer.world_size, trainer.global_rank, **options)
        # A loader draws a seed for workers, even without any; not from the global source.
        return DataLoader(graphs, self.batch_size, sampler=share, generator=torch.Generator())


class _Checkpoints(Checkpoint):
    """
    After every epoch, keep what a run resumes from, and the best model on the validation set.

    Stop when there was no better one for `patience` epochs. An epoch counts from when all
    schedules have ended: before, it is another model that is trained.

    Lightning's own ModelCheckpoint remembers absolute paths, and with them forgets the
    best score of a run whose folder was moved.
    """

    def __init__(self, folder: Path, module: TrainingModule) -> None:
        self.folder, self.patience = folder, module.config.patience
        self.sign = 1 if module.task.higher_is_better else -1
        self.first = module.config.first_epoch
        self.best, self.waited = -math.inf, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a run that had stopped as it is."""
        self._stop_if_in_vain(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        score = self.sign * float(trainer.callback_metrics["val"])
        if trainer.current_epoch >= self.first:
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
