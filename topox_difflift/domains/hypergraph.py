"""Hypergraphs: every node proposes the set of its nearest nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.domains.base import Boundary, Domain, Skeleton, project

if TYPE_CHECKING:
    from topox_difflift.proximity import Nearest

__all__ = ["Hypergraph", "nearest_sets"]


class Hypergraph(Domain):
    """
    Hyperedges C(v), the k_v nodes nearest to v, v itself among them.

    The edges of the graph stay as hyperedges of two nodes. Two nodes may propose the same
    set; both columns stay, one for each proposer.

    References
    ----------
    .. [1] Franco et al. Differentiable lifting for topological neural networks. ICLR 2026.
    """

    topology: ClassVar[Literal["hypergraph"]] = "hypergraph"
    highest_rank: ClassVar[int] = 1
    default_rank: ClassVar[int] = 1

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
        Propose one hyperedge for each node.

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
            Column j of the learned hyperedges of a graph is exactly C(j), if it has at
            least two members.
        """
        assert nearest is not None
        return nearest_sets(nearest, skeleton.graph.batch, smallest=2)

    def order(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Tensor | None:
        """
        Keep the hyperedges of a graph together: its edges, then its learned hyperedges.

        Parameters
        ----------
        skeleton : Skeleton
            The graph.
        rank : int
            1.
        cells : CandidateCells
            The edges of all graphs, then the learned hyperedges of all graphs.

        Returns
        -------
        torch.Tensor, shape = (n_cells,), int64
            Stable order by graph.
        """
        return torch.argsort(cells.batch, stable=True)

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
        column = ragged.owners(cells.sizes)
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
