"""What training does to a lifting: whether it collapses, which parts learn, how sure it is."""

from __future__ import annotations

import copy
import warnings
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch
from lightning.pytorch import Callback
from torch_geometric.loader import DataLoader

from topox_difflift.lift import DiffLift
from topox_difflift.liftings import FixedRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.nn import TopologicalNetwork
    from topox_difflift.summary import RankSummary
    from topox_difflift.training import TrainingModule

__all__ = [
    "CollapseWatch",
    "CollapsedLifting",
    "GradientNorms",
    "chooses",
    "collapsed_ranks",
    "resample",
    "warn_if_collapsed",
]

#: Parts of a `DiffLift`, by what they decide.
_STAGES = {"kernels": "memberships", "sizes": "sizes", "scorers": "acceptance"}
_BINS = 10


class CollapsedLifting(UserWarning):
    """Warning that a lifting accepts nothing, or everything."""


class CollapseWatch(Callback):
    """
    Warn, once in a run, when a learned lifting has stopped to choose.

    It has where, at some rank, nothing or everything that was proposed to it in training was
    accepted for several epochs in succession, or in the last one. Liftings that do not learn to
    accept, and ranks at which the domain decides, are left alone.

    Parameters
    ----------
    patience : int, default=5
        Number of epochs.
    """

    def __init__(self, patience: int = 5) -> None:
        self.patience, self.warned = patience, False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Look at the last epochs.

        Parameters
        ----------
        trainer : lightning.pytorch.Trainer
            Says whether this is the process that speaks for all.
        pl_module : TrainingModule
            What is trained, with its history.
        """
        history = cast("TrainingModule", pl_module).history
        if len(history) >= self.patience:
            self._look(trainer, pl_module, history[-self.patience :])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Look at the last epoch.

        Parameters
        ----------
        trainer : lightning.pytorch.Trainer
            Says whether this is the process that speaks for all.
        pl_module : TrainingModule
            What was trained, with its history.
        """
        self._look(trainer, pl_module, cast("TrainingModule", pl_module).history[-1:])

    def _look(
        self, trainer: Trainer, pl_module: LightningModule, recent: list[dict[str, Any]]
    ) -> None:
        """Warn if all of some epochs in succession accepted nothing or everything."""
        lifting = cast("TrainingModule", pl_module).model.lift.lift
        if self.warned or not chooses(lifting):
            return
        for of_rank in zip(*(epoch["lifting"]["ranks"] for epoch in recent), strict=True):
            rank, candidates = of_rank[0]["rank"], sum(one["candidates"] for one in of_rank)
            accepted = sum(one["accepted"] for one in of_rank)
            if candidates and accepted in (0, candidates) and not lifting.domain.decides(rank):
                self.warned = True
                if not trainer.is_global_zero:
                    return
                what = "everything" if accepted else "nothing"
                span = f"for {len(recent)} epochs, the last of them" if len(recent) > 1 else "in"
                warnings.warn(
                    f"The lifting has collapsed: it accepted {what} "
                    f"at rank {rank} {span} epoch {recent[-1]['epoch']}. "
                    "Try a lower learning rate, another estimator or rejected='keep'",
                    CollapsedLifting,
                    stacklevel=2,
                )
                return

    def state_dict(self) -> dict[str, Any]:
        """
        Remember whether it was said.

        Returns
        -------
        dict
            For the checkpoint.
        """
        return {"warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """
        Take it up.

        Parameters
        ----------
        state_dict : dict
            What the checkpoint holds.
        """
        self.warned = state_dict["warned"]


def chooses(lifting: object) -> TypeGuard[DiffLift]:
    """
    Whether a lifting learns what to accept.

    Parameters
    ----------
    lifting : object
        The lifting.

    Returns
    -------
    bool
        False for a static one, and for one that accepts all or by chance.
    """
    return isinstance(lifting, DiffLift) and not isinstance(lifting.estimator, FixedRate)


def collapsed_ranks(lifting: object, ranks: Sequence[RankSummary]) -> list[RankSummary]:
    """
    Find the ranks at which a lifting that learns to choose did not.

    Parameters
    ----------
    lifting : object
        The lifting.
    ranks : sequence of RankSummary
        What it did.

    Returns
    -------
    list of RankSummary
        Those where it accepted nothing or everything of what was proposed; none of a lifting
        that does not learn to accept, nor ranks at which the domain decides.
    """
    if not chooses(lifting):
        return []
    return [rank for rank in ranks if rank.collapsed and not lifting.domain.decides(rank.rank)]


def warn_if_collapsed(lifting: object, ranks: Sequence[RankSummary]) -> None:
    """
    Warn if a lifting has not chosen on the test set.

    In evaluation nothing is drawn: what is more likely than not is accepted. So a lifting that
    rejects every fourth candidate in training may accept all of them there.

    Parameters
    ----------
    lifting : object
        The lifting.
    ranks : sequence of RankSummary
        What it did on the test set.
    """
    for rank in collapsed_ranks(lifting, ranks):
        what, like = ("everything", "accept_all") if rank.accepted else ("nothing", "none")
        warnings.warn(
            f"On the test set the lifting has collapsed: it accepted {what} at rank {rank.rank} "
            f"({rank.accepted} of {rank.candidates}). Its acceptances tell nothing there; compare "
            f"with --lifting {like}, or train longer",
            CollapsedLifting,
            stacklevel=2,
        )


class GradientNorms(Callback):
    """
    Euclidean norm of the gradient of each stage, before it is clipped, as a mean over an epoch.

    Stages are "encoder", with what projects the features first, of a learned lifting
    "memberships", "sizes" and "acceptance", and "network" for all that follows.

    Attributes
    ----------
    epochs : list of dict of str to float
        The means, epoch by epoch.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._steps: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Begin to count.

        Parameters
        ----------
        trainer : lightning.pytorch.Trainer
            Not used.
        pl_module : TrainingModule
            Not used.
        """
        self._steps = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """
        Measure a step.

        Parameters
        ----------
        trainer : lightning.pytorch.Trainer
            Not used.
        pl_module : TrainingModule
            What is trained.
        optimizer : torch.optim.Optimizer
            Not used.
        """
        self._steps.append(_gradient_norms(cast("TrainingModule", pl_module).model))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Average.

        Parameters
        ----------
        trainer : lightning.pytorch.Trainer
            Not used.
        pl_module : TrainingModule
            Not used.
        """
        stages = self._steps[0]
        self.epochs.append({name: fmean(step[name] for step in self._steps) for name in stages})

    def state_dict(self) -> dict[str, Any]:
        """
        Remember the epochs.

        Returns
        -------
        dict
            For the checkpoint.
        """
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """
        Take them up.

        Parameters
        ----------
        state_dict : dict
            What the checkpoint holds.
        """
        self.epochs = state_dict["epochs"]


def _gradient_norms(model: TopologicalNetwork) -> dict[str, float]:
    squares: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            stage, square = _stage(name), gradient.square().sum()
            squares[stage] = squares[stage] + square if stage in squares else square
    return {stage: float(square.sqrt()) for stage, square in squares.items()}


def _stage(name: str) -> str:
    """Stage that a parameter of a `TopologicalNetwork` with an `EmbedThenLift` belongs to."""
    if name.startswith(("lift.project.", "lift.encoder.")):
        return "encoder"
    part = name.removeprefix("lift.lift.").partition(".")[0]
    return _STAGES.get(part, "network") if name.startswith("lift.lift.") else "network"


def resample(
    model: TopologicalNetwork, graphs: list[Data], batch_size: int, draws: int = 5, seed: int = 0
) -> dict[str, Any]:
    """
    Draw the cells of graphs several times, and look at what depends on the draw.

    Parameters
    ----------
    model : TopologicalNetwork
        A model whose lifting is an `EmbedThenLift`; not changed.
    graphs : list of torch_geometric.data.Data
        Graphs.
    batch_size : int
        Graphs at a time.
    draws : int, default=5
        Number of draws.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    dict
        "prediction_variance", the variance over the draws of what is predicted, summed over its
        entries (probabilities, if there is more than one) and averaged over graphs or nodes; and
        "probabilities", for each rank in how many of ten intervals from 0 to 1 the acceptance
        probability of how many candidates lies, all draws together. None and nothing where the
        lifting draws nothing.
    """
    if not isinstance(model.lift.lift, DiffLift):
        return {"prediction_variance": None, "probabilities": {}}
    model = copy.deepcopy(model).eval()
    lifting = model.lift.lift
    device = next(model.parameters()).device
    lifting.generator = torch.Generator(device).manual_seed(seed)
    # As in training: drawn, and with the rejected ones, whose probabilities count as well.
    lifting.train()
    lifting.rejected = "keep"
    variances: list[Tensor] = []
    counts: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in DataLoader(graphs, batch_size, generator=torch.Generator()):
            batch = batch.to(device)
            drawn = [model.lifted(batch) for _ in range(draws)]
            values = torch.stack([_predicted(model, lifted) for lifted in drawn])
            # Of nodes, those that are asked about.
            values = values[:, batch.mask] if "mask" in batch else values
            variances.append(values.var(0).sum(1))
            for lifted in drawn:
                _count(lifted, counts)
    return {
        "prediction_variance": float(torch.cat(variances).mean()),
        "probabilities": {rank: of_rank.tolist() for rank, of_rank in counts.items()},
    }


def _predicted(model: TopologicalNetwork, lifted: LiftedComplex) -> Tensor:
    values = model.predict(lifted.accepted())
    return values.softmax(1) if values.size(1) > 1 else values


def _count(lifted: LiftedComplex, counts: dict[str, Tensor]) -> None:
    """Add the acceptance probabilities of all candidates to the counts of their intervals."""
    for rank in range(1, lifted.max_rank + 1):
        prob = lifted[f"prob_{rank}"]
        candidate = (prob < 1) & lifted[f"included_{rank}"]
        found = torch.histc(prob[candidate].double(), _BINS, 0, 1).long()
        counts[str(rank)] = counts.get(str(rank), torch.zeros_like(found)) + found
