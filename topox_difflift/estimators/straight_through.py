"""Bernoulli acceptance with the identity as its backward pass."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift.estimators.base import Estimator

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

    def decide(
        self, logits: Tensor, prob: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """
        Decide by a Bernoulli draw.

        Parameters
        ----------
        logits, prob : torch.Tensor, shape = (n_cells,)
            Acceptance logits and probabilities.
        generator : torch.Generator, optional
            Source of random numbers.

        Returns
        -------
        accepted, surrogate : torch.Tensor, shape = (n_cells,)
            The draw, and the probability itself.
        """
        if not self.training:
            return prob > 0.5, prob
        draw = torch.rand(prob.shape, generator=generator, dtype=prob.dtype, device=prob.device)
        return draw < prob, prob
