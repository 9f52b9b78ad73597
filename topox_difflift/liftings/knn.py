"""Hypergraphs of the nearest nodes in feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from topox_difflift.checks import check_at_least, check_flag
from topox_difflift.liftings.base import HypergraphLifting
from topox_difflift.neighbors import knn

if TYPE_CHECKING:
    from torch import Tensor

    from topox_difflift.graph import Graph

__all__ = ["KNNLifting"]


class KNNLifting(HypergraphLifting):
    """
    Hypergraph with one hyperedge for each node: the k nearest nodes of the same graph.

    Nearest by the Euclidean distance of the features; of equal distances the lower node
    index comes first, as in `topox_difflift.neighbors.knn`. A graph with fewer nodes gives
    smaller hyperedges, and a node without any member none.

    Parameters
    ----------
    k : int, default=3
        Number of nearest nodes.
    include_self : bool, default=True
        Whether a node is the first of its own k nearest, or never one of them.
    in_channels : int, optional
        Number of leading columns of `x` that are compared, by default all. The others,
        such as a learned embedding carried along, have no say.
    key : str, default="x"
        Attribute of the data that holds the features that are compared.

    Raises
    ------
    ValueError
        If an argument is impossible.

    Notes
    -----
    The definition is that of TopoBench's `HypergraphKNNLifting` (its `loop` is
    `include_self`), whose code departs from it in two points:

    * Its incidence matrix is transposed: it fills (node, neighbour), so that column j, which
      is hyperedge j for every consumer, holds the nodes that have j among their k nearest
      instead of the k nearest of j. Hyperedges then have any size, and may be empty.
    * Where the search leaves out the node itself, as it may among equal features, the
      furthest neighbour is to make room for it; but the distance that decides is
      ``sqrt(sum(x_u - x_v ** 2))``, the square in the wrong place, which is no distance
      and often not a number, so that an arbitrary neighbour goes.
    """

    def __init__(
        self,
        k: int = 3,
        include_self: bool = True,
        in_channels: int | None = None,
        key: str = "x",
    ) -> None:
        super().__init__(key)
        check_at_least("k", k, 1)
        check_flag("include_self", include_self)
        if in_channels is not None:
            check_at_least("in_channels", in_channels, 1, "or None for all")
        self.k, self.include_self, self.in_channels = k, include_self, in_channels

    def memberships(self, graph: Graph) -> Tensor:
        """
        List the nearest nodes.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        torch.Tensor, shape = (2, n_memberships), int64
            Pairs (node, one of its nearest).

        Raises
        ------
        ValueError
            If `x` has fewer than `in_channels` columns.
        """
        if self.in_channels is not None and graph.x.size(1) < self.in_channels:
            raise ValueError(
                f"Expected 'x' to have at least in_channels={self.in_channels} columns "
                f"(got {graph.x.size(1)}); lower 'in_channels', or leave it out to compare all"
            )
        x = graph.x[:, : self.in_channels]
        nearest = knn(
            x, graph.batch, self.k, num_graphs=graph.num_graphs, include_self=self.include_self
        )
        ascending = nearest.sort(dim=1).values
        node, column = (ascending >= 0).nonzero(as_tuple=True)
        return torch.stack([node, ascending[node, column]])

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The settings.
        """
        return (
            f"k={self.k}, include_self={self.include_self}, in_channels={self.in_channels}, "
            f"key={self.key!r}"
        )
