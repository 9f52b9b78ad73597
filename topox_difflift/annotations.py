"""What a graph or a complex says about its nodes and cells beside numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

__all__ = ["Annotations"]

Attributes = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Annotations:
    """
    Labels of nodes, and attributes that are no tensors.

    A networkx graph or a TopoNetX complex leaves them on the PyG data object that is made of
    it, as its attribute "annotations"; liftings carry them along like everything else of the
    input, and `LiftedComplex.to_toponetx` gives them back. PyG takes them for one opaque value.

    Attributes
    ----------
    labels : tuple of hashable
        Label of node 0, 1, ...
    cells : tuple of mapping
        Per rank, the attributes of each cell that has some, by its vertices as in
        `LiftedComplex.cells`: a list, since a hypergraph may hold equal hyperedges.
    graph : dict
        Attributes of the whole.
    """

    labels: tuple[Hashable, ...]
    cells: tuple[Mapping[tuple[int, ...], list[Attributes]], ...]
    graph: Attributes

    def of_rank(self, rank: int, cells: Sequence[tuple[int, ...]]) -> list[Attributes]:
        """
        Look up the attributes of cells.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        cells : sequence of tuple of int
            Their vertices; equal cells in the order in which they were annotated.

        Returns
        -------
        list of dict
            Attributes of each cell, empty where it has none.
        """
        known = self.cells[rank] if rank < len(self.cells) else {}
        seen: dict[tuple[int, ...], int] = defaultdict(int)
        out = []
        for cell in cells:
            copies = known.get(cell, [])
            out.append(copies[seen[cell]] if seen[cell] < len(copies) else {})
            seen[cell] += 1
        return out

    def __repr__(self) -> str:
        return f"Annotations({len(self.labels)} labels)"


# As for the complex that carries it: datasets can be read without running pickles.
torch.serialization.add_safe_globals([Annotations])
