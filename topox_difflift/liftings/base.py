"""What liftings without learning share: every cell is there, with mask and probability 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch_geometric.transforms import BaseTransform

from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.complex import LiftedComplex
from topox_difflift.domains import DOMAINS, Domain, Hypergraph, Skeleton
from topox_difflift.domains.base import beside, own_edges
from topox_difflift.estimators import Acceptance
from topox_difflift.graph import Graph, as_data, check_graph

if TYPE_CHECKING:
    import networkx as nx
    from torch import Tensor
    from torch_geometric.data import Data

__all__ = [
    "HypergraphLifting", "PresetLifting", "StaticLifting", "attach_all", "check_rank",
    "chosen_domain",
]  # fmt: skip


class PresetLifting(torch.nn.Module, BaseTransform, ABC):
    """
    A lifting that learns nothing: every cell is there, with mask and probability 1.

    Only the features of the cells carry a gradient.

    Attributes
    ----------
    leads_to : str, optional
        Name of the domain it lifts to; None where that can be chosen.
    domain : Domain
        Where it lifts to.
    """

    leads_to: ClassVar[str | None]
    domain: Domain

    @abstractmethod
    def skeleton(self, graph: Graph, data: Data) -> Skeleton:
        """
        Build all ranks.

        Parameters
        ----------
        graph : Graph
            Checked input.
        data : torch_geometric.data.Data
            The input, with everything else that it holds.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """

    def forward(self, data: Data | nx.Graph) -> LiftedComplex:
        """
        Lift a graph, or a batch of graphs.

        Parameters
        ----------
        data : torch_geometric.data.Data or networkx.Graph
            Graphs with node features `x`; never changed.

        Returns
        -------
        LiftedComplex
            The complex, with everything else that `data` holds.

        Raises
        ------
        TypeError, ValueError
            If the input is not a graph with finite features.
        """
        data = as_data(data)
        graph = check_graph(data)
        skeleton = self.skeleton(graph, data)
        return LiftedComplex.from_ranks(
            data, graph.x, graph.batch, skeleton.ranks, self.domain.topology
        )


class StaticLifting(PresetLifting):
    """A lifting by a fixed rule on nodes, features and edges."""

    @abstractmethod
    def build(self, graph: Graph) -> Skeleton:
        """
        Build all ranks.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """

    def skeleton(self, graph: Graph, data: Data) -> Skeleton:
        """
        Build all ranks from the graph alone.

        Parameters
        ----------
        graph : Graph
            Checked input.
        data : torch_geometric.data.Data
            Not used.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        return self.build(graph)


class HypergraphLifting(PresetLifting):
    """
    A hypergraph of node sets; the edges of the graph are no hyperedges of their own.

    Column j of the incidence matrix is hyperedge j, and its features are the mean of its
    members'.

    Parameters
    ----------
    key : str, default="x"
        Attribute of the data whose rows are the features that decide who belongs together.
    """

    leads_to: ClassVar[str] = "hypergraph"

    def __init__(self, key: str = "x") -> None:
        super().__init__()
        self.domain, self.key = Hypergraph(), key

    @abstractmethod
    def memberships(self, graph: Graph) -> Tensor:
        """
        List who belongs to the hyperedge of which node.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        torch.Tensor, shape = (2, n_memberships), int64
            Pairs (node, member), sorted. A node in no pair has no hyperedge.
        """

    def skeleton(self, graph: Graph, data: Data) -> Skeleton:
        """
        Attach one hyperedge for each node that has members, in the order of the nodes.

        Parameters
        ----------
        graph : Graph
            Checked input.
        data : torch_geometric.data.Data
            The input, with the features that decide.

        Returns
        -------
        Skeleton
            The graph with its hyperedges.

        Raises
        ------
        ValueError
            If there are no such features.
        """
        node, member = self.memberships(replace(graph, x=self._features(graph, data)))
        sizes = torch.unique_consecutive(node, return_counts=True)[1]
        cells = CandidateCells.exact(member, sizes, graph.batch, like=graph.x)
        return self.domain.attach(Skeleton(graph), 1, cells, _everything(cells))

    def _features(self, graph: Graph, data: Data) -> Tensor:
        if self.key == "x":
            return graph.x
        features = data.get(self.key, None)
        if not isinstance(features, torch.Tensor) or features.shape[:1] != graph.x.shape[:1]:
            got = type(features).__name__
            got = f"{got} of {len(features)} rows" if isinstance(features, torch.Tensor) else got
            raise ValueError(
                f"Expected 'data' to hold a tensor {self.key!r} of {len(graph.x)} rows, one for "
                f"each node (got {got}); set it, or compare 'x'"
            )
        return features


def attach_all(domain: Domain, skeleton: Skeleton, cells: CandidateCells | None) -> Skeleton:
    """
    Add the next rank, all of it accepted.

    Parameters
    ----------
    domain : Domain
        The domain.
    skeleton : Skeleton
        The complex so far.
    cells : CandidateCells, optional
        Cells of the next rank. At rank 1 the edges of the graph join them.

    Returns
    -------
    Skeleton
        The complex with one rank more.
    """
    graph = skeleton.graph
    if cells is None:
        none = graph.batch[:0]
        cells = CandidateCells.exact(none, none, graph.batch, like=graph.x)
    acceptance, rank = _everything(cells), len(skeleton.ranks) + 1
    if rank == 1:
        cells, acceptance = beside(own_edges(graph), graph.batch, cells, acceptance)
    return domain.attach(skeleton, rank, cells, acceptance)


def _everything(cells: CandidateCells) -> Acceptance:
    """Accept all of them, with certainty."""
    ones = cells.weight.new_ones(len(cells))
    return Acceptance(prob=ones, accepted=ones.bool())


def chosen_domain(domain: str | Domain, max_rank: int | None) -> tuple[Domain, int]:
    """
    Settle a domain and the highest rank to lift to.

    Parameters
    ----------
    domain : str or Domain
        Name or instance.
    max_rank : int, optional
        The rank; by default the domain's own.

    Returns
    -------
    tuple of Domain and int
        Both, checked.

    Raises
    ------
    ValueError
        If the name is unknown or the rank impossible.
    """
    if isinstance(domain, str):
        check_one_of("domain", domain, tuple(DOMAINS), ", or an instance of Domain")
        domain = DOMAINS[domain]()
    max_rank = domain.default_rank if max_rank is None else max_rank
    check_rank(max_rank, 1, domain)
    return domain, max_rank


def check_rank(max_rank: int, least: int, domain: Domain) -> None:
    """
    Check that a rank is one that a domain can be lifted to.

    Parameters
    ----------
    max_rank : int
        The rank.
    least : int
        Smallest rank allowed.
    domain : Domain
        The domain.

    Raises
    ------
    ValueError
        If it is not.
    """
    most = domain.highest_rank
    check_at_least("max_rank", max_rank, least, f"and at most {most} for {domain!r}")
    if max_rank > most:
        raise ValueError(
            f"Expected 'max_rank' to be from {least} to {most} for {domain!r} (got {max_rank})"
        )
