"""Static liftings with the call of `DiffLift`: the fixed rules it is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch_geometric.transforms import BaseTransform

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.complex import LiftedComplex
from topox_difflift.domains import DOMAINS, Cell, Domain, Hypergraph, Skeleton
from topox_difflift.estimators import Acceptance
from topox_difflift.graph import Graph, as_data, check_graph

if TYPE_CHECKING:
    import networkx as nx
    from torch import Tensor
    from torch_geometric.data import Data

__all__ = ["CycleLifting", "KHopLifting", "NoLifting", "StaticLifting", "k_hop_pairs"]


class StaticLifting(torch.nn.Module, BaseTransform, ABC):
    """
    A lifting by a fixed rule: every cell is there, with mask and probability 1.

    Attributes
    ----------
    domain : Domain
        Where it lifts to.
    """

    domain: Domain

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
        skeleton = self.build(graph)
        return LiftedComplex.from_ranks(
            data, graph.x, graph.batch, skeleton.ranks, self.domain.topology
        )

    def _attach(self, skeleton: Skeleton, cells: CandidateCells) -> Skeleton:
        """Add the next rank, all of it accepted."""
        ones = skeleton.graph.x.new_ones(len(cells))
        everything = Acceptance(prob=ones, accepted=ones.bool())
        return self.domain.attach(skeleton, len(skeleton.ranks) + 1, cells, everything)


class NoLifting(StaticLifting):
    """
    The graph itself as a complex: its edges as 1-cells, and no cell above.

    Parameters
    ----------
    domain : {"cell", "simplicial", "combinatorial", "hypergraph"} or Domain, default="cell"
        Kind of the complex.
    max_rank : int, optional
        Highest rank; by default the domain's own. Ranks from 2 on are empty.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """

    def __init__(self, domain: str | Domain = "cell", max_rank: int | None = None) -> None:
        super().__init__()
        if isinstance(domain, str):
            check_one_of("domain", domain, tuple(DOMAINS), ", or an instance of Domain")
            domain = DOMAINS[domain]()
        self.domain = domain
        self.max_rank = domain.default_rank if max_rank is None else max_rank
        if not 1 <= self.max_rank <= domain.highest_rank:
            raise ValueError(
                f"Expected 'max_rank' to be from 1 to {domain.highest_rank} for {domain!r} "
                f"(got {max_rank})"
            )

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the edges, and nothing at all at higher ranks.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        skeleton = Skeleton(graph)
        for _ in range(self.max_rank):
            skeleton = self._attach(skeleton, _no_cells(graph))
        return skeleton

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            Domain and highest rank.
        """
        return f"{self.domain!r}, max_rank={self.max_rank}"


class CycleLifting(StaticLifting):
    """
    Cell complex of the graph and the cycles of a basis.

    Parameters
    ----------
    cycles : {"shortest", "fundamental", "minimum", "induced"}, default="shortest"
        Which cycles become 2-cells, as in `topox_difflift.domains.Cell`.
    max_cycle_length : int, optional
        Longer cycles are left out.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """

    def __init__(self, cycles: str = "shortest", max_cycle_length: int | None = None) -> None:
        super().__init__()
        self.domain = Cell(cycles, max_cycle_length)

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the edges, then the cycles.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        skeleton = self._attach(Skeleton(graph), _no_cells(graph))
        return self._attach(skeleton, self.domain.propose(skeleton, 2, None))

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The domain.
        """
        return repr(self.domain)


class KHopLifting(StaticLifting):
    """
    Hypergraph with one hyperedge for each node: the nodes within k hops, itself included.

    The edges of the graph are no hyperedges of their own. An isolated node has the
    hyperedge of itself alone. This is TopoBench's definition.

    Parameters
    ----------
    k : int, default=1
        Number of hops.

    Raises
    ------
    ValueError
        If `k` is below 1.
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        check_at_least("k", k, 1)
        self.k = k
        self.domain = Hypergraph()

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach the neighbourhoods.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its hyperedges.
        """
        node, member = k_hop_pairs(graph.edge_index, len(graph.x), self.k)
        sizes = torch.bincount(node, minlength=len(graph.x))
        cells = CandidateCells(member, sizes, graph.batch, graph.x.new_ones(len(member)))
        # The domain attaches the edges of its graph as well, so it is given none.
        return self._attach(Skeleton(replace(graph, edges=graph.edges[:, :0])), cells)

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The number of hops.
        """
        return f"k={self.k}"


def _no_cells(graph: Graph) -> CandidateCells:
    none = graph.batch[:0]
    return CandidateCells(none, none, none, graph.x.new_ones(0))


def k_hop_pairs(edge_index: Tensor, num_nodes: int, k: int) -> Tensor:
    """
    Pairs of nodes that are at most k hops apart.

    Parameters
    ----------
    edge_index : torch.Tensor, shape = (2, n_arcs), int64
        Both directions of each edge, sorted.
    num_nodes : int
        Number of nodes.
    k : int
        Number of hops.

    Returns
    -------
    torch.Tensor, shape = (2, n_pairs), int64
        All ordered pairs, each node with itself included, sorted. Memory is linear in the
        number of walks of one step from such pairs.
    """
    degree = torch.bincount(edge_index[0], minlength=num_nodes)
    node = torch.arange(num_nodes, device=edge_index.device)
    member = node
    for _ in range(k):
        further = edge_index[1][ragged.take(degree, member)]
        start = node.repeat_interleave(degree[member])
        key = torch.cat([node * num_nodes + member, start * num_nodes + further]).unique()
        node, member = key // num_nodes, key % num_nodes
    return torch.stack([node, member])
