"""What there is to draw: the cells of a complex by rank, by what became of them, and by shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from topox_difflift.complex import LiftedComplex

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from toponetx.classes.complex import Complex

__all__ = ["KINDS", "CellGroup", "as_lifted", "cell_groups", "changes"]

#: Cells that nobody decided on, because the input or a fixed rule gave them; cells that a
#: lifting accepted; and those that it kept all the same, because it rejected them or because
#: a learned size left them out.
KINDS = ("given", "accepted", "not accepted")


@dataclass(frozen=True)
class CellGroup:
    """
    Cells that are drawn alike.

    Attributes
    ----------
    rank : int
        Their rank.
    kind : {"given", "accepted", "not accepted"}
        What became of them.
    shape : {"line", "polygon", "hull"}
        How they are drawn.
    cells : list of tuple of int
        Their vertices; the more probable a cell, the later.
    prob : numpy.ndarray, shape = (n_cells,)
        Their acceptance probabilities.
    """

    rank: int
    kind: str
    shape: str
    cells: list[tuple[int, ...]]
    prob: NDArray[np.float64]


def as_lifted(complex_: LiftedComplex | Complex) -> LiftedComplex:
    """
    Import what is a complex of TopoNetX.

    Parameters
    ----------
    complex_ : LiftedComplex or toponetx complex
        A complex.

    Returns
    -------
    LiftedComplex
        The complex.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(complex_, LiftedComplex):
        return complex_
    return LiftedComplex.from_toponetx(complex_)


def cell_groups(lifted: LiftedComplex) -> list[CellGroup]:
    """
    Group the cells of all ranks from 1 on.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.

    Returns
    -------
    list of CellGroup
        By rank and kind, none of them empty.
    """
    groups = []
    for rank in range(1, lifted.max_rank + 1):
        cells = lifted.cells(rank)
        names = ("mask", "prob", "included")
        mask, prob, included = (_numbers(lifted, f"{name}_{rank}") for name in names)
        kinds = np.where(mask == 0, "not accepted", np.where(prob < 1, "accepted", "given"))
        pairs = np.array([len(cell) == 2 for cell in cells], dtype=bool)
        if lifted.domain == "hypergraph":
            # The edges of its graph; among larger sets that a rule gave, pairs are sets as well.
            given = kinds == "given"
            pairs = given & pairs[given].all()
        large = "polygon" if rank == 2 and lifted.oriented else "hull"
        shapes = np.where(pairs & (rank == 1), "line", large)
        for kind in KINDS:
            for shape in ("line", large):
                index = np.flatnonzero((kinds == kind) & (shapes == shape) & (included == 1))
                index = index[np.argsort(prob[index], kind="stable")]
                if len(index):
                    chosen = [cells[i] for i in index]
                    groups.append(CellGroup(rank, kind, shape, chosen, prob[index]))
    return groups


def _numbers(lifted: LiftedComplex, name: str) -> NDArray[np.float64]:
    return lifted[name].detach().double().cpu().numpy()


def changes(before: LiftedComplex, after: LiftedComplex) -> dict[int, tuple[int, int]]:
    """
    Count the cells that came and went.

    Parameters
    ----------
    before, after : LiftedComplex
        Complexes on the same nodes.

    Returns
    -------
    dict
        For each rank, how many cells only `after` has, and how many only `before`.
    """
    old, new = _identities(before), _identities(after)
    ranks = range(1, max(before.max_rank, after.max_rank) + 1)
    came, went = (
        Counter(rank for rank, _ in difference.elements()) for difference in (new - old, old - new)
    )
    return {rank: (came[rank], went[rank]) for rank in ranks}


def _identities(lifted: LiftedComplex) -> Counter[tuple[int, frozenset[Any]]]:
    """Count equal cells, whatever their columns, and polygons wherever they start."""
    return Counter(
        (group.rank, _sides(cell) if group.shape == "polygon" else frozenset(cell))
        for group in cell_groups(lifted)
        if group.kind != "not accepted"
        for cell in group.cells
    )


def _sides(cycle: tuple[int, ...]) -> frozenset[frozenset[int]]:
    return frozenset(map(frozenset, zip(cycle, cycle[1:] + cycle[:1], strict=True)))
