"""How likely a candidate cell is: a permutation-invariant network on its members."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.sparse import Segments

__all__ = ["AGGREGATIONS", "CellScorer"]

AGGREGATIONS = ("mean", "sum", "max")

#: Initial bias of the acceptance logit: sigmoid(1) = 0.73.
INITIAL_LOGIT = 1.0


class _Moments(torch.autograd.Function):
    """
    Mean and dispersion of the rows of each segment, neither storing what is gathered.

    The dispersion is the mean square less the squared mean, averaged over the channels. Both
    backward passes are one sum over the segments that a row belongs to: with g and h the
    gradients of mean and dispersion, m the mean and s the size of a segment, row x receives
    ``sum (g - w m) / s + x sum w / s`` with ``w = 2 h / channels``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
        scale = segments.sizes.to(x.dtype).reciprocal().unsqueeze(-1)
        mean = segments.gather_sum(x).mul_(scale)
        square = segments.gather_sum(x.square().sum(-1, keepdim=True)).mul_(scale)
        ctx.segments = segments
        ctx.save_for_backward(x, mean, scale)
        return mean, (square - mean.square().sum(-1, keepdim=True)).div_(x.size(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, mean, scale = ctx.saved_tensors
        by_mean, by_dispersion = grads
        weight = by_dispersion * scale * (2 / x.size(1))
        transposed = ctx.segments.transposed
        result = transposed.gather_sum((by_mean * scale).addcmul_(mean, weight, value=-1))
        return result.addcmul_(x, transposed.gather_sum(weight)), None


def _pool(x: Tensor, segments: Segments, aggregation: str) -> Tensor:
    """Pool the rows of the members of each cell."""
    if aggregation == "max" and len(segments.index):
        offsets = ragged.starts(segments.sizes)
        return torch.nn.functional.embedding_bag(segments.index, x, offsets, mode="max")
    total = segments.sum(x)
    return total / segments.sizes.to(x.dtype).unsqueeze(-1) if aggregation == "mean" else total


class CellScorer(torch.nn.Module):
    """
    The network Psi of one rank: acceptance logits of candidate cells.

    ``Psi(C) = rho([pool_{v in C} phi(z_v), dispersion(C)])``, where phi is the identity for
    hyperedges and pairs and an MLP (DeepSet) for higher cells, and the dispersion is the
    mean squared distance of the members to their mean, per channel.

    Parameters
    ----------
    in_channels : int
        Width of the embeddings, -1 to take it from the first input.
    hidden_channels : int
        Width of the hidden layers.
    deep_set : bool, default=False
        Whether members pass through phi before they are pooled.
    aggregation : {"mean", "sum", "max"}, default="mean"
        How members are pooled.
    dispersion : bool, default=True
        Whether the network sees the dispersion.

    Notes
    -----
    The last bias starts at +1 and the last weights are small, so that acceptance starts
    close to sigmoid(1) = 0.73 whatever the scale of the embeddings. Near 0, rejected cells
    leave nothing for the task to use and the run collapses to no cell; near 1, nothing is
    explored and the sigmoid is flat. Above 1/2, `eval()` starts with the cells present.

    References
    ----------
    .. [1] Zaheer et al. Deep sets. NeurIPS 2017.
    .. [2] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        deep_set: bool = False,
        aggregation: str = "mean",
        dispersion: bool = True,
    ) -> None:
        super().__init__()
        self.aggregation, self.dispersion = aggregation, dispersion
        self.phi = MLP([in_channels, hidden_channels], norm=None, plain_last=False) if deep_set else None
        pooled = hidden_channels if deep_set else in_channels
        width = -1 if pooled == -1 else pooled + dispersion
        self.rho = MLP([width, hidden_channels, 1], norm=None)
        self._start()

    def _start(self) -> None:
        """Bring the initial logits near `INITIAL_LOGIT`."""
        last = self.rho.lins[-1]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.fill_(INITIAL_LOGIT)

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        if self.phi is not None:
            self.phi.reset_parameters()
        self.rho.reset_parameters()
        self._start()

    def forward(self, z: Tensor, candidates: CandidateCells) -> Tensor:
        """
        Score candidates.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        candidates : CandidateCells
            The cells to score.

        Returns
        -------
        torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        """
        segments = Segments(*candidates.members(), len(z))
        if not self.dispersion:
            return self.rho(self._pooled(z, segments)).squeeze(-1)
        mean, dispersion = _Moments.apply(z, segments)
        own = self.phi is None and self.aggregation == "mean"
        pooled = mean if own else self._pooled(z, segments)
        return self.rho(torch.cat([pooled, dispersion], dim=-1)).squeeze(-1)

    def _pooled(self, z: Tensor, segments: Segments) -> Tensor:
        members = z if self.phi is None else self.phi(z)
        return _pool(members, segments, self.aggregation)
