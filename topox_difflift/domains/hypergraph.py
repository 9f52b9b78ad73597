"""Hypergraphs: every node proposes the set of its nearest nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.checks import check_at_least, check_one_of
from topox_difflift.domains.base import Boundary, Domain, Skeleton, own_edges, project
from topox_difflift.proximity import NeighborhoodRule
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topox_difflift.proximity import Nearest

__all__ = ["Hypergraph", "nearest_sets"]


class Hypergraph(Domain):
    """
    Hyperedges C(v), the k_v nodes nearest to v, v itself among them.

    The edges of the graph are hyperedges of two nodes. Two nodes may propose the same set; both
    columns stay, one for each proposer.

    Parameters
    ----------
    sizes : int or sequence of int, optional
        Sizes of which each node proposes a hyperedge, all of them, each to be accepted on its
        own; the bounds `k_min` and `k_max` of the lifting are then without effect. By default
        it proposes one, of the learned size k_v.
    edges : {"given", "candidates"}, optional
        What becomes of the edges of the graph. "given", the default: all of them stay.
        "candidates": each is accepted or rejected, as a learned hyperedge is; where they join nodes
        that have little in common, more may be gained by it than is lost on finding other
        hyperedges. None: they are left out.

    Raises
    ------
    TypeError, ValueError
        If `edges` is unknown, or `sizes` is empty, repeats a size, or has one below 2.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    topology: ClassVar[Literal["hypergraph"]] = "hypergraph"
    highest_rank: ClassVar[int] = 1
    default_rank: ClassVar[int] = 1

    def __init__(
        self,
        sizes: int | Sequence[int] | None = None,
        edges: Literal["given", "candidates"] | None = "given",
    ) -> None:
        if edges is not None:
            check_one_of("edges", edges, ("given", "candidates"), ", or None to leave them out")
        if isinstance(sizes, int):
            sizes = (sizes,)
        if sizes is not None:
            for size in sizes:
                check_at_least("sizes", size, 2, "a hyperedge of two nodes")
            if len(set(sizes)) != len(sizes) or not sizes:
                raise ValueError(
                    f"Expected 'sizes' to be different numbers, at least one (got {list(sizes)}); "
                    "None for one hyperedge of a learned size"
                )
        self.sizes = None if sizes is None else tuple(sorted(sizes))
        self.edges = edges

    def rule(
        self, in_channels: int, hidden_channels: int, k_min: int, k_max: int, dispersion: bool
    ) -> NeighborhoodRule:
        """
        Make the module that says which of the nearest nodes a node takes.

        Parameters
        ----------
        in_channels, hidden_channels : int
            Widths of the embeddings and of hidden layers.
        k_min, k_max : int
            Bounds of the number of neighbours; without effect where there are `sizes`.
        dispersion : bool
            Whether the number depends on how far apart the neighbours are.

        Returns
        -------
        NeighborhoodRule
            A learned number of them, or as many as the largest of the `sizes`.
        """
        if self.sizes is None:
            return super().rule(in_channels, hidden_channels, k_min, k_max, dispersion)
        return _AllOf(self.sizes[-1])

    def neighborhood(self, rank: int) -> Literal["none", "others", "closed"]:
        """
        Hyperedges are made from the k_v nearest nodes, the node included.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        str
            "closed".
        """
        return "closed"

    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose one hyperedge for each node, or one of each of the `sizes`, and maybe the edges.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.
        nearest : Nearest
            Nearest nodes.

        Returns
        -------
        CandidateCells
            Of each graph its edges, if they are candidates, in lexicographic order, then the
            learned hyperedges: the jth of them is exactly C(j), if it has at least two members;
            with several sizes, all of the first size come first.
        """
        assert nearest is not None
        graph, proposed = skeleton.graph, []
        if self.edges == "candidates":
            edges = own_edges(graph)
            proposed.append(CandidateCells.exact(*edges, graph.batch, like=graph.x))
        if self.sizes is None:
            proposed.append(nearest_sets(nearest, graph.batch, smallest=2))
        column = torch.arange(nearest.taken.size(1), device=graph.batch.device)
        for size in self.sizes or ():
            largest = replace(nearest, taken=nearest.taken & (column < size))
            proposed.append(nearest_sets(largest, graph.batch, size))
        return _by_graph(proposed)

    def own(self, skeleton: Skeleton, rank: int) -> tuple[Tensor, Tensor] | None:
        """
        List the edges of the graph, if they are given.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.

        Returns
        -------
        tuple of torch.Tensor, optional
            Their ends, and 2 for each.
        """
        return super().own(skeleton, rank) if self.edges == "given" else None

    def order(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Tensor | None:
        """
        Keep the hyperedges of a graph together: its edges, then the others.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.
        cells : CandidateCells
            The hyperedges, the graph's own first where these are given.

        Returns
        -------
        torch.Tensor, shape = (n_cells,), int64
            Stable order by graph.
        """
        return stable_order(cells.batch)

    def boundary(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Boundary:
        """
        Members of each hyperedge.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.
        cells : CandidateCells
            The hyperedges.

        Returns
        -------
        Boundary
            One pair (node, hyperedge) for each entry.
        """
        column = ragged.owners(cells.sizes, len(cells.vertices))
        faces = torch.stack([cells.vertices, column])
        return Boundary(faces, torch.ones_like(cells.weight), cells.weight)

    def features(
        self, skeleton: Skeleton, rank: int, faces: Tensor, membership: Tensor, n_cells: int
    ) -> Tensor:
        """
        Mean of the members' features.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.
        faces : torch.Tensor, shape = (2, nnz), int64
            Pairs (node, hyperedge).
        membership : torch.Tensor, shape = (nnz,)
            Weight of each pair.
        n_cells : int
            Number of hyperedges.

        Returns
        -------
        torch.Tensor, shape = (n_cells, channels)
            ``(1 / |C|) sum_{u in C} x_u``, as if every hyperedge were accepted.
        """
        size = membership.new_zeros(n_cells).index_add(0, faces[1], membership)
        total = project(skeleton.features(0), faces, membership, n_cells)
        return total / size.unsqueeze(-1)


class _AllOf(NeighborhoodRule):
    """All of the nearest nodes, and nothing to learn about their number."""

    two_sided: ClassVar[bool] = True

    def __init__(self, k_max: int) -> None:
        super().__init__()
        self.k_max = k_max

    def forward(
        self, z: Tensor, index: Tensor, sample: bool, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return index >= 0, z.new_ones(index.shape)

    def expected_size(self, nearest: Nearest) -> Tensor:
        return nearest.taken.sum(-1).to(nearest.prob.dtype).mean()


def _by_graph(parts: list[CandidateCells]) -> CandidateCells:
    """Put candidates together, those of a graph after each other in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    fields = ("vertices", "sizes", "batch", "weight")
    joined = (torch.cat([getattr(part, name) for part in parts]) for name in fields)
    together = CandidateCells(*joined)
    return together.select(stable_order(together.batch))


def nearest_sets(nearest: Nearest, batch: Tensor, smallest: int) -> CandidateCells:
    """
    Make a set of each node's learned neighbourhood.

    Parameters
    ----------
    nearest : Nearest
        Ranked nearest nodes.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node.
    smallest : int
        Sets with fewer members are no candidates.

    Returns
    -------
    CandidateCells
        Sets by proposing node, members ascending.
    """
    enough = nearest.taken.sum(-1, keepdim=True) >= smallest
    node, column = (nearest.listed & enough).nonzero(as_tuple=True)
    member = nearest.index[node, column]
    order = torch.argsort(node * len(batch) + member)
    node, column, member = node[order], column[order], member[order]
    proposers, sizes = torch.unique_consecutive(node, return_counts=True)
    return CandidateCells(member, sizes, batch[proposers], nearest.membership(node, column))
