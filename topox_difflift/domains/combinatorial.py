"""Combinatorial complexes: sets of nodes of any size, ordered by inclusion."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.cells import straight_through
from topox_difflift.domains.base import Boundary, Domain, Skeleton, edge_boundary, learned_pairs
from topox_difflift.domains.hypergraph import nearest_sets
from topox_difflift.proximity import Nearest

__all__ = ["Combinatorial"]


class Combinatorial(Domain):
    """
    Pairs (rank 1), sets of near nodes (rank 2), unions of overlapping sets (rank 3).

    A set of rank 2 is a node with its k_v nearest, at least three nodes; a set of rank 3
    is the union of all accepted sets of rank 2 that contain a node, if it is larger than
    each of them. So no cell lies within a cell of lower rank, as the definition of a
    combinatorial complex asks. The paper has no public recipe; this design is ours.

    References
    ----------
    .. [1] Hajij et al. Topological deep learning: going beyond graph data. 2022.
    """

    topology: ClassVar[Literal["combinatorial"]] = "combinatorial"
    highest_rank: ClassVar[int] = 3
    default_rank: ClassVar[int] = 2

    def neighborhood(self, rank: int) -> Literal["none", "others", "closed"]:
        """
        Pairs and sets are made from the k_v nearest other nodes.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        str
            "others" up to rank 2, then "none".
        """
        return "others" if rank <= 2 else "none"

    def sees_boundary(self, rank: int) -> bool:
        """
        Keep boundaries from Psi: sets are not made from cells, and what they contain is dear.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        bool
            False.
        """
        return False

    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose pairs, sets of near nodes, or unions.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1, 2 or 3.
        nearest : Nearest, optional
            Nearest other nodes, at ranks 1 and 2.

        Returns
        -------
        CandidateCells
            Distinct sets, by proposing node.
        """
        if rank == 3:
            return _stars(skeleton)
        assert nearest is not None
        if rank == 1:
            return learned_pairs(skeleton.graph, nearest)
        return _distinct(_closed_sets(nearest, skeleton.graph.batch))

    def boundary(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Boundary:
        """
        All accepted cells one rank below that a cell contains.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            1, 2 or 3.
        cells : CandidateCells
            The sets.

        Returns
        -------
        Boundary
            Without orientation (all signs +1).
        """
        if rank == 1:
            ends = edge_boundary(cells)
            return ends._replace(orientation=torch.ones_like(ends.orientation))
        below, sizes, columns = skeleton.accepted_cells(rank - 1)
        return _contained(below, sizes, columns, cells, skeleton.num_nodes)


def _closed_sets(nearest: Nearest, batch: Tensor) -> CandidateCells:
    """Each node with its k_v nearest others, the node with weight 1."""
    n = len(batch)
    node = torch.arange(n, device=batch.device).unsqueeze(-1)
    closed = Nearest(
        index=torch.cat([node, nearest.index], dim=1),
        taken=torch.cat([torch.ones_like(node, dtype=torch.bool), nearest.taken], dim=1),
        prob=torch.cat([nearest.prob.new_ones(n, 1), nearest.prob], dim=1),
        z=nearest.z,
        kernel=nearest.kernel,
        two_sided=nearest.two_sided,
    )
    return nearest_sets(closed, batch, smallest=3)


def _distinct(cells: CandidateCells) -> CandidateCells:
    """Keep the first of equal sets; members are ascending, so equal sets are equal rows."""
    if len(cells) == 0:
        return cells
    members, sizes = cells.members()
    owner = ragged.owners(sizes, len(members))
    position = torch.arange(len(members), device=members.device) - ragged.starts(sizes)[owner]
    padded = members.new_full((len(cells), int(sizes.max())), -1)
    padded[owner, position] = members
    _, group = torch.unique(padded, dim=0, return_inverse=True)
    index = torch.arange(len(cells), device=group.device)
    first = torch.full_like(index, len(cells)).scatter_reduce(0, group, index, "amin")
    return cells.select((first[group] == index).nonzero().squeeze(-1))


def _join(left: Tensor, right: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Positions (i, j) of all equal values ``left[i] == right[j]``, values below n."""
    by_value = torch.argsort(right, stable=True)
    count = ragged.counts(right, n)
    matches = count[left]
    i = ragged.owners(matches)
    j = by_value[ragged.take(count, left)]
    return i, j


def _contained(
    below: Tensor, sizes: Tensor, columns: Tensor, cells: CandidateCells, num_nodes: int
) -> Boundary:
    """Pairs (lower cell, cell) where every vertex of the lower cell is in the cell."""
    owner = ragged.owners(cells.sizes, len(cells.vertices))
    lower = ragged.owners(sizes, len(below))
    i, j = _join(cells.vertices, below, num_nodes)
    key, order = torch.sort(owner[i] * max(len(sizes), 1) + lower[j], stable=True)
    pair, shared = torch.unique_consecutive(key, return_counts=True)
    cell, low = pair // max(len(sizes), 1), pair % max(len(sizes), 1)
    inside = shared == sizes[low]
    weight = cells.weight[i][order][inside.repeat_interleave(shared)]
    membership = _product(weight, shared[inside])
    faces = torch.stack([columns[low[inside]], cell[inside]])
    return Boundary(faces, torch.ones_like(membership), membership)


def _product(weight: Tensor, sizes: Tensor) -> Tensor:
    """Product of the weights, exactly 0 or 1, of each group: how firmly a face belongs."""
    owner = ragged.owners(sizes, len(weight))
    zero = (weight.detach() == 0).to(weight.dtype)
    zeros = weight.new_zeros(len(sizes)).index_add(0, owner, zero)
    # The derivative to one factor is the product of the others.
    others = (zeros[owner] - zero == 0).to(weight.dtype)
    soft = weight.new_zeros(len(sizes)).index_add(0, owner, others * weight)
    return straight_through((zeros == 0).to(weight.dtype), soft)


def _stars(skeleton: Skeleton) -> CandidateCells:
    """Union of the accepted 2-cells around each node, where it is larger than each of them."""
    vertices, sizes, _ = skeleton.accepted_cells(2)
    n = skeleton.num_nodes
    owner = ragged.owners(sizes, len(vertices))
    # Node v, cell i containing v, then every member of that cell.
    position = ragged.take(sizes, owner)
    centre = vertices.repeat_interleave(sizes[owner])
    key = torch.unique(centre * n + vertices[position])
    centre, member = key // n, key % n
    nodes, star_size = torch.unique_consecutive(centre, return_counts=True)
    largest = sizes.new_zeros(n).scatter_reduce(0, vertices, sizes[owner], "amax")
    stars = CandidateCells.exact(member, star_size, skeleton.graph.batch, like=skeleton.graph.x)
    return _distinct(stars.select((star_size > largest[nodes]).nonzero().squeeze(-1)))
