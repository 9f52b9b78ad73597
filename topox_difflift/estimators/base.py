"""How a candidate is accepted, and what gradient its probability receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift.cells import straight_through

__all__ = ["Estimator"]


class Estimator(torch.nn.Module, ABC):
    """
    Turn acceptance logits into gates that are exactly 0 or 1.

    A subclass says in `decide` which cells it accepts and which differentiable
    surrogate stands for that decision in the backward pass; everything else is here.

    Attributes
    ----------
    stochastic : bool
        Whether training draws random numbers. Where it is False, the learned
        neighbourhood size is not sampled either.
    """

    stochastic: ClassVar[bool]

    @abstractmethod
    def decide(
        self, logits: Tensor, prob: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """
        Decide which candidates to accept.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        prob : torch.Tensor, shape = (n_cells,)
            Their sigmoid.
        generator : torch.Generator, optional
            Source of random numbers, on the device of `logits`.

        Returns
        -------
        accepted : torch.Tensor, shape = (n_cells,), bool
            The decision. Deterministic where ``self.training`` is False.
        surrogate : torch.Tensor, shape = (n_cells,)
            What the backward pass differentiates in its place.
        """

    def forward(
        self, logits: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Accept or reject.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.

        Returns
        -------
        prob : torch.Tensor, shape = (n_cells,)
            Acceptance probabilities.
        mask : torch.Tensor, shape = (n_cells,)
            Exactly 0 or 1, with the gradient of the surrogate.
        """
        prob = torch.sigmoid(logits)
        accepted, surrogate = self.decide(logits, prob, generator)
        return prob, straight_through(accepted.to(prob.dtype), surrogate)
