"""Matrices of a complex under the names that TopoBench's pipeline gives them."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from topox_difflift.nn.hasse import Neighborhood, hasse_graph
from topox_difflift.sparse import sort_pairs, sparse_coo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.lift import DiffLift

__all__ = ["checked_neighborhoods", "connectivity", "is_cell_key"]

_KINDS = (
    "incidence", "adjacency", "coadjacency", "up_laplacian", "down_laplacian", "hodge_laplacian",
)  # fmt: skip
_MATRIX = re.compile(rf"({'|'.join(_KINDS)})_(\d+)")
_CELL_KEY = re.compile(
    rf"((x|batch|{'|'.join(_KINDS)})_(\d+|hyperedges))"
    r"|((\d+-)?(up|down|hodge)_(incidence|adjacency|laplacian)-\d+)"
    r"|cell_statistics|num_hyperedges|shape|lifted|lifting_terms"
)


def is_cell_key(key: str) -> bool:
    """
    Whether a key of a batch speaks of its cells, so that another lifting replaces it.

    Parameters
    ----------
    key : str
        The key.

    Returns
    -------
    bool
        True for features, matrices and counts of cells, those of the nodes included.
    """
    return _CELL_KEY.fullmatch(key) is not None


def checked_neighborhoods(names: Sequence[str] | None, lift: DiffLift) -> list[str] | None:
    """
    Check which matrices are asked for.

    Parameters
    ----------
    names : sequence of str, optional
        Names such as "adjacency_1", or TopoTune's such as "up_adjacency-0".
    lift : DiffLift
        The lifting that is to have them.

    Returns
    -------
    list of str, optional
        The names, None for all matrices.

    Raises
    ------
    ValueError
        If a name is unknown, or names a rank that the complex does not have.
    """
    if names is None:
        return None
    if isinstance(names, str):
        raise ValueError(
            f"Expected 'neighborhoods' to be None or a list of names (got {names!r}); for instance "
            "['adjacency_1']"
        )
    if names and lift.domain.topology == "hypergraph":
        raise ValueError(
            "Expected no 'neighborhoods' of a hypergraph, which has incidence_hyperedges alone "
            f"(got {list(names)}); leave it out"
        )
    for name in names:
        match = _MATRIX.fullmatch(name)
        rank = int(match[2]) if match else Neighborhood.parse(name).highest
        if rank > lift.max_rank:
            raise ValueError(
                f"Expected 'neighborhoods' to name ranks up to {lift.max_rank} (got {name!r}); "
                "lift to a higher rank, or leave it out"
            )
    return list(names)


def connectivity(
    lifted: LiftedComplex, neighborhoods: Sequence[str] | None = None, signed: bool = False
) -> dict[str, Tensor]:
    """
    Matrices of a complex, as TopoBench's offline pipeline names, signs and shapes them.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    neighborhoods : sequence of str, optional
        What to build beside the incidences: names such as "adjacency_1", or TopoTune's such as
        "up_adjacency-0", whose receivers are the rows. By default all matrices of all ranks.
    signed : bool, default=False
        Whether boundaries are oriented, where the complex has an orientation.

    Returns
    -------
    dict of str to torch.Tensor, sparse COO, coalesced
        The matrices; of a hypergraph "incidence_hyperedges" alone. TopoTune's have entries for
        accepted cells only, since TopoTune reads patterns and not values.
    """
    if lifted.domain == "hypergraph":
        return {"incidence_hyperedges": lifted.incidence(1)}
    signed = signed and lifted.oriented
    ranks = range(lifted.max_rank + 1)
    names = [f"incidence_{rank}" for rank in ranks]
    if neighborhoods is None:
        names += [f"{kind}_{rank}" for rank, kind in product(ranks, _KINDS[1:])]
    else:
        names += neighborhoods
    return dict(_named(lifted, names, signed))


def _named(lifted: LiftedComplex, names: list[str], signed: bool) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        match = _MATRIX.fullmatch(name)
        if match is None:
            yield name, _routes(lifted, Neighborhood.parse(name))
        elif name == "incidence_0":
            yield name, _graphs_by_nodes(lifted)
        else:
            yield name, getattr(lifted, match[1])(int(match[2]), signed=signed)


def _graphs_by_nodes(lifted: LiftedComplex) -> Tensor:
    """Boundary of the nodes: in a simplicial complex one row for each graph, else none."""
    if lifted.domain != "simplicial":
        return lifted.incidence(0)
    graph = lifted.batch_0
    node = torch.arange(len(graph), device=graph.device)
    ones = torch.ones(len(graph), dtype=lifted.x_0.dtype, device=graph.device)
    return sparse_coo(torch.stack([graph, node]), ones, (lifted.num_graphs, len(graph)))


def _routes(lifted: LiftedComplex, neighborhood: Neighborhood) -> Tensor:
    """Who sends to whom, receivers in the rows, among the accepted cells."""
    size = lifted.num_cells[neighborhood.target], lifted.num_cells[neighborhood.rank]
    if neighborhood.relation == "laplacian":
        matrix = getattr(lifted, f"{neighborhood.direction}_laplacian")
        matrix = matrix(neighborhood.rank, signed=False)
        keep = matrix.values().detach().nonzero().squeeze(1)
        return sparse_coo(matrix.indices()[:, keep], matrix.values()[keep], size)
    graph = hasse_graph(lifted, neighborhood).accepted
    sender, receiver = graph.edge_index
    if neighborhood.target != neighborhood.rank:
        sender = sender - size[0]
    index, order = sort_pairs(torch.stack([receiver, sender]), size[1])
    values = graph.weight.index_select(0, order)
    # Over several hops TopoBench counts no chains.
    return sparse_coo(index, values / values.detach() if neighborhood.hops > 1 else values, size)
