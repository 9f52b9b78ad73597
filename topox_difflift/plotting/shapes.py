"""Outlines of cells."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["levels", "rounded_hull", "shrunk"]

_CIRCLE = np.exp(2j * np.pi * np.arange(24) / 24).view(np.float64).reshape(-1, 2)


def rounded_hull(points: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """
    Convex hull of discs: a disc around one point, a capsule around two or a line.

    Parameters
    ----------
    points : numpy.ndarray, shape = (n, 2)
        Centres of the discs.
    radius : float
        Their radius.

    Returns
    -------
    numpy.ndarray, shape = (m, 2)
        The outline.
    """
    if not len(points):
        return points
    discs = (points[:, None] + radius * _CIRCLE).reshape(-1, 2)
    return discs[ConvexHull(discs).vertices]


def shrunk(points: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """
    Move the corners of a polygon towards its centre.

    Parameters
    ----------
    points : numpy.ndarray, shape = (n, 2)
        The corners in cyclic order.
    distance : float
        How far to move them, half of the way at most.

    Returns
    -------
    numpy.ndarray, shape = (n, 2)
        The outline.
    """
    inwards = points.mean(0) - points
    length = np.linalg.norm(inwards, axis=1, keepdims=True)
    return points + inwards * np.minimum(0.5, distance / np.maximum(length, 1e-12))


def levels(cells: Sequence[tuple[int, ...]], most: int) -> list[int]:
    """
    Give cells numbers so that those with a common vertex differ, as far as numbers go.

    Parameters
    ----------
    cells : sequence of tuple of int
        Vertices of each cell.
    most : int
        How many numbers there are.

    Returns
    -------
    list of int
        A number from 0 on for each cell, the least used one where all are taken.
    """
    used: dict[int, list[int]] = defaultdict(lambda: [0] * most)
    found = [0] * len(cells)
    # Small cells first, so that they lie inside of the large ones.
    for index in sorted(range(len(cells)), key=lambda i: len(cells[i])):
        cell = cells[index]
        counts = [sum(used[node][level] for node in cell) for level in range(most)]
        found[index] = counts.index(min(counts))
        for node in cell:
            used[node][found[index]] += 1
    return found
