"""How likely a candidate cell is: a permutation-invariant network on its members."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from topox_difflift.candidates import CandidateCells
from topox_difflift.sparse import segment_sum

__all__ = ["AGGREGATIONS", "CellScorer"]

AGGREGATIONS = ("mean", "sum", "max")

#: Initial bias of the acceptance logit: sigmoid(1) = 0.73.
INITIAL_LOGIT = 1.0


def _pool(x: Tensor, vertices: Tensor, sizes: Tensor, aggregation: str) -> Tensor:
    """Pool the rows of the members of each cell."""
    if aggregation == "max":
        if len(vertices) == 0:
            return segment_sum(x, vertices, sizes)
        offsets = sizes.cumsum(0) - sizes
        return torch.nn.functional.embedding_bag(vertices, x, offsets, mode="max")
    total = segment_sum(x, vertices, sizes)
    return total if aggregation == "sum" else total / sizes.unsqueeze(-1)


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
        vertices, sizes = candidates.members()
        members = z if self.phi is None else self.phi(z)
        pooled = _pool(members, vertices, sizes, self.aggregation)
        if self.dispersion:
            pooled = torch.cat([pooled, _dispersion(z, vertices, sizes)], dim=-1)
        return self.rho(pooled).squeeze(-1)


def _dispersion(z: Tensor, vertices: Tensor, sizes: Tensor) -> Tensor:
    """Mean over channels of the members' variance, as the mean square less the squared mean."""
    moments = torch.cat([z, z.square().sum(-1, keepdim=True)], dim=-1)
    mean = _pool(moments, vertices, sizes, "mean")
    return (mean[:, -1:] - mean[:, :-1].square().sum(-1, keepdim=True)) / z.size(1)
