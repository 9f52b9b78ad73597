"""Liftings by neighbourhoods of k hops: each a hyperedge, or each a full simplex."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from topox_difflift import ragged
from topox_difflift._neighbors_within import k_hop_pairs
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least
from topox_difflift.cliques import edge_ids, lexicographic_order
from topox_difflift.domains import Simplicial, Skeleton
from topox_difflift.liftings.base import HypergraphLifting, StaticLifting, attach_all, check_rank

if TYPE_CHECKING:
    from torch import Tensor

    from topox_difflift.graph import Graph

__all__ = ["KHopLifting", "SimplicialKHopLifting", "k_hop_pairs", "subsets"]


class KHopLifting(HypergraphLifting):
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

    def memberships(self, graph: Graph) -> Tensor:
        """
        List the neighbourhoods.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        torch.Tensor, shape = (2, n_memberships), int64
            Pairs (node, node within k hops).
        """
        return k_hop_pairs(graph.edge_index, len(graph.x), self.k)

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            The number of hops.
        """
        return f"k={self.k}"


class SimplicialKHopLifting(StaticLifting):
    """
    Simplicial complex in which the nodes within k hops of any node are a full simplex.

    A set of up to ``max_rank + 1`` nodes is a simplex if all of them lie within k hops of
    one node, which need not be among them. So two neighbours of a node are joined even
    where the graph does not join them; the graph's own edges all stay.

    Parameters
    ----------
    k : int, default=1
        Number of hops.
    max_rank : int, default=2
        Highest rank.
    max_neighborhood : int, optional
        Neighbourhoods of more nodes, the centre included, add no simplices. Bounds the
        work, which grows as their size to the power ``max_rank + 1``.

    Raises
    ------
    ValueError
        If an argument is impossible.

    Notes
    -----
    With k = 1 and without a bound this is TopoBench's `SimplicialKHopLifting` without a
    bound. TopoBench has no k, and bounds the work in another way: of each neighbourhood
    it takes 26 simplices of each rank (its ``max_k_simplices=25``, and one more), chosen by
    the global random state of Python. The two agree where no neighbourhood has more than 26,
    that is at degrees up to 5. Beyond, its complex is another one at every call;
    here a neighbourhood adds all of its simplices or none, which depends neither on
    chance nor on the numbering of the nodes.
    """

    leads_to: ClassVar[str] = "simplicial"

    def __init__(self, k: int = 1, max_rank: int = 2, max_neighborhood: int | None = None) -> None:
        super().__init__()
        self.domain = Simplicial()
        check_at_least("k", k, 1)
        check_rank(max_rank, 2, self.domain)
        if max_neighborhood is not None:
            check_at_least("max_neighborhood", max_neighborhood, 3, "or None for no bound")
        self.k, self.max_rank, self.max_neighborhood = k, max_rank, max_neighborhood

    def build(self, graph: Graph) -> Skeleton:
        """
        Attach all subsets of the neighbourhoods, rank by rank.

        Parameters
        ----------
        graph : Graph
            Checked input.

        Returns
        -------
        Skeleton
            The graph with its ranks.
        """
        n = len(graph.x)
        node, member = k_hop_pairs(graph.edge_index, n, self.k)
        sizes = torch.bincount(node, minlength=n)
        if self.max_neighborhood is not None:
            small = (sizes <= self.max_neighborhood).nonzero().squeeze(-1)
            member, sizes = member[ragged.take(sizes, small)], sizes[small]
        skeleton = Skeleton(graph)
        for rank in range(1, self.max_rank + 1):
            rows = subsets(member, sizes, rank + 1)
            if rank == 1:
                rows = rows[edge_ids(rows[:, 0], rows[:, 1], graph.edges, n) < 0]
            widths = torch.full_like(rows[:, 0], rank + 1)
            cells = CandidateCells.exact(rows.reshape(-1), widths, graph.batch, like=graph.x)
            skeleton = attach_all(self.domain, skeleton, cells)
        return skeleton

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            Number of hops, highest rank and bound.
        """
        return f"k={self.k}, max_rank={self.max_rank}, max_neighborhood={self.max_neighborhood}"


def subsets(members: Tensor, sizes: Tensor, order: int) -> Tensor:
    """
    List the subsets of a given size of several sets.

    Parameters
    ----------
    members : torch.Tensor, shape = (n_members,), int64
        Sets, one after the other, each ascending.
    sizes : torch.Tensor, shape = (n_sets,), int64
        Number of members of each set.
    order : int
        Number of members of each subset.

    Returns
    -------
    torch.Tensor, shape = (n_subsets, order), int64
        The subsets, each once, in lexicographic order.
    """
    end = sizes.cumsum(0).repeat_interleave(sizes)
    rows = torch.arange(len(members), device=members.device).unsqueeze(1)
    for _ in range(order - 1):
        # Each row of positions is extended by every later position of its set.
        last = rows[:, -1]
        later = end[last] - last - 1
        rows = rows.repeat_interleave(later, dim=0)
        position = torch.arange(len(rows), device=rows.device)
        step = position - ragged.starts(later).repeat_interleave(later)
        rows = torch.cat([rows, (rows[:, -1] + 1 + step).unsqueeze(1)], dim=1)
    found = members[rows]
    found = found[lexicographic_order(found)]
    new = torch.ones(len(found), dtype=torch.bool, device=found.device)
    new[1:] = (found[1:] != found[:-1]).any(1)
    return found[new]
