"""Bernoulli acceptance with the score function estimate of the gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from topox_difflift.checks import check_at_least
from topox_difflift.estimators.base import Acceptance, Estimator

__all__ = ["ScoreFunction", "leave_one_out", "repeat_graphs"]


class ScoreFunction(Estimator):
    r"""
    Sample ``b ~ Bernoulli(p)``; the gradient comes from the probability of what was drawn.

    The gates carry no gradient. The loss of a forward pass is to be passed through
    `leave_one_out` together with the log-probability of its draws, `DiffLift.log_prob`:

    .. code-block:: python

        lift = DiffLift(estimator="score_function")
        losses = loss_of_each_graph(tnn(lift(repeat_graphs(batch, 4))))
        loss = leave_one_out(losses.view(4, -1), lift.log_prob().view(4, -1))
        loss.backward()

    In `eval()` a cell is accepted when p > 1/2.

    Notes
    -----
    With b the draws of one graph and L its loss, the estimate is that of
    :math:`\nabla E[L] = E[\nabla L + L \nabla \log P(b)]`. It is unbiased in the acceptance
    probabilities whatever the loss, where `StraightThrough` is biased by the curvature of
    the loss. Its variance is larger, and grows with the number of candidates.

    What else in a lifting has a straight-through gradient keeps it: the sizes k_v and, with
    ``memberships="kernel"``, the memberships of accepted cells. Rejected cells have no
    gradient of their own, kept or not, so that ``rejected="drop"`` costs less and changes no
    more than the gradient of the sizes.

    References
    ----------
    .. [1] Williams. Simple statistical gradient-following algorithms for connectionist
       reinforcement learning. Machine Learning 1992.
    .. [2] Kool, van Hoof, Welling. Buy 4 REINFORCE samples, get a baseline for free! ICLR
       2019 workshop on deep reinforcement learning meets structured prediction.
    """

    stochastic: ClassVar[bool] = True
    pathwise: ClassVar[bool] = False

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
            The draws, with their log-probabilities, and without any gradient of the gates.
        """
        prob = torch.sigmoid(logits)
        if not self.training:
            return Acceptance(prob, prob > 0.5, surrogate=prob.detach())
        draw = torch.empty_like(prob).uniform_(generator=generator)
        accepted = draw < prob
        sign = accepted.to(logits.dtype) * 2 - 1
        log_prob = torch.nn.functional.logsigmoid(sign * logits)
        return Acceptance(prob, accepted, surrogate=prob.detach(), log_prob=log_prob)


def leave_one_out(losses: Tensor, log_prob: Tensor) -> Tensor:
    r"""
    Mean loss, with the score function estimate of its gradient.

    .. math::

        \frac{1}{K n} \sum_{j, g} L_{jg}, \qquad \nabla =
        \frac{1}{K n} \sum_{j, g} \Bigl[ \nabla L_{jg} + \Bigl( L_{jg} -
        \frac{1}{K - 1} \sum_{i \ne j} L_{ig} \Bigr) \nabla \log P_{jg} \Bigr]

    Parameters
    ----------
    losses : torch.Tensor, shape = (K, n_graphs)
        Loss of each graph with each of K independent draws. It has to depend on the draws
        of its own graph alone, so there must be no normalisation over the batch.
    log_prob : torch.Tensor, shape = (K, n_graphs)
        Log-probability of the draws, such as `DiffLift.log_prob`.

    Returns
    -------
    torch.Tensor, scalar
        The mean of `losses`. The other draws of a graph tell what loss to expect without
        knowing of its own, so that the estimate is unbiased; the gradient of `losses`
        themselves is in it as well.

    Raises
    ------
    ValueError
        If the shapes differ or there are less than two draws.

    References
    ----------
    .. [1] Kool, van Hoof, Welling. Buy 4 REINFORCE samples, get a baseline for free! ICLR
       2019 workshop on deep reinforcement learning meets structured prediction.
    """
    if losses.dim() != 2 or losses.shape != log_prob.shape or len(losses) < 2:
        raise ValueError(
            "Expected 'losses' and 'log_prob' to have one shape (K, n_graphs) with at least 2 "
            f"draws (got {tuple(losses.shape)} and {tuple(log_prob.shape)}); repeat the batch with "
            "repeat_graphs(batch, K), and take a loss of each graph, reduction='none'"
        )
    n_draws, held = len(losses), losses.detach()
    others = (held.sum(0) - held) / (n_draws - 1)
    score = (held - others) * (log_prob - log_prob.detach())
    return (losses + score).mean()


def repeat_graphs(data: Data, times: int) -> Batch:
    """
    Repeat a graph, or all graphs of a batch.

    Parameters
    ----------
    data : torch_geometric.data.Data
        One graph, or a batch.
    times : int
        How often.

    Returns
    -------
    torch_geometric.data.Batch
        All graphs once, then all of them again, so that a result for each graph can be
        seen as ``result.view(times, -1)``.

    Raises
    ------
    ValueError
        If `times` is below 1, or `data` has a `batch` without being a batch.
    """
    check_at_least("times", times, 1)
    if isinstance(data, Batch):
        return Batch.from_data_list(data.to_data_list() * times)
    if data.batch is not None:
        raise ValueError(
            "Expected 'data' to be one graph, or a Batch, which knows where its graphs begin "
            f"(got {type(data).__name__} with 'batch'); make it with Batch.from_data_list"
        )
    return Batch.from_data_list([data] * times)
