"""Splits that hold the classes in proportion."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["stratified_fold", "stratified_split"]


def stratified_split(
    labels: Tensor, seed: int = 0, fractions: tuple[float, float] = (0.1, 0.1)
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Split into training, validation and test set, each with the classes in proportion.

    Parameters
    ----------
    labels : torch.Tensor, shape = (n,), int64
        Class of each example.
    seed : int, default=0
        Seed; the global seed is not touched.
    fractions : tuple of float, default=(0.1, 0.1)
        Shares of the validation and of the test set.

    Returns
    -------
    tuple of torch.Tensor, int64
        Indices of the three sets, ascending. None is empty.

    Raises
    ------
    ValueError
        If there are fewer than three examples, or no share is left for training.
    """
    n = len(labels)
    if n < 3 or min(fractions) <= 0 or sum(fractions) >= 1:
        raise ValueError(
            "Expected at least 3 examples and positive 'fractions' that leave a share for training "
            f"(got {n} examples, fractions={fractions})"
        )
    n_val, n_test = (max(1, round(n * share)) for share in fractions)
    parts = torch.split(_spread(labels, seed), [n_val, n_test, n - n_val - n_test])
    val, test, train = (part.sort().values for part in parts)
    return train, val, test


def stratified_fold(
    labels: Tensor, fold: int, seed: int = 0, n_folds: int = 10
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Split for one round of a cross-validation, each set with the classes in proportion.

    Parameters
    ----------
    labels : torch.Tensor, shape = (n,), int64
        Class of each example.
    fold : int
        Round, from 0: the fold that is the test set; the next one, after the last the
        first, is the validation set.
    seed : int, default=0
        Seed of the folds, the same for all rounds; the global seed is not touched.
    n_folds : int, default=10
        Number of folds, at least 3.

    Returns
    -------
    tuple of torch.Tensor, int64
        Indices of the training, validation and test set, ascending. None is empty.

    Raises
    ------
    ValueError
        If there are fewer examples than folds, or `fold` is not one of them.
    """
    if not 3 <= n_folds <= len(labels) or not 0 <= fold < n_folds:
        raise ValueError(
            f"Expected 'fold' to be one of at least 3 and at most {len(labels)} folds, as many as "
            f"there are examples (got fold={fold}, n_folds={n_folds})"
        )
    parts = list(torch.tensor_split(_spread(labels, seed), n_folds))
    test, val = parts[fold], parts[(fold + 1) % n_folds]
    train = [part for part in parts if part is not test and part is not val]
    return torch.cat(train).sort().values, val.sort().values, test.sort().values


def _spread(labels: Tensor, seed: int) -> Tensor:
    """Shuffle so that any stretch holds the classes in proportion."""
    n = len(labels)
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    counts = torch.bincount(labels)
    within = torch.arange(n) - (counts.cumsum(0) - counts)[labels[by_class]]
    return by_class[torch.argsort((within + 0.5) / counts[labels[by_class]], stable=True)]
