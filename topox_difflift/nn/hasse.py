"""Neighborhoods of a complex by name, and the graphs that they make of its cells."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.neighborhoods import (
    Boundary,
    GatedEntries,
    IncidencePattern,
    down_entries,
    up_entries,
    without_diagonal,
)
from topox_difflift.ragged import counts, take
from topox_difflift.sparse import stable_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topox_difflift.complex import LiftedComplex

__all__ = [
    "HasseGraph",
    "Neighborhood",
    "check_rank",
    "default_neighborhoods",
    "hasse_graph",
    "parse_neighborhoods",
]

_NAME = re.compile(r"(?:([1-9]\d*)-)?(up|down|hodge)_(adjacency|incidence|laplacian)-(\d+)")


def default_neighborhoods(max_rank: int) -> tuple[str, ...]:
    """
    Neighborhoods that connect every rank with itself and with the next one, both ways.

    Parameters
    ----------
    max_rank : int
        Highest rank.

    Returns
    -------
    tuple of str
        Up adjacency, up incidence and down incidence between neighboring ranks.
    """
    return tuple(
        name
        for r in range(max_rank)
        for name in (f"up_adjacency-{r}", f"up_incidence-{r}", f"down_incidence-{r + 1}")
    )


@dataclass(frozen=True)
class Neighborhood:
    """
    Which cells send to which.

    Attributes
    ----------
    direction : {"up", "down", "hodge"}
        Whether cells are related through higher or through lower ones, or both.
    relation : {"adjacency", "incidence", "laplacian"}
        Whether cells of one rank are related, or those of two.
    rank : int
        Rank of the cells that send.
    hops : int
        Difference to the rank that they are related to, or through.
    """

    direction: str
    relation: str
    rank: int
    hops: int = 1

    @classmethod
    def parse(cls, name: str) -> Neighborhood:
        """
        Read a name such as "up_adjacency-0", "down_incidence-2" or "2-up_adjacency-0".

        Parameters
        ----------
        name : str
            Hops (if more than one), direction, relation and rank, as TopoBench writes them.

        Returns
        -------
        Neighborhood
            The neighborhood.

        Raises
        ------
        ValueError
            If there is no such neighborhood.
        """
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or (match[2] == "hodge" and match[3] != "laplacian"):
            raise ValueError(
                "Expected a neighborhood to be named up_ or down_ and adjacency-r, incidence-r or "
                "laplacian-r, or hodge_laplacian-r, with a rank r, after 'h-' for h hops "
                f"(got {name!r}); for instance 'up_adjacency-0' or '2-down_incidence-2'"
            )
        found = cls(match[2], match[3], int(match[4]), int(match[1] or 1))
        if found.relation == "laplacian" and found.hops > 1:
            raise ValueError(
                f"Expected a Laplacian of one hop (got {name!r}); its edges are those of "
                f"'{found.hops}-{found.direction}_adjacency-{found.rank}'"
            )
        if found.direction == "down" and found.rank < found.hops:
            raise ValueError(
                f"Expected the neighborhood {name!r} to have a rank of at least {found.hops} "
                f"(got {found.rank}); there is no rank {found.rank - found.hops}"
            )
        return found

    @property
    def target(self) -> int:
        """Rank of the cells that receive."""
        if self.relation != "incidence":
            return self.rank
        return self.rank + (self.hops if self.direction == "up" else -self.hops)

    @property
    def highest(self) -> int:
        """Highest rank that takes part."""
        return self.rank + self.hops if self.direction == "up" else self.rank

    def __str__(self) -> str:
        hops = f"{self.hops}-" if self.hops > 1 else ""
        return f"{hops}{self.direction}_{self.relation}-{self.rank}"


def parse_neighborhoods(names: Sequence[str]) -> tuple[Neighborhood, ...]:
    """
    Read several names.

    Parameters
    ----------
    names : sequence of str
        The names.

    Returns
    -------
    tuple of Neighborhood
        The neighborhoods.

    Raises
    ------
    ValueError
        If there is none, if one is unknown, or if one is there twice.
    """
    if isinstance(names, str) or not names:
        raise ValueError(
            f"Expected 'neighborhoods' to be a sequence of at least one name (got {names!r}); "
            "for instance default_neighborhoods(2)"
        )
    found = tuple(Neighborhood.parse(name) for name in names)
    twice = [str(n) for n, count in Counter(found).items() if count > 1]
    if twice:
        raise ValueError(f"Expected 'neighborhoods' to be distinct (got {twice[0]!r} twice)")
    return found


@dataclass(frozen=True)
class HasseGraph:
    """
    Graph of the cells that a neighborhood relates.

    Its vertices are the cells of the rank that receives and, if that is another one, behind
    them those of the rank that sends.

    Attributes
    ----------
    edge_index : torch.Tensor, shape = (2, n_edges), int64
        Sender and receiver of each edge.
    weight : torch.Tensor, shape = (n_edges,)
        Value of each edge, with gradient; 0 where it is not in the accepted complex.
    """

    edge_index: Tensor
    weight: Tensor

    @cached_property
    def accepted(self) -> HasseGraph:
        """The graph without the edges of value 0."""
        keep = self.weight.detach().nonzero().squeeze(1)
        return HasseGraph(self.edge_index.index_select(1, keep), self.weight.index_select(0, keep))


def hasse_graph(lifted: LiftedComplex, neighborhood: Neighborhood) -> HasseGraph:
    """
    Graph that a neighborhood makes of the cells.

    An edge weighs what the matrix of that name holds, with two exceptions. No cell is its own
    neighbor, so that the diagonal of a Laplacian is left out. And a cell that receives from
    its faces is not gated: its gate is applied where it is read; twice, it would have no
    gradient at 0. The cell, being rejected, is read nowhere.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    neighborhood : Neighborhood
        The neighborhood.

    Returns
    -------
    HasseGraph
        The graph.

    Notes
    -----
    Over several hops a cell is related to those that a chain of faces leads to, with value 1
    whatever the number of chains, and adjacency counts the cells that two are related to.
    """
    if neighborhood.relation == "incidence":
        return _incidence_graph(lifted, neighborhood)
    if neighborhood.hops > 1:
        entries = _distant_entries(lifted, neighborhood)
    else:
        entries = _neighbor_entries(lifted, neighborhood)
    # The matrices are symmetric: either index may send.
    return HasseGraph(entries.index, entries.values)


def _incidence_graph(lifted: LiftedComplex, neighborhood: Neighborhood) -> HasseGraph:
    n_target = lifted.num_cells[neighborhood.target]
    boundary = _boundary(lifted, neighborhood)
    face, cell = boundary.pattern.faces
    if neighborhood.direction == "up":
        return HasseGraph(torch.stack([face + n_target, cell]), boundary.membership)
    weight = boundary.mask.index_select(0, cell) * boundary.membership
    return HasseGraph(torch.stack([cell + n_target, face]), weight)


def _neighbor_entries(lifted: LiftedComplex, neighborhood: Neighborhood) -> GatedEntries:
    direction, relation = neighborhood.direction, neighborhood.relation
    if relation == "laplacian":
        derive = getattr(lifted, f"{direction}_laplacian")
    else:
        derive = lifted.adjacency if direction == "up" else lifted.coadjacency
    matrix = derive(neighborhood.rank, signed=False)
    return without_diagonal(GatedEntries(matrix.indices(), matrix.values(), matrix.size(0)))


def _distant_entries(lifted: LiftedComplex, neighborhood: Neighborhood) -> GatedEntries:
    boundary = _boundary(lifted, neighborhood)
    entries = up_entries if neighborhood.direction == "up" else down_entries
    return without_diagonal(entries(boundary, signed=False))


def _boundary(lifted: LiftedComplex, neighborhood: Neighborhood) -> Boundary:
    """Which lower cells lie in which higher ones, along chains of faces."""
    high = neighborhood.highest
    low = high - neighborhood.hops
    pairs, weight = lifted[f"faces_{high}"], lifted[f"membership_{high}"]
    for rank in range(high - 1, low, -1):
        pairs, weight = _descend(lifted, rank, pairs, weight, lifted.num_cells[high])
    size = lifted.num_cells[low], lifted.num_cells[high]
    pattern = IncidencePattern(pairs, size)
    return Boundary(pattern, torch.ones_like(weight), weight, lifted[f"mask_{high}"])


def _descend(
    lifted: LiftedComplex, rank: int, pairs: Tensor, weight: Tensor, n_cells: int
) -> tuple[Tensor, Tensor]:
    """Replace the cells of one rank in pairs (lower, higher) by their faces."""
    face, middle = lifted[f"faces_{rank}"]
    sizes = counts(middle, lifted.num_cells[rank])
    step = stable_order(middle).index_select(0, take(sizes, pairs[0]))
    n_steps = sizes.index_select(0, pairs[0])
    cell, arrived = (v.repeat_interleave(n_steps) for v in (pairs[1], weight))
    chains = arrived * lifted[f"membership_{rank}"].index_select(0, step)
    key = face.index_select(0, step) * max(n_cells, 1) + cell
    key, slot = torch.unique(key, return_inverse=True)
    total = chains.new_zeros(len(key)).index_add(0, slot, chains)
    count = torch.zeros_like(total).index_add(0, slot, (chains.detach() != 0).to(total.dtype))
    lower = torch.div(key, max(n_cells, 1), rounding_mode="floor")
    found = torch.stack([lower, key - lower * max(n_cells, 1)])
    return found, total / (count + (count == 0))


def check_rank(lifted: LiftedComplex, rank: int, network: str) -> None:
    """
    Check that a complex was lifted to the rank that a network reads.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    rank : int
        The rank.
    network : str
        Name of the network.

    Raises
    ------
    ValueError
        If it was not.
    """
    if lifted.max_rank < rank:
        remedy = f"lift with DiffLift(max_rank={rank})"
        if lifted.domain == "hypergraph":
            remedy = "hyperedges have rank 1; lift to another domain"
        raise ValueError(
            f"Expected 'lifted' to have rank {rank}, which this {network} reads (got max_rank "
            f"{lifted.max_rank}); {remedy}, or leave the rank out of the {network}"
        )
