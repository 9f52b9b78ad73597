"""How a candidate is accepted, and what gradient its probability receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift.cells import straight_through

__all__ = ["Acceptance", "Estimator"]


@dataclass(frozen=True)
class Acceptance:
    """
    What became of the candidates of one rank.

    Attributes
    ----------
    prob : torch.Tensor, shape = (n_cells,)
        Acceptance probabilities.
    accepted : torch.Tensor, shape = (n_cells,), bool
        The decisions.
    surrogate : torch.Tensor, shape = (n_cells,), optional
        What the backward pass differentiates in place of the decision; None for `prob`.
    """

    prob: Tensor
    accepted: Tensor
    surrogate: Tensor | None = None

    def select(self, index: Tensor) -> Acceptance:
        """
        Take some of the candidates.

        Parameters
        ----------
        index : torch.Tensor, shape = (m,), int64
            Candidates to take, in the order wanted.

        Returns
        -------
        Acceptance
            What became of the candidates `index`.
        """
        return Acceptance(
            self.prob.index_select(0, index),
            self.accepted.index_select(0, index),
            None if self.surrogate is None else self.surrogate.index_select(0, index),
        )

    def mask(self) -> Tensor:
        """
        Gates of the cells.

        Returns
        -------
        torch.Tensor, shape = (n_cells,)
            Exactly 0 or 1, with the gradient of the surrogate.
        """
        surrogate = self.prob if self.surrogate is None else self.surrogate
        return straight_through(self.accepted.to(surrogate.dtype), surrogate)


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

    def accept(self, logits: Tensor, generator: torch.Generator | None = None) -> Acceptance:
        """
        Accept or reject, keeping decision and surrogate apart.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.

        Returns
        -------
        Acceptance
            Probabilities, decisions and surrogates.
        """
        prob = torch.sigmoid(logits)
        accepted, surrogate = self.decide(logits, prob, generator)
        return Acceptance(prob, accepted, None if surrogate is prob else surrogate)

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
        acceptance = self.accept(logits, generator)
        return acceptance.prob, acceptance.mask()
