"""How likely a candidate cell is: a permutation-invariant network on its members."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedParameter
from torch_geometric.nn import MLP, SetTransformerAggregation

from topox_difflift import ragged
from topox_difflift.compiled import arrays, usable
from topox_difflift.sparse import Segments

if TYPE_CHECKING:
    from topox_difflift.candidates import CandidateCells

__all__ = ["AGGREGATIONS", "CellScorer"]

AGGREGATIONS = ("mean", "sum", "max", "set_transformer")


def _pool(x: Tensor, segments: Segments, aggregation: str) -> Tensor:
    """Pool the rows of the members of each cell."""
    if aggregation == "mean":
        return segments.mean(x)
    if aggregation == "sum" or len(segments.index) == 0:
        return segments.sum(x)
    offsets = ragged.starts(segments.sizes)
    return torch.nn.functional.embedding_bag(segments.index, x, offsets, mode="max")


def _attend(aggregate: torch.nn.Module, x: Tensor, segments: Segments) -> Tensor:
    """Pool the rows of the members of each cell by attention, cells of similar size at a time."""
    pooled = x.new_zeros(len(segments.sizes), x.size(1))
    for cells, _ in ragged.buckets(segments.sizes):
        sizes = segments.sizes.index_select(0, cells)
        member = segments.index.index_select(0, ragged.take(segments.sizes, cells))
        owner = ragged.owners(sizes, len(member))
        found = aggregate(x.index_select(0, member), owner, dim_size=len(cells))
        pooled = pooled.index_copy(0, cells, found)
    return pooled


class CellScorer(torch.nn.Module):
    """
    The network Psi of one rank: acceptance logits of candidate cells.

    ``Psi(C) = rho([pool_{v in C} phi(z_v), dispersion(C), statistics(C)])``, where phi is the
    identity for hyperedges and pairs and an MLP (DeepSet) for higher cells, the dispersion is
    the mean squared distance of the members to their mean, per channel, and the statistics
    are those of the boundary that the domain gives.

    Parameters
    ----------
    in_channels : int
        Width of the embeddings, -1 to take it from the first input.
    hidden_channels : int
        Width of the hidden layers.
    deep_set : bool, default=False
        Whether members pass through phi before they are pooled.
    aggregation : {"mean", "sum", "max", "set_transformer"}, default="mean"
        How members are pooled. A set transformer lets them attend to each other before one
        seed attends to them; it takes phi with it, and memory for the squares of the sizes.
    dispersion : bool, default=True
        Whether the network sees the dispersion.
    statistics : int, default=0
        How many statistics of the boundary it sees.
    initial_logit : float, default=1
        Where the last bias starts.

    Notes
    -----
    The last weights are small, so that acceptance starts close to the sigmoid of
    `initial_logit`, 0.73 by default, whatever the scale of the embeddings. Near 0, rejected cells
    leave nothing for the task to use and the run collapses to no cell; near 1, nothing is
    explored and the sigmoid is flat. Above 1/2, `eval()` starts with the cells present.

    References
    ----------
    .. [1] Zaheer et al. Deep sets. NeurIPS 2017.
    .. [2] Lee, Lee, Kim, Kosiorek, Choi, Teh. Set transformer: a framework for attention-based
       permutation-invariant neural networks. ICML 2019.
    .. [3] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        deep_set: bool = False,
        aggregation: str = "mean",
        dispersion: bool = True,
        statistics: int = 0,
        initial_logit: float = 1.0,
    ) -> None:
        super().__init__()
        self.initial_logit = initial_logit
        self.aggregation, self.dispersion, self.statistics = aggregation, dispersion, statistics
        self.attention = None
        if aggregation == "set_transformer":
            deep_set, heads = True, math.gcd(hidden_channels, 4)
            self.attention = SetTransformerAggregation(hidden_channels, heads=heads)
        self.phi = (
            MLP([in_channels, hidden_channels], norm=None, plain_last=False) if deep_set else None
        )
        pooled = hidden_channels if deep_set else in_channels
        width = -1 if pooled == -1 else pooled + self._beside
        self.rho = MLP([width, hidden_channels, 1], norm=None)
        self._start()

    @property
    def _beside(self) -> int:
        """Number of inputs of rho beside the pooled members."""
        return self.dispersion + self.statistics

    def _start(self) -> None:
        """Bring the initial logits near `initial_logit`."""
        last = self.rho.lins[-1]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.fill_(self.initial_logit)

    def reset_parameters(self) -> None:
        """Initialise afresh."""
        for part in (self.phi, self.attention):
            if part is not None:
                part.reset_parameters()
        self.rho.reset_parameters()
        self._start()

    def forward(
        self, z: Tensor, candidates: CandidateCells, statistics: Tensor | None = None
    ) -> Tensor:
        """
        Score candidates.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        candidates : CandidateCells
            The cells to score.
        statistics : torch.Tensor, shape = (n_cells, statistics), optional
            Statistics of their boundaries; None where the network sees none.

        Returns
        -------
        torch.Tensor, shape = (n_cells,)
            Acceptance logits.
        """
        return self.logits(z, Segments(*candidates.members(), len(z)), statistics)

    def logits(self, z: Tensor, segments: Segments, statistics: Tensor | None = None) -> Tensor:
        """
        Score sets of nodes.

        Parameters
        ----------
        z : torch.Tensor, shape = (n_nodes, channels)
            Embeddings.
        segments : Segments
            The members of each set.
        statistics : torch.Tensor, shape = (n_cells, statistics), optional
            Statistics of their boundaries; None where the network sees none.

        Returns
        -------
        torch.Tensor, shape = (n_cells,)
            Acceptance logits. Unless members attend to each other, it can be compiled as a whole.
        """
        members = z if self.phi is None else self.phi(z)
        first, last = self.rho.lins
        if isinstance(first.weight, UninitializedParameter):
            first(members.new_empty(0, members.size(1) + self._beside))
        if self.attention is not None or self.aggregation == "max":
            if self.attention is not None:
                own = _attend(self.attention, members, segments)
            else:
                own = _pool(members, segments, "max")
            pooled = [own, *self._seen(z, segments, statistics)]
            return last(first(torch.cat(pooled, dim=-1)).relu_()).squeeze(-1)
        # The first layer is linear, and so are mean and sum: on each node, which there are
        # fewer of than candidates, before pooling, it costs less.
        own, beside = first.weight.split([members.size(1), self._beside], dim=1)
        linear, mean = torch.nn.functional.linear(members, own), self.aggregation == "mean"
        if self.dispersion and usable(linear, z):
            vectors = first.bias, beside[:, 0], last.weight.squeeze(0)
            weight = beside[:, 1:].t()
            seen = z.new_empty(len(segments.sizes), 0) if statistics is None else statistics
            found = _CompiledScores.apply(linear, z, *vectors, weight, seen, segments, mean)
            return found + last.bias
        hidden = _pool(linear, segments, self.aggregation) + first.bias
        if self._beside:
            seen = torch.cat(self._seen(z, segments, statistics), dim=-1)
            hidden = hidden + torch.nn.functional.linear(seen, beside)
        return last(hidden.relu_()).squeeze(-1)

    def _seen(self, z: Tensor, segments: Segments, statistics: Tensor | None) -> list[Tensor]:
        """Return what rho sees beside the pooled members, one row for each cell."""
        seen = [segments.dispersion(z).unsqueeze(-1)] if self.dispersion else []
        return seen if statistics is None else [*seen, statistics.to(z.dtype)]


class _CompiledScores(torch.autograd.Function):
    """Pool, add bias, dispersion and statistics, relu, last weights; no row for each cell."""

    @staticmethod
    def forward(
        ctx: Any,
        linear: Tensor,
        z: Tensor,
        bias: Tensor,
        by_spread: Tensor,
        last: Tensor,
        weight: Tensor,
        seen: Tensor,
        segments: Segments,
        mean: bool,
    ) -> Tensor:
        from topox_difflift._scoring_numba import scores

        inputs = linear, z, bias, by_spread, last, seen, weight, segments.index, segments.sizes
        logits, dispersion = map(torch.from_numpy, scores(*arrays(*inputs), mean))
        ctx.mean = mean
        ctx.save_for_backward(dispersion, *inputs)
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from topox_difflift._scoring_numba import scores_backward

        found = scores_backward(*arrays(*grads, *ctx.saved_tensors), ctx.mean)
        return *map(torch.from_numpy, found), None, None, None
