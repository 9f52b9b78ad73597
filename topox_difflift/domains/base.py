"""What a topological domain knows: which cells to propose, and what their faces are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.cells import Rank, straight_through
from topox_difflift.estimators import Acceptance
from topox_difflift.neighbors import pairs, rank_by_length
from topox_difflift.proximity import NeighborhoodRule, NeighborhoodSize
from topox_difflift.sparse import matmul, sort_pairs, stable_order

if TYPE_CHECKING:
    from topox_difflift.graph import Graph
    from topox_difflift.proximity import Nearest

__all__ = [
    "N_STATISTICS",
    "Boundary",
    "Domain",
    "Skeleton",
    "beside",
    "chosen_pairs",
    "depend_on_faces",
    "learned_pairs",
    "own_edges",
    "project",
]


#: Number of what `Domain.statistics` says of each candidate.
N_STATISTICS = 2


@dataclass(frozen=True)
class Skeleton:
    """
    The complex built so far: the graph's nodes and the ranks that are finished.

    Attributes
    ----------
    graph : Graph
        The input.
    ranks : tuple of Rank
        Ranks 1, 2, ..., rejected cells included where they are kept.
    z : torch.Tensor, shape = (n_nodes, channels), optional
        Embeddings of the nodes, without gradient, where the lifting has some.
    """

    graph: Graph
    ranks: tuple[Rank, ...] = ()
    z: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        """
        Number of nodes.

        Returns
        -------
        int
            Number of rows of `x`.
        """
        return len(self.graph.x)

    def features(self, rank: int) -> Tensor:
        """
        Features of the cells of a rank.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        torch.Tensor, shape = (n_r, channels)
            Features.
        """
        return self.graph.x if rank == 0 else self.ranks[rank - 1].x

    def accepted(self, rank: int) -> Tensor:
        """
        Cells of a rank that were accepted.

        Parameters
        ----------
        rank : int
            The rank, at least 1.

        Returns
        -------
        torch.Tensor, shape = (m,), int64
            Their columns, ascending.
        """
        return self.ranks[rank - 1].mask.detach().nonzero().squeeze(-1)

    def accepted_cells(self, rank: int) -> tuple[Tensor, Tensor, Tensor]:
        """
        Vertices of the accepted cells of a rank.

        Parameters
        ----------
        rank : int
            The rank, at least 1.

        Returns
        -------
        vertices : torch.Tensor, shape = (n_members,), int64
            Vertices, cell after cell.
        sizes : torch.Tensor, shape = (m,), int64
            Number of vertices of each cell.
        columns : torch.Tensor, shape = (m,), int64
            Column of each cell in its rank.
        """
        cells, columns = self.ranks[rank - 1], self.accepted(rank)
        return cells.vertices[ragged.take(cells.sizes, columns)], cells.sizes[columns], columns

    def accepted_edges(self, learned: bool = False) -> Tensor:
        """
        Edges of the 1-skeleton K_1.

        Parameters
        ----------
        learned : bool, default=False
            Leave out those of the graph.

        Returns
        -------
        torch.Tensor, shape = (2, n_edges), int64
            Accepted edges, u < v, in lexicographic order.
        """
        columns, rank = self.accepted(1), self.ranks[0]
        if learned:
            columns = columns[rank.prob.detach().index_select(0, columns) < 1]
        return rank.vertices.view(-1, 2).index_select(0, columns).t().contiguous()

    def arrival(self, edges: Tensor) -> Tensor | None:
        """
        Order of edges by their length in the embedding.

        Parameters
        ----------
        edges : torch.Tensor, shape = (2, n_edges), int64
            The edges, graph after graph.

        Returns
        -------
        torch.Tensor, shape = (n_edges,), int64, optional
            From 1 on, the shortest of each graph first; None where nothing is embedded.
        """
        if self.z is None:
            return None
        return rank_by_length(self.z, self.graph.batch, edges, self.graph.num_graphs)


class Boundary(NamedTuple):
    """
    Faces of the cells of one rank, in any order.

    Attributes
    ----------
    faces : torch.Tensor, shape = (2, nnz), int64
        Pairs (face, cell).
    orientation : torch.Tensor, shape = (nnz,)
        Sign of each pair.
    membership : torch.Tensor, shape = (nnz,)
        Straight-through weight of each pair.
    """

    faces: Tensor
    orientation: Tensor
    membership: Tensor

    def select(self, cells: Tensor, n_cells: int) -> Boundary:
        """
        Take the boundaries of some of the cells.

        Parameters
        ----------
        cells : torch.Tensor, shape = (m,), int64
            Cells to take, in the order wanted, none twice.
        n_cells : int
            Number of cells to choose from.

        Returns
        -------
        Boundary
            Their faces.
        """
        place = cells.new_full((n_cells,), -1)
        place[cells] = torch.arange(len(cells), device=cells.device)
        column = place.index_select(0, self.faces[1])
        kept = (column >= 0).nonzero().squeeze(-1)
        faces = torch.stack([self.faces[0], column]).index_select(1, kept)
        weights = (part.index_select(0, kept) for part in (self.orientation, self.membership))
        return Boundary(faces, *weights)


class Domain(ABC):
    """
    A topological domain. A third party's domain is one subclass.

    Attributes
    ----------
    topology : {"hypergraph", "simplicial", "cell", "combinatorial"}
        The TopoNetX class that holds the result.
    highest_rank, default_rank : int
        Highest rank that the domain can be lifted to, and that it is lifted to by default.
    closure_gradient : bool
        Whether gates of rank 2 or more pass a gradient to those of their faces; False, unless a
        domain says otherwise.
    """

    topology: ClassVar[Literal["hypergraph", "simplicial", "cell", "combinatorial"]]
    highest_rank: ClassVar[int]
    default_rank: ClassVar[int]
    closure_gradient: bool = False

    def neighborhood(self, rank: int) -> Literal["none", "others", "closed"]:
        """
        Which learned neighbourhood the candidates of a rank are made from.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        {"none", "others", "closed"}
            No search, the k_v nearest other nodes, or the k_v nearest with the node itself.
        """
        return "others" if rank == 1 else "none"

    def deep_set(self, rank: int) -> bool:
        """
        Whether Psi of this rank is a DeepSet rather than an MLP on the pooled embedding.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        bool
            True for ranks of at least 2.
        """
        return rank > 1

    def sees_boundary(self, rank: int) -> bool:
        """
        Whether Psi of this rank sees statistics of the boundaries of candidates.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        bool
            True from rank 2 on; faces of rank 0 are nodes, all of them the graph's own.
        """
        return rank > 1

    def statistics(
        self, skeleton: Skeleton, rank: int, cells: CandidateCells, boundary: Boundary
    ) -> Tensor:
        """
        Describe the boundaries of candidates to Psi, where `sees_boundary`.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank, at least 2.
        cells : CandidateCells
            The candidates.
        boundary : Boundary
            Their faces.

        Returns
        -------
        torch.Tensor, shape = (n_cells, N_STATISTICS)
            Share of the faces that are the graph's own, and logarithm of the number of faces.
        """
        face, cell = boundary.faces
        own = (skeleton.ranks[rank - 2].prob.detach() == 1).to(cells.weight.dtype)
        nothing = own.new_zeros(len(cells))
        count = nothing.index_add(0, cell, torch.ones_like(cell, dtype=own.dtype))
        share = nothing.index_add(0, cell, own.index_select(0, face)) / count
        return torch.stack([share, count.log()], dim=1)

    def decides(self, rank: int) -> bool:
        """
        Whether candidates of a rank come with their probability, instead of being scored.

        Parameters
        ----------
        rank : int
            The rank.

        Returns
        -------
        bool
            False: they are left to the acceptance network and the estimator.
        """
        return False

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
            Bounds of the number of neighbours.
        dispersion : bool
            Whether the number depends on how far apart the neighbours are.

        Returns
        -------
        NeighborhoodRule
            A learned number of them.
        """
        return NeighborhoodSize(in_channels, hidden_channels, k_min, k_max, dispersion)

    @abstractmethod
    def propose(self, skeleton: Skeleton, rank: int, nearest: Nearest | None) -> CandidateCells:
        """
        Propose candidate cells of a rank.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank.
        nearest : Nearest, optional
            The neighbourhood that `neighborhood` asks for.

        Returns
        -------
        CandidateCells
            Cells that are not there yet, sorted by graph.
        """

    def own(self, skeleton: Skeleton, rank: int) -> tuple[Tensor, Tensor] | None:
        """
        List the graph's own cells of a rank, which a learned lifting has from the start.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank.

        Returns
        -------
        tuple of torch.Tensor, optional
            Vertices, cell after cell, and the number of those of each: cells that `propose` does
            not propose. Unless a domain says otherwise, the edges of the graph at rank 1, and None
            above.
        """
        return own_edges(skeleton.graph) if rank == 1 else None

    @abstractmethod
    def boundary(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Boundary:
        """
        Faces of cells of a rank.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1; only accepted cells can be faces.
        rank : int
            The rank.
        cells : CandidateCells
            The cells.

        Returns
        -------
        Boundary
            All their faces.
        """

    def features(
        self, skeleton: Skeleton, rank: int, faces: Tensor, membership: Tensor, n_cells: int
    ) -> Tensor:
        """
        Features of the cells of a rank, before their gates: those of their faces, added up.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank.
        faces : torch.Tensor, shape = (2, nnz), int64
            Pairs (face, cell).
        membership : torch.Tensor, shape = (nnz,)
            Weight of each pair.
        n_cells : int
            Number of cells.

        Returns
        -------
        torch.Tensor, shape = (n_cells, channels)
            ``|B_r|^T x_{r-1}``, as if every cell were accepted.
        """
        return project(skeleton.features(rank - 1), faces, membership, n_cells)

    def attach(
        self,
        skeleton: Skeleton,
        rank: int,
        cells: CandidateCells,
        acceptance: Acceptance,
        boundary: Boundary | None = None,
    ) -> Skeleton:
        """
        Add a rank to the complex.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank.
        cells : CandidateCells
            Cells to attach, the graph's own and rejected ones that are kept included.
        acceptance : Acceptance
            What became of each.
        boundary : Boundary, optional
            Their faces, where they are known already.

        Returns
        -------
        Skeleton
            The complex up to `rank`.
        """
        order = self.order(skeleton, rank, cells)
        if order is not None:
            cells, acceptance = cells.select(order), acceptance.select(order)
        mask = _include(acceptance.mask(), cells.inclusion)
        if boundary is None or order is not None:
            boundary = self.boundary(skeleton, rank, cells)
        faces, by_face = sort_pairs(boundary.faces, len(cells))
        membership = boundary.membership.index_select(0, by_face)
        content = self.features(skeleton, rank, faces, membership, len(cells))
        vertices, sizes = cells.members()
        attached = Rank(
            vertices=vertices,
            sizes=sizes,
            batch=cells.batch,
            mask=mask,
            prob=acceptance.prob,
            faces=faces,
            orientation=boundary.orientation.index_select(0, by_face),
            membership=membership,
            x=mask.unsqueeze(-1) * content,
            content=content,
            included=None if cells.inclusion is None else cells.included(),
        )
        return replace(skeleton, ranks=(*skeleton.ranks, attached))

    def order(self, skeleton: Skeleton, rank: int, cells: CandidateCells) -> Tensor | None:
        """
        Order in which cells become columns.

        Parameters
        ----------
        skeleton : Skeleton
            The complex up to rank - 1.
        rank : int
            The rank.
        cells : CandidateCells
            The cells; the graph's own come first.

        Returns
        -------
        torch.Tensor, shape = (n_cells,), int64, optional
            The cells in column order, None to leave them. Edges are sorted
            lexicographically, as TopoNetX does.
        """
        if rank > 1:
            return None
        pairs = cells.vertices.view(-1, 2)
        return stable_order(pairs[:, 0] * skeleton.num_nodes + pairs[:, 1])

    def __repr__(self) -> str:
        """Show the settings."""
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


def project(x: Tensor, faces: Tensor, membership: Tensor, n_cells: int) -> Tensor:
    """
    Add up the features of the faces of each cell.

    Parameters
    ----------
    x : torch.Tensor, shape = (n_faces, channels)
        Features of the faces.
    faces : torch.Tensor, shape = (2, nnz), int64
        Pairs (face, cell).
    membership : torch.Tensor, shape = (nnz,)
        Weight of each pair.
    n_cells : int
        Number of cells.

    Returns
    -------
    torch.Tensor, shape = (n_cells, channels)
        ``|B|^T x``.
    """
    return matmul(faces.flip(0), membership, x, n_cells)


def own_edges(graph: Graph) -> tuple[Tensor, Tensor]:
    """
    List the edges of a graph as cells.

    Parameters
    ----------
    graph : Graph
        The graph.

    Returns
    -------
    vertices : torch.Tensor, shape = (2 * n_edges,), int64
        The ends of each edge, the smaller first.
    sizes : torch.Tensor, shape = (n_edges,), int64
        2 for each.
    """
    return graph.edges.t().reshape(-1), torch.full_like(graph.edges[0], 2)


def beside(
    own: tuple[Tensor, Tensor], batch: Tensor, cells: CandidateCells, acceptance: Acceptance
) -> tuple[CandidateCells, Acceptance]:
    """
    Put the graph's own cells of a rank, which always stay, before the learned ones.

    Parameters
    ----------
    own : tuple of torch.Tensor
        Vertices of the graph's own cells, cell after cell, and the number of those of each.
    batch : torch.Tensor, shape = (n_nodes,), int64
        Graph of each node.
    cells : CandidateCells
        Learned cells.
    acceptance : Acceptance
        What became of them.

    Returns
    -------
    cells : CandidateCells
        The graph's own, then `cells`.
    acceptance : Acceptance
        The graph's own are accepted, with probability 1.
    """
    vertices, sizes = own
    ones = acceptance.prob.new_ones(len(sizes))
    joined = CandidateCells(
        torch.cat([vertices, cells.vertices]),
        torch.cat([sizes, cells.sizes]),
        torch.cat([batch[vertices[ragged.starts(sizes)]], cells.batch]),
        torch.cat([ones.new_ones(len(vertices)), cells.weight]),
        None if cells.inclusion is None else torch.cat([ones, cells.inclusion]),
    )
    decided = Acceptance(
        torch.cat([ones, acceptance.prob]),
        torch.cat([ones.bool(), acceptance.accepted]),
        None if acceptance.surrogate is None else torch.cat([ones, acceptance.surrogate]),
    )
    return joined, decided


def _include(mask: Tensor, inclusion: Tensor | None) -> Tensor:
    """
    Gate of a cell that has to be included and accepted.

    Forward the product. Backward, the acceptance gets the gradient of the gate as it is
    (dL/dp = dL/db, also for a cell left out), the inclusion where the cell is accepted.
    """
    if inclusion is None:
        return mask
    return straight_through(mask * inclusion, mask + mask.detach() * inclusion)


def depend_on_faces(
    skeleton: Skeleton, rank: int, cells: CandidateCells, boundary: Boundary
) -> CandidateCells:
    """
    Let the gates of cells pass a gradient to those of their faces.

    A cell is there if it and all its faces are. The faces of a candidate were all accepted, so
    that the product of their gates is 1, and so is its derivative by each of them.

    Parameters
    ----------
    skeleton : Skeleton
        The complex up to rank - 1.
    rank : int
        The rank, at least 2.
    cells : CandidateCells
        The candidates.
    boundary : Boundary
        Their faces.

    Returns
    -------
    CandidateCells
        The same cells, included as before, with that gradient.
    """
    face, cell = boundary.faces
    gates = skeleton.ranks[rank - 2].mask.index_select(0, face)
    total = gates.new_zeros(len(cells)).index_add(0, cell, gates)
    faces = straight_through(torch.ones_like(total), total)
    inclusion = faces if cells.inclusion is None else cells.inclusion * faces
    return replace(cells, inclusion=inclusion)


def learned_pairs(graph: Graph, nearest: Nearest) -> CandidateCells:
    """
    Pairs of a node and one of its k_v nearest, each once, none an edge already.

    The gradient of the sizes reaches a pair through the probability that at least one
    of its ends takes the other, that of the metric through the closeness of its ends. Where
    the search is two-sided, pairs that neither end takes are listed, but not included.

    Parameters
    ----------
    graph : Graph
        The input.
    nearest : Nearest
        Nearest other nodes.

    Returns
    -------
    CandidateCells
        The pairs, in lexicographic order.
    """
    cells, included, either, close = _pairs(graph, nearest)
    return replace(cells, inclusion=straight_through(included, either + close))


def chosen_pairs(graph: Graph, nearest: Nearest) -> CandidateCells:
    """
    Pair up nodes where the neighbourhoods decide, as `learned_pairs`, with the probability.

    Parameters
    ----------
    graph : Graph
        The input.
    nearest : Nearest
        Nearest other nodes.

    Returns
    -------
    CandidateCells
        The pairs, in lexicographic order.
    """
    cells, _, either, _ = _pairs(graph, nearest)
    return replace(cells, prob=either)


def _pairs(graph: Graph, nearest: Nearest) -> tuple[CandidateCells, Tensor, Tensor, Tensor]:
    """Pairs, whether an end takes the other, the probability that one does, and closeness."""
    u, v, first, second = pairs(nearest.index, nearest.listed, graph.edges)
    prob, taken = nearest.prob.reshape(-1), nearest.taken.reshape(-1)
    one, other = prob.index_select(0, first), prob.index_select(0, second)
    mutual = first != second
    either = one + mutual * (1 - one) * other
    included = (taken[first] | taken[second]).to(prob.dtype)
    vertices = torch.stack([u, v], dim=1).reshape(-1)
    close = nearest.closeness(u, v)
    weight = straight_through(torch.ones_like(close), close).repeat_interleave(2)
    cells = CandidateCells(vertices, torch.full_like(u, 2), graph.batch[u], weight)
    return cells, included, either, close


def edge_boundary(cells: CandidateCells) -> Boundary:
    """
    Boundary of edges: minus the smaller end, plus the larger.

    Parameters
    ----------
    cells : CandidateCells
        Edges (u, v) with u < v.

    Returns
    -------
    Boundary
        Two faces for each edge.
    """
    column = ragged.owners(cells.sizes, len(cells.vertices))
    # Not from a list, for which the host would wait.
    sign = (torch.arange(2, device=column.device) * 2 - 1).to(cells.weight.dtype)
    return Boundary(torch.stack([cells.vertices, column]), sign.repeat(len(cells)), cells.weight)
