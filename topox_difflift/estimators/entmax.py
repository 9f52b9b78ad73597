"""Sparse competition: a cell is there if its entmax probability is positive."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.entmax import check_alpha, entmax
from topox_difflift.estimators.base import Acceptance, Estimator

__all__ = ["Entmax"]


class Entmax(Estimator):
    r"""
    Accept what has a positive probability under entmax over the candidates of a graph.

    .. math:: p = \operatorname{argmax}_{p \in \triangle} \; p^\top s + H^T_\alpha(p)

    with logits s and Tsallis entropy :math:`H^T_\alpha`; the larger alpha, the fewer are
    accepted. At least one is, where there is a candidate. Nothing is random, in training as
    in `eval()`.

    Parameters
    ----------
    alpha : float, default=1.5
        Greater than 1; 2 is sparsemax. At 1 it would be softmax, which rejects nothing.

    Raises
    ------
    ImportError
        If the package entmax is missing.
    ValueError
        If `alpha` is not greater than 1.

    Notes
    -----
    The backward pass differentiates p in place of the gate. The gradient is biased, as the
    gate is a step function of p, and it is 0 for a candidate outside the support: nothing
    is explored, and a rejected candidate, kept or not, comes back only when the logits of
    the others come down to its own. Where a graph has one candidate its p is 1 and does not
    move.

    References
    ----------
    .. [1] Peters, Niculae, Martins. Sparse sequence-to-sequence models. ACL 2019.
    .. [2] Battiloro et al. From latent graph to latent topology inference: differentiable
       cell complex module. ICLR 2024.
    """

    stochastic: ClassVar[bool] = False
    competing: ClassVar[bool] = True

    def __init__(self, alpha: float = 1.5) -> None:
        super().__init__()
        self.alpha = check_alpha(alpha)

    def extra_repr(self) -> str:
        """
        Show the exponent.

        Returns
        -------
        str
            Text for `repr`.
        """
        return f"alpha={self.alpha}"

    def accept(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        group: Tensor | None = None,
    ) -> Acceptance:
        """
        Decide by the support of entmax over each group.

        Parameters
        ----------
        logits : torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        generator : torch.Generator, optional
            Not used: nothing is random.
        group : torch.Tensor, shape = (n_cells,), int64, optional
            The candidates that share a total probability of 1; by default all of them.

        Returns
        -------
        Acceptance
            The support, with the probabilities as surrogate.
        """
        order, sizes = ragged.by_group(logits, group)
        first = ragged.starts(sizes)
        # On the tape even if there is no candidate.
        index, prob = [order[:0]], [logits[order[:0]]]
        for rows, width in ragged.octaves(sizes):
            column = torch.arange(width, device=rows.device)
            present = column < sizes[rows].unsqueeze(1)
            place = order[(first[rows].unsqueeze(1) + column)[present]]
            scores = logits.new_full(present.shape, -torch.inf)
            prob.append(entmax(scores.masked_scatter(present, logits[place]), self.alpha)[present])
            index.append(place)
        found = ragged.put(torch.cat(index), torch.cat(prob))
        return Acceptance(found, found > 0)
