"""The optional terms of a lifting, as a loss of TopoBench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from topox_difflift.integrations.topobench._bases import Loss

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

__all__ = ["DiffLiftLoss"]


class DiffLiftLoss(Loss):
    """
    Weighted sum of the terms of `DiffLift.regularization`; TopoBench adds it to the task's loss.

    Parameters
    ----------
    expected_size : float, default=0
        Weight of the mean learned neighbourhood size.
    expected_cells : float, default=0
        Weight of the expected number of accepted cells of a graph.
    entropy : float, default=0
        Weight of the mean entropy of the acceptances; negative to keep them open.
    """

    def __init__(
        self, expected_size: float = 0, expected_cells: float = 0, entropy: float = 0
    ) -> None:
        super().__init__()
        self.weights = {
            "expected_size": expected_size,
            "expected_cells": expected_cells,
            "entropy": entropy,
        }

    def __call__(self, model_out: dict[str, Any], batch: Data) -> Tensor:
        """
        Add up the terms, as `forward`.

        Parameters
        ----------
        model_out : dict
            Output of the model.
        batch : torch_geometric.data.Data
            The batch.

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        return self.forward(model_out, batch)

    def forward(self, model_out: dict[str, Any], batch: Data) -> Tensor:
        """
        Add up the terms.

        Parameters
        ----------
        model_out : dict
            Output of the model, not read.
        batch : torch_geometric.data.Data
            The batch, after its `DiffLiftFeatureEncoder`.

        Returns
        -------
        torch.Tensor
            Scalar.

        Raises
        ------
        ValueError
            If the batch did not pass through a `DiffLiftFeatureEncoder`.
        """
        terms = batch.get("lifting_terms")
        if terms is None:
            raise ValueError(
                "Expected 'batch' to hold the 'lifting_terms' that DiffLiftFeatureEncoder writes "
                "(got none); use that feature encoder, or leave this loss out"
            )
        return torch.stack([weight * terms[name] for name, weight in self.weights.items()]).sum()

    def __repr__(self) -> str:
        """Show the weights."""
        weights = ", ".join(f"{name}={weight}" for name, weight in self.weights.items())
        return f"{type(self).__name__}({weights})"
