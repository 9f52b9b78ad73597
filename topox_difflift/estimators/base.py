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
    log_prob : torch.Tensor, shape = (n_cells,), optional
        Log-probability of each decision, with gradient; None where nothing was drawn or the
        estimator has no need of it.
    """

    prob: Tensor
    accepted: Tensor
    surrogate: Tensor | None = None
    log_prob: Tensor | None = None

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
            None if self.log_prob is None else self.log_prob.index_select(0, index),
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

    A subclass says in `accept` how probable each cell is, which cells it accepts, and which
    differentiable surrogate stands for that decision in the backward pass.

    Attributes
    ----------
    stochastic : bool
        Whether training draws random numbers. Where it is False, the learned
        neighbourhood size is not sampled either.
    competing : bool
        Whether the candidates of a group compete, so that only the differences of their
        logits count; False by default.
    pathwise : bool
        Whether the gates carry a gradient; True by default. Where they do not, `accept`
        gives the log-probability of its draws while training, and a training loop has to
        use it, for instance by `leave_one_out`.
    """

    stochastic: ClassVar[bool]
    competing: ClassVar[bool] = False
    pathwise: ClassVar[bool] = True

    @abstractmethod
    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide which candidates to accept.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers, on the device of `logits`; by default PyTorch's own.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Candidates of one group may compete, those of different groups do not; by
            default there is one group.

        Returns
        -------
        Acceptance
            Probabilities, decisions and surrogates. Deterministic where ``self.training``
            is False.
        """

    def forward(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Accept or reject.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Which candidates may compete; by default there is one group.

        Returns
        -------
        prob : torch.Tensor, shape = (n_cells,)
            Acceptance probabilities.
        mask : torch.Tensor, shape = (n_cells,)
            Exactly 0 or 1, with the gradient of the surrogate.
        """
        acceptance = self.accept(logits, generator, group)
        return acceptance.prob, acceptance.mask()
