"""How likely a candidate cell is: a permutation-invariant network on its members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from topox_difflift import ragged
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import Segments

if TYPE_CHECKING:
    from topox_difflift.candidates import CandidateCells

__all__ = ["AGGREGATIONS", "CellScorer"]

AGGREGATIONS = ("mean", "sum", "max")

#: Initial bias of the acceptance logit: sigmoid(1) = 0.73.
INITIAL_LOGIT = 1.0


def _pool(x: Tensor, segments: Segments, aggregation: str) -> Tensor:
    """Pool the rows of the members of each cell."""
    if aggregation == "mean":
        return segments.mean(x)
    if aggregation == "sum" or len(segments.index) == 0:
        return segments.sum(x)
    offsets = ragged.starts(segments.sizes)
    return torch.nn.functional.embedding_bag(segments.index, x, offsets, mode="max")


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
        self.phi = (
            MLP([in_channels, hidden_channels], norm=None, plain_last=False) if deep_set else None
        )
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
        members = z if self.phi is None else self.phi(z)
        segments = Segments(*candidates.members(), len(z))
        first, last = self.rho.lins
        if torch.nn.parameter.is_lazy(first.weight):
            first(members.new_empty(0, members.size(1) + self.dispersion))
        if self.aggregation == "max":
            return last(self._pooled_first(members, z, segments).relu_()).squeeze(-1)
        # The first layer is linear, and so are mean and sum: on each node, which there are
        # fewer of than candidates, before pooling, it costs less.
        own, by_spread = first.weight.split([members.size(1), int(self.dispersion)], dim=1)
        linear, mean = torch.nn.functional.linear(members, own), self.aggregation == "mean"
        if self.dispersion and usable(linear, z):
            vectors = first.bias, by_spread.squeeze(1), last.weight.squeeze(0)
            return _CompiledScores.apply(linear, z, *vectors, segments, mean) + last.bias
        hidden = _pool(linear, segments, self.aggregation) + first.bias
        if self.dispersion:
            # Not addmm, which autocast does not bring to one dtype.
            hidden = hidden + segments.dispersion(z).unsqueeze(-1) * by_spread.t()
        return last(hidden.relu_()).squeeze(-1)

    def _pooled_first(self, members: Tensor, z: Tensor, segments: Segments) -> Tensor:
        """First layer of rho, before its relu, on what was pooled."""
        pooled = _pool(members, segments, self.aggregation)
        if self.dispersion:
            pooled = torch.cat([pooled, segments.dispersion(z).unsqueeze(-1)], dim=-1)
        return self.rho.lins[0](pooled)


class _CompiledScores(torch.autograd.Function):
    """Pool, add bias and dispersion, relu and last weights, with no row for each cell."""

    @staticmethod
    def forward(
        ctx: Any,
        linear: Tensor,
        z: Tensor,
        bias: Tensor,
        by_spread: Tensor,
        last: Tensor,
        segments: Segments,
        mean: bool,
    ) -> Tensor:
        from topox_difflift._scoring_numba import scores

        inputs = linear, z, bias, by_spread, last, segments.index, segments.sizes
        logits, dispersion = map(torch.from_numpy, scores(*arrays(*inputs), mean))
        ctx.mean = mean
        ctx.save_for_backward(dispersion, *inputs)
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from topox_difflift._scoring_numba import scores_backward

        found = scores_backward(*arrays(*grads, *ctx.saved_tensors), ctx.mean)
        return *map(torch.from_numpy, found), None, None
