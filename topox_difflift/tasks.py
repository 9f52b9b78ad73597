"""What a network is trained to predict, by which loss, and how good it is at it."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 -- a dataclass shows its types
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss

from topox_difflift.checks import is_finite
from topox_difflift.datasets.sources import source_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data
    from torchmetrics import Metric

__all__ = ["TASKS", "Task", "task_of"]


@dataclass(frozen=True)
class Task:
    """
    A kind of prediction.

    Attributes
    ----------
    metric : str
        Name of the figure by which an epoch is selected and tested.
    higher_is_better : bool
        Its direction.
    wanted : str
        What the targets of each part of a dataset should be.
    possible : callable
        Whether targets are that.
    out_channels : callable
        Width of the prediction, from all targets.
    loss : callable
        ``(predictions, targets, reduction="mean")``, differentiable.
    measure : callable
        ``out_channels -> torchmetrics.Metric``, an empty one that takes scores and targets.
    scores : callable
        What the metric takes, from predictions.
    level : {"graph", "node"}
        What there is a prediction for. Of nodes, only those in the `mask` of the data count.
    """

    metric: str
    higher_is_better: bool
    wanted: str
    possible: Callable[[Tensor], bool]
    out_channels: Callable[[Tensor], int]
    loss: Callable[..., Tensor]
    measure: Callable[[int], Metric]
    scores: Callable[[Tensor], Tensor]
    level: str = "graph"

    def examples(self, predictions: Tensor, batch: Data) -> tuple[Tensor, Tensor]:
        """
        Leave out the rows that do not count.

        Parameters
        ----------
        predictions : torch.Tensor, shape = (n_graphs, ...) or (n_nodes, ...)
            One row for each graph or node.
        batch : torch_geometric.data.Data
            Graphs with their targets `y`, at level "node" with a `mask`.

        Returns
        -------
        tuple of torch.Tensor
            Predictions and targets that count.
        """
        if self.level == "graph":
            return predictions, batch.y
        return predictions[batch.mask], batch.y[batch.mask]


def _binary_loss(predictions: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    logits = predictions.squeeze(1)
    return binary_cross_entropy_with_logits(logits, targets.to(logits), reduction=reduction)


def _absolute_error(predictions: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    return l1_loss(predictions.squeeze(1), targets, reduction=reduction)


def _probabilities(predictions: Tensor) -> Tensor:
    # torchmetrics takes numbers in [0, 1] for probabilities, batch by batch: given logits, it
    # would compare those of one batch with probabilities of another. Double precision keeps
    # large logits apart.
    return predictions.squeeze(1).double().sigmoid()


def _accuracy(n_classes: int) -> Metric:
    from torchmetrics.classification import MulticlassAccuracy

    return MulticlassAccuracy(n_classes, average="micro")


def _area(out_channels: int) -> Metric:
    from torchmetrics.classification import BinaryAUROC

    return BinaryAUROC()


def _error(out_channels: int) -> Metric:
    from torchmetrics import MeanAbsoluteError

    return MeanAbsoluteError()


#: The tasks by their metric.
TASKS = {
    task.metric: task
    for task in (
        Task(
            metric="accuracy",
            higher_is_better=True,
            wanted="one class for each example",
            possible=lambda targets: not targets.is_floating_point(),
            out_channels=lambda targets: 1 + int(targets.max()),
            loss=cross_entropy,
            measure=_accuracy,
            scores=lambda predictions: predictions,
        ),
        Task(
            metric="ROC-AUC",
            higher_is_better=True,
            wanted="the classes 0 and 1, both of them in each part",
            possible=lambda targets: targets.unique().tolist() == [0, 1],
            out_channels=lambda targets: 1,
            loss=_binary_loss,
            measure=_area,
            scores=_probabilities,
        ),
        Task(
            metric="MAE",
            higher_is_better=False,
            wanted="one finite real number for each example",
            possible=lambda targets: targets.is_floating_point() and is_finite(targets),
            out_channels=lambda targets: 1,
            loss=_absolute_error,
            measure=_error,
            scores=lambda predictions: predictions.squeeze(1),
        ),
    )
}


def task_of(dataset: str) -> Task:
    """
    Tell what is predicted on a dataset.

    Parameters
    ----------
    dataset : str
        Its name.

    Returns
    -------
    Task
        The task.
    """
    source = source_of(dataset)
    return replace(TASKS[source.metric], level=source.level)
