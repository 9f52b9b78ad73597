"""Tasks: losses and metrics against brute force, batch by batch."""

from __future__ import annotations

import pytest

pytest.importorskip("torchmetrics", reason='needs the extra "train"')

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from topox_difflift.tasks import TASKS, Task, task_of


def measured(task: Task, predictions: torch.Tensor, targets: torch.Tensor, size: int) -> float:
    """Feed the metric batch by batch, as the training loop does."""
    metric = task.measure(predictions.size(1))
    for p, y in zip(predictions.split(size), targets.split(size), strict=True):
        metric.update(task.scores(p), y)
    return float(metric.compute())


def brute_force(name: str, predictions: torch.Tensor, targets: torch.Tensor) -> float:
    rows, y = predictions.tolist(), targets.tolist()
    if name == "accuracy":
        return sum(row.index(max(row)) == c for row, c in zip(rows, y, strict=True)) / len(y)
    if name == "MAE":
        return sum(abs(p - t) for (p,), t in zip(rows, y, strict=True)) / len(y)
    positive = [p for (p,), c in zip(rows, y, strict=True) if c]
    negative = [p for (p,), c in zip(rows, y, strict=True) if not c]
    wins = [(p > q) + (p == q) / 2 for p in positive for q in negative]
    return sum(wins) / len(wins)


def drawn(name: str, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if name == "accuracy":
        return torch.randn(n, 3, generator=generator), torch.arange(n) % 3
    # Rounded, so that there are ties, and with a stretch of logits within [0, 1].
    predictions = torch.randn(n, 1, generator=generator).mul(3).round(decimals=0)
    predictions[: n // 2] = torch.rand(n // 2, 1, generator=generator).round(decimals=1)
    targets = torch.arange(n) % 2 if name == "ROC-AUC" else torch.randn(n, generator=generator)
    return predictions, targets


@pytest.mark.parametrize("name", list(TASKS))
@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), size=st.integers(1, 10), seed=st.integers(0, 10**6))
def test_metric_is_that_of_all_examples_whatever_the_batches(
    name: str, n: int, size: int, seed: int
) -> None:
    predictions, targets = drawn(name, n, seed)
    expected = brute_force(name, predictions, targets)
    assert measured(TASKS[name], predictions, targets, size) == pytest.approx(expected, abs=1e-6)


def test_area_compares_logits_of_different_batches_and_tells_large_ones_apart() -> None:
    # The first batch looks like probabilities to torchmetrics, and the last in single
    # precision like certainties.
    predictions = torch.tensor([[0.9], [0.6], [-3.0], [2.0], [30.0], [31.0]])
    targets = torch.tensor([1, 0, 0, 1, 0, 1])
    expected = brute_force("ROC-AUC", predictions, targets)
    assert measured(TASKS["ROC-AUC"], predictions, targets, 2) == pytest.approx(expected)


@pytest.mark.parametrize("name", list(TASKS))
def test_loss_of_all_is_the_mean_of_that_of_each_and_has_the_right_value(name: str) -> None:
    predictions, targets = drawn(name, 12, 0)
    task = TASKS[name]
    each = task.loss(predictions, targets, reduction="none")
    assert each.shape == (12,)
    torch.testing.assert_close(each.mean(), task.loss(predictions, targets))
    for loss, row, y in zip(each.tolist(), predictions.double(), targets, strict=True):
        if name == "accuracy":
            expected = -torch.log(row.exp()[y] / row.exp().sum())
        elif name == "MAE":
            expected = abs(row[0] - y)
        else:
            probability = 1 / (1 + torch.exp(-row[0]))
            expected = -torch.log(probability if y else 1 - probability)
        assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.laws
@pytest.mark.parametrize("name", list(TASKS))
def test_losses_have_their_gradient(name: str) -> None:
    predictions, targets = drawn(name, 8, 1)
    predictions = (predictions.double() + 0.01).requires_grad_()
    targets = targets.double() if name == "MAE" else targets
    assert torch.autograd.gradcheck(lambda p: TASKS[name].loss(p, targets), predictions)


@pytest.mark.parametrize("name", list(TASKS))
def test_a_better_prediction_has_a_better_metric(name: str) -> None:
    _, targets = drawn(name, 12, 2)
    right = torch.nn.functional.one_hot(targets) if name == "accuracy" else targets[:, None]
    good, bad = (measured(TASKS[name], sign * right.float(), targets, 5) for sign in (1, -1))
    assert (good > bad) == TASKS[name].higher_is_better


def test_only_nodes_in_the_mask_count() -> None:
    graphs = [
        Data(
            x=torch.zeros(n, 1),
            edge_index=torch.empty(2, 0, dtype=torch.long),
            y=torch.arange(n),
            mask=torch.arange(n) % 2 == 1,
        )
        for n in (5, 4)
    ]
    batch = Batch.from_data_list(graphs)
    predictions = torch.arange(9.0)[:, None].requires_grad_()
    counted, targets = task_of("Cora").examples(predictions, batch)
    assert counted.flatten().tolist() == [1, 3, 6, 8]
    assert targets.tolist() == [1, 3, 1, 3]
    counted.sum().backward()
    assert predictions.grad.flatten().tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 1]
    assert task_of("MUTAG").examples(predictions, batch)[0] is predictions


@pytest.mark.parametrize(
    ("dataset", "metric", "level"),
    [
        ("molecules", "accuracy", "graph"),
        ("PROTEINS", "accuracy", "graph"),
        ("ogbg-molhiv", "ROC-AUC", "graph"),
        ("ZINC", "MAE", "graph"),
        ("CiteSeer", "accuracy", "node"),
        ("Squirrel", "accuracy", "node"),
        ("Amazon-ratings", "accuracy", "node"),
        ("Minesweeper", "ROC-AUC", "node"),
    ],
)
def test_dataset_decides_what_is_predicted(dataset: str, metric: str, level: str) -> None:
    task = task_of(dataset)
    assert (task.metric, task.level) == (metric, level)


@pytest.mark.parametrize(
    ("name", "targets", "possible"),
    [
        ("accuracy", torch.tensor([0, 2]), True),
        ("accuracy", torch.tensor([0.0, 1.0]), False),
        ("ROC-AUC", torch.tensor([1, 0]), True),
        ("ROC-AUC", torch.tensor([1, 1]), False),
        ("ROC-AUC", torch.tensor([0, 1, 2]), False),
        ("ROC-AUC", torch.tensor([0.0, 1.0, float("nan")]), False),
        ("MAE", torch.tensor([0.5]), True),
        ("MAE", torch.tensor([1, 2]), False),
        ("MAE", torch.tensor([0.5, float("nan")]), False),
    ],
)
def test_targets_that_cannot_be_learned_are_told(
    name: str, targets: torch.Tensor, possible: bool
) -> None:
    assert TASKS[name].possible(targets) == possible
