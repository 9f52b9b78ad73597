"""How likely a candidate cell is: a permutation-invariant network on its members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from topox_difflift import ragged
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
        spread = segments.dispersion(z).unsqueeze(-1) if self.dispersion else None
        hidden = self._hidden(members, segments, spread)
        return self.rho.lins[1](hidden.relu_()).squeeze(-1)

    def _hidden(self, members: Tensor, segments: Segments, spread: Tensor | None) -> Tensor:
        """
        First layer of rho, before its relu.

        It is linear, and so are mean and sum: on each node, which there are fewer of than
        candidates, before pooling, it costs less.
        """
        first, width = self.rho.lins[0], members.size(1)
        if torch.nn.parameter.is_lazy(first.weight):
            first(members.new_empty(0, width + self.dispersion))
        if self.aggregation == "max":
            pooled = _pool(members, segments, "max")
            return first(pooled if spread is None else torch.cat([pooled, spread], dim=-1))
        own, by_spread = first.weight.split([width, int(self.dispersion)], dim=1)
        mean = self.aggregation == "mean"
        linear = torch.nn.functional.linear(members, own, first.bias if mean else None)
        pooled = _pool(linear, segments, self.aggregation)
        hidden = pooled if mean else pooled + first.bias
        # Not addmm, which autocast does not bring to one dtype.
        return hidden if spread is None else hidden + spread * by_spread.t()
