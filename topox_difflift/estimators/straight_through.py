"""Bernoulli acceptance with the identity as its backward pass."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift.estimators.base import Acceptance, Estimator

__all__ = ["StraightThrough"]


class StraightThrough(Estimator):
    """
    Sample ``b ~ Bernoulli(p)`` and pass the gradient of b to p unchanged.

    In `eval()` a cell is accepted when p > 1/2.

    Notes
    -----
    The estimate ``dL/db`` of ``dE[L]/dp`` is unbiased when the loss is affine in each
    gate given the others, because then the finite difference ``L(b=1) - L(b=0)`` equals
    the derivative. For a curved loss it is biased by the curvature: for
    ``L = (b - c)^2`` it is ``2 (p - c)`` on average, the exact gradient is ``1 - 2 c``.

    References
    ----------
    .. [1] Bengio, Leonard, Courville. Estimating or propagating gradients through
       stochastic neurons for conditional computation. 2013.
    .. [2] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    stochastic: ClassVar[bool] = True

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide by a Bernoulli draw.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Source of random numbers; by default PyTorch's own.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            Not used: every candidate is decided on its own.

        Returns
        -------
        Acceptance
            The draws, with the probability as surrogate.
        """
        prob = torch.sigmoid(logits)
        if not self.training:
            return Acceptance(prob, prob > 0.5)
        draw = torch.empty_like(prob).uniform_(generator=generator)
        return Acceptance(prob, draw < prob)
