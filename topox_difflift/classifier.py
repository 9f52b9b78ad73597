"""A graph classifier: one encoder, any lifting, a TopoModelX network and a readout."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from topomodelx.nn.cell.cwn import CWN
from topomodelx.nn.hypergraph.unigcn import UniGCN
from torch import Tensor

from topox_difflift.graph import check_graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex

__all__ = ["TNNS", "Carried", "LiftedClassifier", "TopologicalNetwork", "pool_cells"]


#: UniGCN adds up members and hyperedges without normalising: each layer makes features about
#: this much larger on sparse graphs, and a loss that starts at 5 is slow to recover.
_UNIGCN_GROWTH = 10.0


class TopologicalNetwork(torch.nn.Module, ABC):
    """
    A TopoModelX network that takes a `LiftedComplex`.

    Parameters
    ----------
    in_channels : int
        Width of the features of all cells.
    hidden_channels : int
        Width of the hidden layers and of the result.
    n_layers : int
        Number of layers.

    Attributes
    ----------
    topologies : tuple of str
        Topological domains it is made for.
    n_ranks : int
        Number of ranks it returns features of.
    """

    topologies: ClassVar[tuple[str, ...]]
    n_ranks: ClassVar[int]

    def __init__(self, in_channels: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__()
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.n_layers = n_layers

    @abstractmethod
    def forward(self, lifted: LiftedComplex) -> tuple[Tensor, ...]:
        """
        Compute features of the cells of each rank.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.

        Returns
        -------
        tuple of torch.Tensor, shapes = (n_r, hidden_channels)
            Features; exactly 0 for cells that were rejected but kept.
        """


class CellNetwork(TopologicalNetwork):
    """
    CWN, for complexes with 2-cells.

    Parameters
    ----------
    in_channels : int
        Width of the features of all cells.
    hidden_channels : int
        Width of the hidden layers and of the result.
    n_layers : int
        Number of layers.
    """

    topologies: ClassVar[tuple[str, ...]] = ("cell", "simplicial", "combinatorial")
    n_ranks: ClassVar[int] = 3

    def __init__(self, in_channels: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__(in_channels, hidden_channels, n_layers)
        self.tnn = CWN(in_channels, in_channels, in_channels, hidden_channels, n_layers)

    def forward(self, lifted: LiftedComplex) -> tuple[Tensor, ...]:
        """
        Compute features of nodes, edges and 2-cells.

        Parameters
        ----------
        lifted : LiftedComplex
            The complex.

        Returns
        -------
        tuple of torch.Tensor, shapes = (n_r, hidden_channels)
            Features of ranks 0, 1 and 2.
        """
        out = self.tnn(
            lifted.x_0,
            lifted.x_1,
            lifted.x_2,
            lifted.adjacency_1,
            lifted.incidence_2,
            lifted.incidence_1.T,
        )
        # The projections of CWN have a bias, so that even a rejected cell has features.
        return tuple(h * lifted[f"mask_{rank}"].unsqueeze(-1) for rank, h in enumerate(out))


class HypergraphNetwork(TopologicalNetwork):
    """
    UniGCN, for hypergraphs.

    Parameters
    ----------
    in_channels : int
        Width of the features of the nodes.
    hidden_channels : int
        Width of the hidden layers and of the result.
    n_layers : int
        Number of layers.
    """

    topologies: ClassVar[tuple[str, ...]] = ("hypergraph",)
    n_ranks: ClassVar[int] = 2

    def __init__(self, in_channels: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__(in_channels, hidden_channels, n_layers)
        self.tnn = UniGCN(in_channels, hidden_channels, n_layers=n_layers)

    def forward(self, lifted: LiftedComplex) -> tuple[Tensor, ...]:
        """
        Compute features of nodes and hyperedges.

        Parameters
        ----------
        lifted : LiftedComplex
            The hypergraph.

        Returns
        -------
        tuple of torch.Tensor, shapes = (n_r, hidden_channels)
            Features of ranks 0 and 1.
        """
        scale = _UNIGCN_GROWTH**-self.n_layers
        return tuple(h * scale for h in self.tnn(lifted.x_0, lifted.incidence_1))


#: Networks that `LiftedClassifier` knows by name; add a class to register it.
TNNS: dict[str, type[TopologicalNetwork]] = {"cwn": CellNetwork, "unigcn": HypergraphNetwork}


class Carried(torch.nn.Module):
    """
    Encoder of a graph whose features carry their embedding in the last columns.

    It lets a `DiffLift` propose cells from an embedding that was computed before,
    so that every arm of a comparison has the same encoder and runs it once.

    Parameters
    ----------
    channels : int
        Width of the embedding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        """
        Take the embedding.

        Parameters
        ----------
        x : torch.Tensor, shape = (n_nodes, in_channels + channels)
            Node features, embedding last.
        edge_index : torch.Tensor, shape = (2, n_arcs), int64
            Not used.
        batch : torch.Tensor, shape = (n_nodes,), int64
            Not used.

        Returns
        -------
        torch.Tensor, shape = (n_nodes, channels)
            The embedding.
        """
        return x[:, -self.channels :]


class LiftedClassifier(torch.nn.Module):
    """
    Embed the nodes, lift, run a topological network, pool each rank and classify.

    Every lifting, learned or static, is given the same graph: its features beside
    their embedding. A learned one needs the encoder ``Carried(encoder_channels)``.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``(x, edge_index, batch, edge_attr) -> (n_nodes, d)``, such as `encoders.GIN`.
    lifting : torch.nn.Module
        ``Data -> LiftedComplex``, such as `DiffLift` or a static lifting.
    tnn : TopologicalNetwork
        The network on the complex.
    num_classes : int
        Number of classes.
    """

    def __init__(
        self,
        encoder: torch.nn.Module,
        lifting: torch.nn.Module,
        tnn: TopologicalNetwork,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.encoder, self.lifting, self.tnn = encoder, lifting, tnn
        width = tnn.hidden_channels
        self.head = torch.nn.Sequential(
            torch.nn.Linear(width * tnn.n_ranks, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, num_classes),
        )

    def lift(self, data: Data) -> LiftedComplex:
        """
        Embed and lift.

        Parameters
        ----------
        data : torch_geometric.data.Data
            Graphs with `x` and `edge_index`; not changed.

        Returns
        -------
        LiftedComplex
            The complex, whose features are those of the graph beside their embedding.
        """
        graph = check_graph(data)
        z = self.encoder(graph.x, graph.edge_index, graph.batch, graph.edge_attr)
        embedded = copy.copy(data)
        embedded.x = torch.cat([graph.x, z], dim=1)
        return self.lifting(embedded)

    def forward(self, data: Data) -> Tensor:
        """
        Classify graphs.

        Parameters
        ----------
        data : torch_geometric.data.Data
            Graphs with `x` and `edge_index`.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, num_classes)
            Logits.
        """
        return self.classify(self.lift(data))

    def classify(self, lifted: LiftedComplex) -> Tensor:
        """
        Classify graphs that were lifted already.

        Parameters
        ----------
        lifted : LiftedComplex
            Their complex.

        Returns
        -------
        torch.Tensor, shape = (n_graphs, num_classes)
            Logits.
        """
        cells = self.tnn(lifted)
        return self.head(torch.cat([pool_cells(lifted, r, h) for r, h in enumerate(cells)], dim=1))


def pool_cells(lifted: LiftedComplex, rank: int, h: Tensor) -> Tensor:
    """
    Average the activations of the accepted cells of a rank over each graph.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    rank : int
        The rank.
    h : torch.Tensor, shape = (n_r, channels)
        Features of its cells, 0 for rejected ones.

    Returns
    -------
    torch.Tensor, shape = (n_graphs, channels)
        The means; 0 for a graph without a cell of this rank.
    """
    graph, mask = lifted[f"batch_{rank}"], lifted[f"mask_{rank}"]
    # SiLU keeps 0 at 0, and has a gradient there, which rejected cells need.
    activated = torch.nn.functional.silu(h)
    total = h.new_zeros(lifted.num_graphs, h.size(1)).index_add(0, graph, activated)
    count = mask.new_zeros(lifted.num_graphs).index_add(0, graph, mask)
    return total / (count + (count == 0)).unsqueeze(-1)
