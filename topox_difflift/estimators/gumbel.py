"""Straight-through Gumbel-sigmoid (binary concrete) acceptance."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift.estimators.base import Acceptance, Estimator

__all__ = ["GumbelSigmoid"]


class GumbelSigmoid(Estimator):
    """
    Straight-through Gumbel-sigmoid: hard in the forward pass, relaxed in the backward pass.

    ``s = sigmoid((logit + g) / temperature)`` with logistic noise g, the difference of two
    Gumbel variables, is a binary concrete sample: Gumbel-softmax with two classes. The cell
    is accepted when s > 1/2, which has probability p exactly, and the gradient of its gate
    is that of s. In `eval()`: p > 1/2.

    Parameters
    ----------
    temperature : float, default=1.0
        Positive. Lower is nearer to the discrete gradient but noisier. May be
        reassigned between epochs to anneal it.

    Raises
    ------
    ValueError
        If `temperature` is not positive.

    Notes
    -----
    The loss is differentiated at the hard gate b, as in the straight-through form of [1]_,
    and the gate as s. At a temperature above 0 the estimate is biased even for an affine
    loss, as ``ds/dlogit`` is on average a blurred ``p (1 - p)``. As the temperature goes to 0
    only samples at the border between b = 0 and b = 1 count, and the estimate tends to
    ``p (1 - p) (L'(0) + L'(1)) / 2``. This is exact for a loss that is quadratic in each gate
    given the others, where `StraightThrough` is exact for an affine one; for ``L = b^3`` it
    is 3/2 times the exact gradient. The variance grows: the mean square of ``ds/dlogit``
    tends to ``p (1 - p) / (6 temperature)``.

    References
    ----------
    .. [1] Jang, Gu, Poole. Categorical reparameterization with Gumbel-softmax. ICLR 2017.
    .. [2] Maddison, Mnih, Teh. The concrete distribution: a continuous relaxation of
       discrete random variables. ICLR 2017.
    """

    stochastic: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    @property
    def temperature(self) -> float:
        """
        Temperature of the relaxation.

        Returns
        -------
        float
            The temperature.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ValueError(
                f"Expected 'temperature' to be positive (got {value}); anneal towards 0, "
                "for instance down to 0.1, without reaching it"
            )
        self._temperature = float(value)

    def extra_repr(self) -> str:
        """
        Show the temperature.

        Returns
        -------
        str
            Text for `repr`.
        """
        return f"temperature={self.temperature}"

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide by a relaxed Bernoulli draw.

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
            The thresholded sample, with the relaxed one as surrogate.
        """
        prob = torch.sigmoid(logits)
        if not self.training:
            return Acceptance(prob, prob > 0.5, torch.sigmoid(logits / self.temperature))
        draw = torch.empty_like(prob).uniform_(generator=generator)
        # rand may return exactly 0, whose logit is infinite.
        noise = torch.logit(draw, eps=torch.finfo(draw.dtype).eps)
        relaxed = (logits + noise) / self.temperature
        return Acceptance(prob, relaxed > 0, torch.sigmoid(relaxed))
