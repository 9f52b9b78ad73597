"""The lifting that knows: the planted cells that a graph carries, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from topox_difflift import ragged
from topox_difflift.candidates import CandidateCells
from topox_difflift.cliques import edge_ids
from topox_difflift.domains import Domain, Skeleton
from topox_difflift.liftings.base import PresetLifting, attach_all, chosen_domain
from topox_difflift.liftings.khop import subsets

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from topox_difflift.graph import Graph

__all__ = ["OracleLifting"]


class OracleLifting(PresetLifting):
    """
    Attach exactly the planted cells that a graph carries, with all of their faces.

    It bounds from above what a lifting can be worth on planted data, such as
    `topox_difflift.datasets.planted_cells`: the graphs have `planted_index`, the nodes of the
    cells, cell after cell, and `planted_size`, their numbers. The edges of the graph stay,
    except in a hypergraph, whose hyperedges are the planted cells alone.

    Parameters
    ----------
    domain : {"cell", "simplicial", "combinatorial", "hypergraph"} or Domain, default="cell"
        Kind of the complex. A planted cell becomes a hyperedge, a 2-cell around which the edges
        go in the order of its nodes, a simplex with all faces up to `max_rank`, or a 2-cell
        of a combinatorial complex with an edge for each pair of its nodes.
    max_rank : int, optional
        Highest rank; by default the domain's own.

    Raises
    ------
    ValueError
        If an argument is unknown or impossible.
    """

    leads_to: ClassVar[None] = None

    def __init__(self, domain: str | Domain = "cell", max_rank: int | None = None) -> None:
        super().__init__()
        self.domain, self.max_rank = chosen_domain(domain, max_rank)

    def skeleton(self, graph: Graph, data: Data) -> Skeleton:
        """
        Attach the planted cells, rank by rank.

        Parameters
        ----------
        graph : Graph
            Checked input.
        data : torch_geometric.data.Data
            The input, with its planted cells.

        Returns
        -------
        Skeleton
            The graph with its ranks.

        Raises
        ------
        ValueError
            If the graph carries no planted cells, or they are none of this domain.
        """
        topology = self.domain.topology
        least = 2 if topology in ("hypergraph", "simplicial") else 3
        vertices, sizes = _planted(data, graph, least)
        if topology == "hypergraph":
            graph = replace(graph, edges=graph.edges[:, :0])
        skeleton = Skeleton(graph)
        for rank in range(1, self.max_rank + 1):
            cells = self._cells(graph, rank, vertices, sizes)
            skeleton = attach_all(self.domain, skeleton, cells)
        return skeleton

    def _cells(
        self, graph: Graph, rank: int, vertices: Tensor, sizes: Tensor
    ) -> CandidateCells | None:
        """Planted cells of a rank, and faces of this rank of those of higher rank."""
        topology = self.domain.topology
        as_they_are = 1 if topology == "hypergraph" else 2
        if rank == as_they_are and topology == "cell":
            found = vertices, sizes
        elif rank == as_they_are and topology != "simplicial":
            found = _ascending(vertices, sizes, len(graph.x)), sizes
        elif rank == 1 and topology == "cell":
            found = _new_edges(_around(vertices, sizes), graph)
        elif rank == 1 or topology == "simplicial":
            rows = subsets(_ascending(vertices, sizes, len(graph.x)), sizes, rank + 1)
            found = _new_edges(rows, graph) if rank == 1 else _ragged(rows)
        else:
            return None
        return CandidateCells.exact(*found, graph.batch, like=graph.x)

    def extra_repr(self) -> str:
        """
        Show what was chosen.

        Returns
        -------
        str
            Domain and highest rank.
        """
        return f"{self.domain!r}, max_rank={self.max_rank}"


def _planted(data: Data, graph: Graph, least: int) -> tuple[Tensor, Tensor]:
    """Check the planted cells, and sort them by graph."""
    names, n = ("planted_index", "planted_size"), len(graph.x)
    if missing := [name for name in names if not isinstance(data.get(name, None), Tensor)]:
        raise ValueError(
            f"Expected 'data' to carry its planted cells as tensors {' and '.join(names)} (got no "
            f"{missing[0]}); take graphs from datasets.planted_cells, or another lifting"
        )
    vertices, sizes = data.planted_index, data.planted_size
    if int(sizes.sum()) != len(vertices):
        raise ValueError(
            f"Expected 'planted_size' to add up to the {len(vertices)} entries of 'planted_index' "
            f"(got {int(sizes.sum())})"
        )
    if len(sizes) and int(sizes.min()) < least:
        raise ValueError(
            f"Expected planted cells of at least {least} nodes (got one of {int(sizes.min())}); "
            "smaller ones are no cells of this domain"
        )
    if len(vertices) and not 0 <= int(vertices.min()) <= int(vertices.max()) < n:
        raise ValueError(
            f"Expected 'planted_index' to name nodes 0 to {n - 1} (got values from "
            f"{int(vertices.min())} to {int(vertices.max())})"
        )
    cell = ragged.owners(sizes)
    batch = graph.batch[vertices]
    first = batch[ragged.starts(sizes)]
    repeats = len(vertices) - len(torch.unique(cell * n + vertices))
    if repeats or bool((batch != first[cell]).any()):
        raise ValueError(
            "Expected planted cells of distinct nodes of one graph (got "
            f"{f'{repeats} repeated nodes' if repeats else 'one that joins graphs'})"
        )
    by_graph = torch.argsort(first, stable=True)
    return vertices[ragged.take(sizes, by_graph)], sizes[by_graph]


def _ascending(vertices: Tensor, sizes: Tensor, num_nodes: int) -> Tensor:
    """Sort the nodes of each cell."""
    return (ragged.owners(sizes) * num_nodes + vertices).sort().values % num_nodes


def _around(vertices: Tensor, sizes: Tensor) -> Tensor:
    """Edges along cycles, as rows (u, v) with u < v."""
    ends = torch.stack([vertices, vertices[ragged.successors(sizes)]], dim=1)
    return ends.sort(dim=1).values


def _new_edges(rows: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
    """Pairs that are no edges of the graph, each once."""
    rows = rows[edge_ids(rows[:, 0], rows[:, 1], graph.edges, len(graph.x)) < 0]
    return _ragged(torch.unique(rows, dim=0))


def _ragged(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.reshape(-1), torch.full_like(rows[:, 0], rows.size(1))
