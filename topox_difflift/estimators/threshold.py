"""Deterministic acceptance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from topox_difflift.estimators.base import Acceptance, Estimator

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Threshold"]


class Threshold(Estimator):
    """
    Accept when p > gamma, in training as in evaluation; the identity backward.

    Parameters
    ----------
    gamma : float, default=0.5
        Threshold in [0, 1).

    Raises
    ------
    ValueError
        If `gamma` is outside [0, 1).

    Notes
    -----
    Nothing is explored: a cell that is rejected comes back only when the gradient of
    its gate, which ``rejected="keep"`` provides, lifts p over the threshold. The
    gradient is biased: the decision is a step function of p.
    """

    stochastic: ClassVar[bool] = False

    def __init__(self, gamma: float = 0.5) -> None:
        super().__init__()
        if not 0 <= gamma < 1:
            raise ValueError(
                f"Expected 'gamma' to be a probability in [0, 1) (got {gamma}); 0.5 is usual"
            )
        self.gamma = float(gamma)

    def extra_repr(self) -> str:
        """
        Show the threshold.

        Returns
        -------
        str
            Text for `repr`.
        """
        return f"gamma={self.gamma}"

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide by comparing with the threshold.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Not used: nothing is random.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            The decisions, with the probability as surrogate.
        """
        prob = torch.sigmoid(logits)
        return Acceptance(prob, prob > self.gamma)
