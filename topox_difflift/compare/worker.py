"""Do one run of a comparison, and put down all that there is to know about it."""

from __future__ import annotations

import copy
import logging
import math
import platform
import resource
import shutil
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

import topox_difflift
from topox_difflift.compare.results import locked
from topox_difflift.diagnostics import (
    CollapsedLifting,
    GradientNorms,
    chooses,
    collapsed_ranks,
    resample,
)
from topox_difflift.graph import check_graph
from topox_difflift.job import Job, Result, figures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from torch_geometric.data import Data

    from topox_difflift.compare.grid import Run
    from topox_difflift.complex import LiftedComplex
    from topox_difflift.config import TrainingConfig
    from topox_difflift.nn import EmbedThenLift
    from topox_difflift.summary import RankSummary
    from topox_difflift.training import TrainingModule

__all__ = ["Fixed", "Task", "describe", "failure", "perform"]


@dataclass(frozen=True)
class Task:
    """
    A run, and a folder to do it in.

    Attributes
    ----------
    run : Run
        What to do.
    folder : pathlib.Path
        Holds what an interrupted run goes on from; its own, and gone when the run is done.
    """

    run: Run
    folder: Path


class Fixed(torch.nn.Module):
    """
    The cells that a trained lifting finds, as a static lifting of features still in training.

    Parameters
    ----------
    learned : EmbedThenLift
        The trained lifting with its encoder.
    """

    def __init__(self, learned: EmbedThenLift) -> None:
        super().__init__()
        self.learned, self.given = copy.deepcopy(learned), _Given()
        self.learned.lift.encoder = self.given
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Fixed:
        """
        Leave it as it is: its cells are those of an evaluation.

        Parameters
        ----------
        mode : bool, default=True
            Not used.

        Returns
        -------
        Fixed
            Itself.
        """
        return self

    def forward(self, data: Data) -> LiftedComplex:
        """
        Lift features to the cells that their graph had for the trained lifting.

        Parameters
        ----------
        data : torch_geometric.data.Data
            Graphs as an `EmbedThenLift` lifts them, with the features as they were `given`.

        Returns
        -------
        LiftedComplex
            The complex.
        """
        graph = replace(check_graph(data), x=data.given)
        self.given.z = self.learned.embed(graph)[1]
        return self.learned.lift(data)


class _Given(torch.nn.Module):
    """Encoder whose embedding was computed before."""

    z: Tensor

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.z


def perform(task: Task) -> dict[str, Any]:
    """
    Do a run, from where it was interrupted if it was.

    Parameters
    ----------
    task : Task
        What to do, and where.

    Returns
    -------
    dict
        Its record.
    """
    run, folder = task.run, task.folder
    folder.mkdir(parents=True, exist_ok=True)
    # A process that was told to end a moment ago may still be there.
    with locked(folder / "lock"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", CollapsedLifting)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        prepare = None
        if run.source is not None and not run.waits:
            learned = _job(run.source.config, folder / "source").train()[1].model
            prepare = partial(_replace_lifting, lifting=Fixed(learned.lift))
        norms = GradientNorms()
        job = _job(run.config, folder / "run")
        result, module = job.train(callbacks=[norms], prepare=prepare)
        record = {
            **describe(run),
            "status": "done",
            **_outcome(job, result),
            **_lifting(result, module),
            "gradient_norms": {"first": norms.epochs[0], "last": norms.epochs[-1]},
            **resample(module.model, job.splits.test, run.config.batch_size, seed=run.config.seed),
            "recovery": result.recovery,
            "device": run.config.device,
            "peak_memory_mib": _peak_memory(),
            "warnings": [str(warning.message) for warning in caught],
            "versions": _versions(),
        }
    shutil.rmtree(folder)
    return _finite(record)


def _finite(value: Any) -> Any:
    """Replace what JSON does not know, such as the gradient of a run that diverged, by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(run: Run) -> dict[str, Any]:
    """
    Say which run it is.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    dict
        The beginning of its record.
    """
    config = asdict(run.config)
    del config["root"], config["device"]
    return {
        "id": run.id,
        "dataset": run.config.dataset,
        "tnn": run.config.tnn,
        "encoder": run.config.encoder,
        "arm": run.arm,
        "seed": run.config.seed,
        "fold": run.config.fold,
        "version": topox_difflift.__version__,
        "config": config,
        "source": None if run.source is None else run.source.id,
    }


def failure(run: Run, error: str, where: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Make the record of a run that failed.

    Parameters
    ----------
    run : Run
        The run.
    error : str
        Why.
    where : tuple of str, default=()
        The innermost calls.

    Returns
    -------
    dict
        Its record.
    """
    return {**describe(run), "status": "failed", "error": error, "where": list(where)}


def _job(config: TrainingConfig, folder: Path) -> Job:
    if (folder / "checkpoints" / "last.ckpt").exists():
        return Job.resume(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return Job.start(config, folder)


def _replace_lifting(module: TrainingModule, lifting: torch.nn.Module) -> None:
    module.model.lift.lift = lifting


def _outcome(job: Job, result: Result) -> dict[str, Any]:
    splits = job.splits
    return {
        "split": {
            part: len(splits.targets(getattr(splits, part))) for part in ("train", "val", "test")
        },
        "metric": splits.task.metric,
        "higher_is_better": splits.task.higher_is_better,
        "val": result.val,
        "test": result.test,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "seconds": sum(epoch["seconds"] for epoch in result.history),
        "seconds_per_epoch": result.seconds_per_epoch,
    }


def _lifting(result: Result, module: TrainingModule) -> dict[str, Any]:
    """Say what was accepted: of the test set, and, in all draws, when the tested model trained."""
    lifting = module.model.lift.lift
    best = result.summaries[result.best_epoch].ranks
    proposed, accepted = (sum(getattr(r, k) for r in best) for k in ("candidates", "accepted"))
    return {
        "lifting": figures(result.ranks),
        "training_acceptance_rate": accepted / proposed if proposed else None,
        "collapsed": _collapsed(lifting, result.ranks),
        "collapsed_in_training": _collapsed(lifting, result.summaries[-1].ranks),
    }


def _collapsed(lifting: torch.nn.Module, ranks: Sequence[RankSummary]) -> bool | None:
    """Whether all or nothing was accepted at a rank; None for liftings that do not choose."""
    if not chooses(lifting):
        return None
    return bool(collapsed_ranks(lifting, ranks))


def _peak_memory() -> float:
    """Peak of the resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "topox-difflift": topox_difflift.__version__,
    }
    for name in ("torch", "lightning", "toponetx", "topomodelx"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
