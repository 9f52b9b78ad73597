"""One encoder for every lifting, learned or static, so that only the cells differ."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.graph import as_data, check_graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.graph import Graph

__all__ = ["Carried", "EmbedThenLift"]


class Carried(torch.nn.Module):
    """
    Encoder of a graph whose features carry their embedding in the last columns.

    It lets a `DiffLift` propose cells from an embedding that was computed before, by
    `EmbedThenLift`.

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


class EmbedThenLift(torch.nn.Module):
    """
    Put the embedding of the nodes beside their features, then lift.

    In a comparison every arm has the same encoder and runs it once: a static lifting lifts the
    features together with the embedding, a learned one takes the embedding by ``Carried``.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``(x, edge_index, batch, edge_attr) -> (n_nodes, d)``, such as `encoders.GIN`.
    lift : torch.nn.Module
        ``Data -> LiftedComplex``: a static lifting, or a `DiffLift` with the encoder
        ``Carried(d)``.
    project : torch.nn.Module, optional
        ``x -> x``, what the features pass through before they are embedded and lifted: where
        they are wide, a linear layer that makes them narrower, and with them those of all cells.

    Notes
    -----
    For liftings that compare the features themselves, the graph that is lifted carries them as
    `given`, whatever `project` makes of them; the complex does not.

    Examples
    --------
    >>> from topox_difflift import DiffLift
    >>> from topox_difflift.encoders import GIN
    >>> from topox_difflift.nn import Carried, EmbedThenLift
    >>> lift = EmbedThenLift(GIN(7, 32), DiffLift(encoder=Carried(32)))
    """

    def __init__(
        self,
        encoder: torch.nn.Module,
        lift: torch.nn.Module,
        project: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.lift, self.project = encoder, lift, project

    def forward(self, data: Data) -> LiftedComplex:
        """
        Embed and lift.

        Parameters
        ----------
        data : torch_geometric.data.Data or networkx.Graph
            Graphs with `x` and `edge_index`; not changed.

        Returns
        -------
        LiftedComplex
            The complex, whose features are those of the graph beside their embedding.
        """
        data = as_data(data)
        graph = check_graph(data)
        embedded = copy.copy(data)
        embedded.given = graph.x
        embedded.x = torch.cat(self.embed(graph), dim=1)
        lifted = self.lift(embedded)
        del lifted.given
        return lifted

    def embed(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """
        Compute what the lifting is given.

        Parameters
        ----------
        graph : Graph
            Checked graphs.

        Returns
        -------
        x : torch.Tensor, shape = (n_nodes, channels)
            Features, projected if they are to be.
        z : torch.Tensor, shape = (n_nodes, d)
            Their embedding.
        """
        x = graph.x if self.project is None else self.project(graph.x)
        return x, self.encoder(x, graph.edge_index, graph.batch, graph.edge_attr)
