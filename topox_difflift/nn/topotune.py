r"""
Generalized combinatorial complex networks: a graph network on each neighborhood.

A layer runs one graph network :math:`\omega_N` for each neighborhood N on the graph
:math:`G_N` that N makes of the cells, adds up what arrives at a cell, and updates it:

.. math::
    h_C \leftarrow h_C + \phi\Big(\mathrm{LN}\Big(\sum_N \omega_N(H_N, G_N)_C\Big)\Big).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.nn import MLP, GATConv, GCNConv, GraphConv, MessagePassing
from torch_geometric.nn.aggr import SumAggregation
from torch_geometric.nn.resolver import activation_resolver

from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.nn.hasse import (
    HasseGraph,
    Neighborhood,
    check_rank,
    default_neighborhoods,
    hasse_graph,
    parse_neighborhoods,
)
from topox_difflift.sparse import matmul

if TYPE_CHECKING:
    from topox_difflift.complex import LiftedComplex

__all__ = ["GCCN", "GNNS", "WeightedGIN", "WeightedSAGE"]


class WeightedGIN(torch.nn.Module):
    """
    GIN with a weighted sum over the neighbors; PyG's takes no weights.

    Parameters
    ----------
    channels : int
        Width of the features and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = MLP([channels, channels, channels], act="silu", norm=None)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """
        Compute new features.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_vertices, channels)
            Features.
        edge_index : torch.Tensor, shape = (2, n_edges), int64
            Sender and receiver of each edge.
        edge_weight : torch.Tensor, shape = (n_edges,)
            Weight of each edge.

        Returns
        -------
        torch.Tensor, shape = (n_vertices, channels)
            The new features.
        """
        return self.mlp(x + matmul(edge_index.flip(0), edge_weight, x, len(x)))


class WeightedSAGE(torch.nn.Module):
    """
    GraphSAGE with a weighted mean over the neighbors; PyG's takes no weights.

    Parameters
    ----------
    channels : int
        Width of the features and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.root = torch.nn.Linear(channels, channels)
        self.neighbors = torch.nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """
        Compute new features.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_vertices, channels)
            Features.
        edge_index : torch.Tensor, shape = (2, n_edges), int64
            Sender and receiver of each edge.
        edge_weight : torch.Tensor, shape = (n_edges,)
            Weight of each edge, at least 0.

        Returns
        -------
        torch.Tensor, shape = (n_vertices, channels)
            The new features.
        """
        total = matmul(edge_index.flip(0), edge_weight, x, len(x))
        degree = edge_weight.new_zeros(len(x)).index_add(0, edge_index[1], edge_weight)
        return self.root(x) + self.neighbors(total / (degree + (degree == 0)).unsqueeze(-1))


#: Graph networks that `GCCN` knows by name; add a function of the width to register one.
GNNS: dict[str, Callable[[int], torch.nn.Module]] = {
    "gcn": lambda channels: GCNConv(channels, channels),
    "graph": lambda channels: GraphConv(channels, channels),
    "gin": WeightedGIN,
    "sage": WeightedSAGE,
    "gat": lambda channels: GATConv(channels, channels),
}


class GCCN(torch.nn.Module):
    """
    Generalized combinatorial complex network, for complexes of every domain [1]_.

    Parameters
    ----------
    in_channels : int or sequence of int
        Width of the features of all cells, or of those of each rank.
    hidden_channels : int
        Width of the hidden layers and of the result.
    n_layers : int
        Number of layers.
    neighborhoods : sequence of str
        Who sends to whom, as in TopoBench: "up_adjacency-r" and "down_adjacency-r" (cells of
        rank r that share a cell of the rank above, or below), "up_laplacian-r",
        "down_laplacian-r", "hodge_laplacian-r" (the same, weighed by the unsigned Laplacian),
        "up_incidence-r" (from rank r to the cells above), "down_incidence-r" (to those
        below), and "h-up_adjacency-r" and so on for h ranks instead of one. Default: the up
        adjacencies and the incidences both ways up to rank 2; `default_neighborhoods(1)` is
        for hypergraphs.
    gnn : {"gcn", "graph", "gin", "sage", "gat"} or callable
        Graph network of each neighborhood and layer, or a function that makes one, given its
        width: a module ``(x, edge_index) -> x`` or ``(x, edge_index, edge_weight) -> x``.
    dropout : float
        Probability with which a channel of an update is dropped while training.
    activation : str or callable
        Activation of the updates, by PyG's name or as a function.

    Attributes
    ----------
    max_rank : int
        Highest rank that it returns features of.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Notes
    -----
    A network that takes `edge_weight` gets the values of the neighborhood, with their
    gradient. Where all its sums are weighted ones, rejected cells stay as edges of weight 0 and
    get a gradient as well; a network that counts or compares its neighbors (a mean, a
    maximum, attention) gets the edges of the accepted complex alone, and one that takes no
    weights gets gated features. The result for accepted cells is in every case that of
    the accepted complex. A network of one's own should not normalise over the batch.

    References
    ----------
    .. [1] Papillon, Bernárdez, Battiloro, Miolane.
        TopoTune: A framework for generalized combinatorial complex neural networks.
        ICML 2025. https://arxiv.org/abs/2410.06530

    Examples
    --------
    >>> from topox_difflift import DiffLift
    >>> from topox_difflift.testing import zoo
    >>> lifted = DiffLift()(zoo()["K4"])
    >>> features = GCCN(in_channels=3, hidden_channels=8, gnn="gin")(lifted)
    >>> [tuple(features[rank].shape) == (n, 8) for rank, n in enumerate(lifted.num_cells)]
    [True, True, True]
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        hidden_channels: int,
        n_layers: int = 2,
        *,
        neighborhoods: Sequence[str] = default_neighborhoods(2),
        gnn: str | Callable[[int], torch.nn.Module] = "gcn",
        dropout: float = 0.0,
        activation: str | Callable[[Tensor], Tensor] = "silu",
    ) -> None:
        super().__init__()
        check_at_least("hidden_channels", hidden_channels, 1)
        check_at_least("n_layers", n_layers, 1)
        self.neighborhoods = parse_neighborhoods(neighborhoods)
        self.max_rank = max(max(n.rank, n.target) for n in self.neighborhoods)
        self.in_channels = _widths(in_channels, self.max_rank)
        self.hidden_channels = hidden_channels
        if not callable(gnn):
            check_one_of("gnn", gnn, tuple(GNNS), ", or a function that makes one")
            gnn = GNNS[gnn]
        try:
            act = activation_resolver(activation)
        except ValueError as error:
            raise ValueError(
                "Expected 'activation' to be the name of one of torch's activations, or a function "
                f"(got {activation!r})"
            ) from error
        self.project = torch.nn.ModuleList(
            [torch.nn.Linear(width, hidden_channels) for width in self.in_channels]
        )
        self.layers = torch.nn.ModuleList(
            [
                _Layer(self.neighborhoods, hidden_channels, gnn, act, dropout)
                for _ in range(n_layers)
            ]
        )

    def forward(self, lifted: LiftedComplex) -> dict[int, Tensor]:
        """
        Compute features of the cells of each rank.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.

        Returns
        -------
        dict of int to torch.Tensor, shape = (n_r, hidden_channels)
            Features of the ranks up to `max_rank`; exactly 0 for cells that were rejected but
            kept.

        Raises
        ------
        ValueError
            If a rank was not lifted, or its features have another width.
        """
        check_rank(lifted, max(n.highest for n in self.neighborhoods), "GCCN")
        x = [lifted[f"x_{r}"] for r in range(self.max_rank + 1)]
        for rank, width in enumerate(self.in_channels):
            if x[rank].size(1) != width:
                raise ValueError(
                    f"Expected 'x_{rank}' to have {width} channels, as 'in_channels' says "
                    f"(got {x[rank].size(1)})"
                )
        gates = [lifted[f"mask_{r}"].unsqueeze(-1) for r in range(self.max_rank + 1)]
        graphs = [hasse_graph(lifted, n) for n in self.neighborhoods]
        h = [project(features) for project, features in zip(self.project, x, strict=True)]
        for layer in self.layers:
            h = layer(h, gates, graphs)
        return {rank: h[rank] * gate for rank, gate in enumerate(gates)}


class _Layer(torch.nn.Module):
    """A graph network for each neighborhood, and an update for each rank that receives."""

    def __init__(
        self,
        neighborhoods: tuple[Neighborhood, ...],
        channels: int,
        gnn: Callable[[int], torch.nn.Module],
        activation: Callable[[Tensor], Tensor],
        dropout: float,
    ) -> None:
        super().__init__()
        self.neighborhoods, self.activation = neighborhoods, activation
        self.gnns = torch.nn.ModuleDict({str(n): gnn(channels) for n in neighborhoods})
        targets = sorted({n.target for n in neighborhoods})
        self.norms = torch.nn.ModuleDict({str(r): torch.nn.LayerNorm(channels) for r in targets})
        self.dropout = torch.nn.Dropout(dropout)

    def forward(
        self, h: list[Tensor], gates: list[Tensor], graphs: list[HasseGraph]
    ) -> list[Tensor]:
        arrived: dict[int, Tensor] = {}
        for n, graph in zip(self.neighborhoods, graphs, strict=True):
            ranks = [n.target] if n.target == n.rank else [n.target, n.rank]
            gnn = self.gnns[str(n)]
            out = _run(gnn, [h[r] for r in ranks], [gates[r] for r in ranks], graph)
            arrived[n.target] = arrived[n.target] + out if n.target in arrived else out
        updated = list(h)
        for rank, total in arrived.items():
            update = self.activation(self.norms[str(rank)](total))
            updated[rank] = h[rank] + self.dropout(update)
        return updated


def _run(gnn: torch.nn.Module, h: list[Tensor], gates: list[Tensor], graph: HasseGraph) -> Tensor:
    """Run a graph network on a neighborhood; receivers come first."""
    if _takes_weights(gnn):
        x, graph = torch.cat(h), graph if _adds_up(gnn) else graph.accepted
        out = gnn(x, graph.edge_index, edge_weight=graph.weight)
    else:
        x = torch.cat([features * gate for features, gate in zip(h, gates, strict=True)])
        out = gnn(x, graph.accepted.edge_index)
    if out.shape != x.shape:
        raise ValueError(
            f"Expected a network of 'gnn' to return features of shape {tuple(x.shape)}, as it was "
            f"given (got {tuple(out.shape)}); make it of the width that 'gnn' is called with"
        )
    return out[: len(h[0])]


def _takes_weights(gnn: torch.nn.Module) -> bool:
    # PyG's models all have the argument; whether they heed it is another attribute.
    heeded = getattr(gnn, "supports_edge_weight", True)
    return heeded and "edge_weight" in inspect.signature(gnn.forward).parameters


def _adds_up(gnn: torch.nn.Module) -> bool:
    """Whether an edge of weight 0 is as good as none."""
    layers = [m for m in gnn.modules() if isinstance(m, MessagePassing)]
    return all(isinstance(layer.aggr_module, SumAggregation) for layer in layers)


def _widths(in_channels: int | Sequence[int], max_rank: int) -> tuple[int, ...]:
    """Width of the features of each rank."""
    if isinstance(in_channels, Sequence):
        widths = tuple(in_channels)
    else:
        widths = (in_channels,) * (max_rank + 1)
    if len(widths) != max_rank + 1:
        raise ValueError(
            f"Expected 'in_channels' to be an integer, or one for each of the {max_rank + 1} "
            f"ranks of the neighborhoods (got {len(widths)})"
        )
    for width in widths:
        check_at_least("in_channels", width, 1)
    return widths
