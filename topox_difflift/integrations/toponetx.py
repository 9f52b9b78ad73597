"""
TopoNetX complexes from lifted ones, and back.

TopoNetX sorts nodes and edges, and, in a simplicial complex, all simplices. The 2-cells of
a cell complex stay in the order of insertion. The set-based classes sort their cells by
*inclusion*, a partial order, and group equal hyperedges; the two subclasses below keep
the columns in the order of insertion, so that no class permutes ours.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from toponetx import CellComplex, ColoredHyperGraph, CombinatorialComplex, SimplicialComplex
from torch import Tensor

from topox_difflift.cells import Rank
from topox_difflift.laws import faces_of_cells

if TYPE_CHECKING:
    from toponetx.classes.complex import Complex

    from topox_difflift.complex import LiftedComplex

__all__ = [
    "OrderedCombinatorialComplex",
    "OrderedHyperGraph",
    "export_complex",
    "import_complex",
]


class OrderedHyperGraph(ColoredHyperGraph):
    """
    Colored hypergraph whose hyperedges stay in column order, duplicates included.

    The column of a hyperedge is its attribute "column"; hyperedges without one, that
    is those which were added later, come last.
    """

    def skeleton(self, rank: int) -> list[tuple[frozenset[Hashable], int]]:
        """
        List the cells of one rank in column order.

        Parameters
        ----------
        rank : int
            Rank of the cells.

        Returns
        -------
        list of tuple
            Pairs (vertices, key).
        """
        cells = self.incidence_dict.get(rank, {})
        pairs = [(vertices, key) for vertices, copies in cells.items() for key in copies]
        return sorted(pairs, key=lambda pair: cells[pair[0]][pair[1]].get("column", np.inf))


class OrderedCombinatorialComplex(CombinatorialComplex):
    """Combinatorial complex whose cells stay in the order of insertion."""

    def skeleton(self, rank: int, level: str = "equal") -> list[frozenset[Hashable]]:
        """
        List the cells of one rank in the order of insertion.

        Parameters
        ----------
        rank : int
            Rank of the cells.
        level : str
            As in TopoNetX.

        Returns
        -------
        list of frozenset
            The cells.
        """
        if level == "equal":
            return list(self.incidence_dict.get(rank, {}))
        return super().skeleton(rank, level)


# ---------------------------------------------------------------------- export


def export_complex(lifted: LiftedComplex) -> Complex:
    """
    Make the TopoNetX object of an accepted complex.

    Parameters
    ----------
    lifted : LiftedComplex
        A complex without rejected cells.

    Returns
    -------
    toponetx.CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
        The complex, with attributes "x", "mask" and "prob".

    Raises
    ------
    ValueError
        If the TopoNetX class cannot hold the cells: equal ones outside of a
        hypergraph, or a cell of one node in a combinatorial complex.
    """
    if lifted.domain != "hypergraph":
        _require_distinct(lifted)
    return _EXPORT[lifted.domain](lifted)


def _require_distinct(lifted: LiftedComplex) -> None:
    for rank in range(1, lifted.max_rank + 1):
        cells = lifted.cells(rank)
        if len(set(cells)) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            raise ValueError(
                f"Expected distinct cells of rank {rank} in a {lifted.domain} complex, got "
                f"{twice} twice; TopoNetX cannot hold both, so drop one of them."
            )


def _attributes(lifted: LiftedComplex, rank: int) -> Iterable[dict[str, Any]]:
    """Attributes of each cell, in column order."""
    x = lifted[f"x_{rank}"].detach().cpu().numpy()
    mask, prob = (lifted[f"{name}_{rank}"].tolist() for name in ("mask", "prob"))
    for row, m, p in zip(x, mask, prob, strict=True):
        yield {"x": row, "mask": m, "prob": p}


def _cells(lifted: LiftedComplex, rank: int) -> Iterable[tuple[tuple[int, ...], dict[str, Any]]]:
    return zip(lifted.cells(rank), _attributes(lifted, rank), strict=True)


def _to_cell(lifted: LiftedComplex) -> CellComplex:
    out = CellComplex()
    for (node,), attributes in _cells(lifted, 0):
        out.add_node(node, **attributes)
    for rank in range(1, lifted.max_rank + 1):
        for cell, attributes in _cells(lifted, rank):
            out.add_cell(cell, rank=rank, **attributes)
    return out


def _to_simplicial(lifted: LiftedComplex) -> SimplicialComplex:
    out = SimplicialComplex()
    for rank in range(lifted.max_rank + 1):
        for cell, attributes in _cells(lifted, rank):
            out.add_simplex(cell, **attributes)
    return out


def _to_combinatorial(lifted: LiftedComplex) -> CombinatorialComplex:
    out = OrderedCombinatorialComplex()
    for node in range(lifted.num_cells[0]):
        out.add_node(node)
    for rank in range(1, lifted.max_rank + 1):
        for cell, attributes in _cells(lifted, rank):
            out.add_cell(cell, rank=rank, **attributes)
    return _with_node_attributes(out, lifted)


def _to_hypergraph(lifted: LiftedComplex) -> ColoredHyperGraph:
    out = OrderedHyperGraph()
    for node in range(lifted.num_cells[0]):
        out.add_node(node)
    for column, (cell, attributes) in enumerate(_cells(lifted, 1)):
        out.add_cell(cell, rank=1, column=column, **attributes)
    return _with_node_attributes(out, lifted)


def _with_node_attributes(
    out: CombinatorialComplex | ColoredHyperGraph, lifted: LiftedComplex
) -> CombinatorialComplex | ColoredHyperGraph:
    # Adding a cell resets the attributes of its nodes, hence last.
    for (node,), attributes in _cells(lifted, 0):
        out.add_node(node, **attributes)
    return out


_EXPORT: dict[str, Callable[[LiftedComplex], Complex]] = {
    "cell": _to_cell,
    "simplicial": _to_simplicial,
    "combinatorial": _to_combinatorial,
    "hypergraph": _to_hypergraph,
}


# ---------------------------------------------------------------------- import

_Described = tuple[tuple[Hashable, ...], Mapping[Hashable, Any]]


def import_complex(
    complex_: Complex, max_rank: int | None = None
) -> tuple[Tensor, list[Rank], str]:
    """
    Read a TopoNetX complex in the order of its own matrices.

    Parameters
    ----------
    complex_ : CellComplex, SimplicialComplex, CombinatorialComplex or ColoredHyperGraph
        The complex.
    max_rank : int, optional
        Highest rank to read; ranks that the complex lacks are empty.

    Returns
    -------
    x_0 : torch.Tensor, shape = (n_0, channels)
        Features of the nodes.
    ranks : list of Rank
        Ranks 1, 2, ...
    domain : str
        Kind of the complex.

    Raises
    ------
    TypeError
        If the class of the complex is not one of the four.
    ValueError
        If a colored hypergraph has hyperedges of several ranks.
    """
    match = next(((name, read) for cls, name, read in _IMPORT if isinstance(complex_, cls)), None)
    if match is None:
        names = [cls.__name__ for cls, _, _ in _IMPORT]
        raise TypeError(f"Expected 'complex_' to be one of {names}, got {type(complex_).__name__}.")
    domain, read = match
    described = read(complex_)
    if domain == "hypergraph" and len(described) > 2:
        raise ValueError(
            f"Expected hyperedges of rank 1 only, got ranks up to {len(described) - 1}; "
            "import it as a CombinatorialComplex."
        )
    top = len(described) - 1 if max_rank is None else max_rank
    described = (described + [[]] * (max(top, 1) + 1))[: max(top, 1) + 1]
    return *_assemble(described, domain), domain


def _assemble(described: list[list[_Described]], domain: str) -> tuple[Tensor, list[Rank]]:
    number = {label: i for i, ((label,), _) in enumerate(described[0])}
    x_0 = _features(described[0])
    lower: list[tuple[int, ...]] = [(i,) for i in range(len(number))]
    ranks = []
    for r, of_rank in enumerate(described[1:], start=1):
        cells = [tuple(number[label] for label in labels) for labels, _ in of_rank]
        if not (domain == "cell" and r == 2):
            cells = [tuple(sorted(cell)) for cell in cells]
        ranks.append(_make_rank(cells, lower, of_rank, domain, r, _gate_dtype(x_0)))
        lower = cells
    return x_0, ranks


def _make_rank(
    cells: list[tuple[int, ...]],
    lower: list[tuple[int, ...]],
    described: list[_Described],
    domain: str,
    rank: int,
    dtype: torch.dtype,
) -> Rank:
    faces, orientation = faces_of_cells(domain, rank, cells, lower)
    return Rank(
        vertices=torch.tensor([v for cell in cells for v in cell], dtype=torch.long),
        sizes=torch.tensor([len(cell) for cell in cells], dtype=torch.long),
        batch=torch.zeros(len(cells), dtype=torch.long),
        mask=_gate(described, "mask", dtype),
        prob=_gate(described, "prob", dtype),
        faces=faces,
        orientation=orientation.to(dtype),
        membership=torch.ones(faces.size(1), dtype=dtype),
        x=_features(described),
    )


def _gate_dtype(x_0: Tensor) -> torch.dtype:
    return x_0.dtype if x_0.is_floating_point() else torch.get_default_dtype()


def _gate(described: Sequence[_Described], name: str, dtype: torch.dtype) -> Tensor:
    if all(name in attributes for _, attributes in described):
        return torch.tensor([float(a[name]) for _, a in described], dtype=dtype)
    return torch.ones(len(described), dtype=dtype)


def _features(described: Sequence[_Described]) -> Tensor:
    """Rows of the attribute "x", or no channel at all."""
    if described and all("x" in attributes for _, attributes in described):
        return torch.from_numpy(np.stack([np.atleast_1d(a["x"]) for _, a in described]))
    return torch.empty(len(described), 0)


def _read_cell(complex_: CellComplex) -> list[list[_Described]]:
    # The ranks of a cell complex are always three; nodes and edges are sorted.
    nodes = [((node,), complex_.nodes[node]) for node in sorted(complex_.nodes)]
    pairs = sorted(tuple(sorted(edge)) for edge in complex_.edges)
    edges = [(pair, complex_.edges[pair]) for pair in pairs]
    cells = [(cell.elements, cell._attributes) for cell in complex_.cells]
    return [nodes, edges, cells]


def _read_simplicial(complex_: SimplicialComplex) -> list[list[_Described]]:
    return [
        [(tuple(sorted(s.elements)), complex_[s]) for s in complex_.skeleton(rank)]
        for rank in range(complex_.dim + 1)
    ]


def _read_combinatorial(complex_: CombinatorialComplex) -> list[list[_Described]]:
    of_rank = complex_.incidence_dict
    return [
        [(tuple(cell), of_rank[rank][cell]) for cell in complex_.skeleton(rank)]
        for rank in range(max(of_rank, default=0) + 1)
    ]


def _read_hypergraph(complex_: ColoredHyperGraph) -> list[list[_Described]]:
    of_rank = complex_.incidence_dict
    return [
        [(tuple(cell), of_rank[rank][cell][key]) for cell, key in complex_.skeleton(rank)]
        for rank in range(max(of_rank, default=0) + 1)
    ]


# A combinatorial complex is a colored hypergraph to Python, hence its place.
_IMPORT: list[tuple[type, str, Callable[[Any], list[list[_Described]]]]] = [
    (CellComplex, "cell", _read_cell),
    (SimplicialComplex, "simplicial", _read_simplicial),
    (CombinatorialComplex, "combinatorial", _read_combinatorial),
    (ColoredHyperGraph, "hypergraph", _read_hypergraph),
]
