"""Deterministic acceptance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from topox_difflift.estimators.base import Estimator

if TYPE_CHECKING:
    import torch
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

    def decide(
        self, logits: Tensor, prob: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """
        Decide by comparing with the threshold.

        Parameters
        ----------
        logits, prob : torch.Tensor, shape = (n_cells,)
            Acceptance logits and probabilities.
        generator : torch.Generator, optional
            Not used: nothing is random.

        Returns
        -------
        accepted, surrogate : torch.Tensor, shape = (n_cells,)
            The decision, and the probability itself.
        """
        return prob > self.gamma, prob
