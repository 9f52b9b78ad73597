"""What holds for the cells of a rank, checked cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from topox_difflift.cells import Rank

__all__ = ["faces_of_cells", "shape_problems"]


def faces_of_cells(
    domain: str, rank: int, cells: Sequence[tuple[int, ...]], lower: Sequence[tuple[int, ...]]
) -> tuple[Tensor, Tensor]:
    """
    Boundary of cells given by their vertices, computed cell by cell.

    Meant for import and for checks; a lifting has its own, vectorised way.

    Parameters
    ----------
    domain : {"hypergraph", "simplicial", "cell", "combinatorial"}
        Kind of the complex.
    rank : int
        Rank of the cells.
    cells, lower : sequence of tuple of int
        The cells of this rank and of the rank below.

    Returns
    -------
    faces : torch.Tensor, shape = (2, nnz), int64
        Pairs (face, cell), sorted by face, then by cell.
    orientation : torch.Tensor, shape = (nnz,), float64
        Sign of each pair.

    Raises
    ------
    ValueError
        If a face of a cell is not among the cells of the rank below.
    """
    position = {face: row for row, face in enumerate(lower)}
    signed_faces = _FACES[domain](rank, lower)
    entries = []
    for column, cell in enumerate(cells):
        for face, sign in signed_faces(cell):
            if face not in position:
                raise ValueError(
                    f"Expected every face of the {rank}-cell {cell} to be present, but "
                    f"{face} is no cell of rank {rank - 1}; add it, or drop the cell."
                )
            entries.append((position[face], column, sign))
    table = torch.tensor(sorted(entries), dtype=torch.long).reshape(-1, 3)
    return table[:, :2].T.contiguous(), table[:, 2].double()


_Faces = Callable[[tuple[int, ...]], Iterable[tuple[tuple[int, ...], int]]]


def _simplex_faces(rank: int, lower: Sequence[tuple[int, ...]]) -> _Faces:
    return lambda cell: [(cell[:i] + cell[i + 1 :], (-1) ** i) for i in range(len(cell))]


def _cycle_faces(rank: int, lower: Sequence[tuple[int, ...]]) -> _Faces:
    if rank == 1:
        return _simplex_faces(rank, lower)
    return lambda cell: [
        ((min(u, v), max(u, v)), 1 if u < v else -1) for u, v in pairwise((*cell, cell[0]))
    ]


def _subset_faces(rank: int, lower: Sequence[tuple[int, ...]]) -> _Faces:
    by_first_vertex = defaultdict(list)
    for face in lower:
        by_first_vertex[face[0]].append(face)

    def faces(cell: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
        inside = set(cell)
        return [(f, 1) for v in cell for f in by_first_vertex[v] if inside.issuperset(f)]

    return faces


_FACES = {
    "hypergraph": _subset_faces,
    "simplicial": _simplex_faces,
    "cell": _cycle_faces,
    "combinatorial": _subset_faces,
}


def shape_problems(rank: Rank, r: int, n_lower: int) -> Iterator[str]:
    """
    Say what is wrong with the tensors of a rank, before its cells are looked at.

    Parameters
    ----------
    rank : Rank
        The rank.
    r : int
        Its number.
    n_lower : int
        Number of cells of the rank below.

    Yields
    ------
    str
        One problem.
    """
    n_cells, nnz = rank.batch.numel(), rank.faces.size(1)
    content = rank.x if rank.content is None else rank.content
    gates_and_features = {"mask": rank.mask, "prob": rank.prob, "x": rank.x, "content": content}
    for name, value in gates_and_features.items():
        if value.size(0) != n_cells:
            yield f"Expected '{name}_{r}' to hold {n_cells} values (got {value.size(0)})."
    for name, value in (("orientation", rank.orientation), ("membership", rank.membership)):
        if value.size(0) != nnz:
            yield f"Expected '{name}_{r}' to hold {nnz} values (got {value.size(0)})."
    if bool((rank.batch.diff() < 0).any()):
        yield f"Expected 'batch_{r}' to be ascending."
    if bool(((rank.mask != 0) & (rank.mask != 1)).any()):
        yield f"Expected 'mask_{r}' to hold zeros and ones only."
    if nnz and (int(rank.faces[0].max()) >= n_lower or int(rank.faces[1].max()) >= n_cells):
        yield f"Expected 'faces_{r}' to index {n_lower} faces and {n_cells} cells."
    key = rank.faces[0] * max(n_cells, 1) + rank.faces[1]
    if bool((key.diff() <= 0).any()):
        yield f"Expected 'faces_{r}' to be sorted by face, then by cell, without duplicates."
