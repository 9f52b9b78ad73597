"""Where the nodes of a picture go."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from topox_difflift.plotting.cells import cell_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from topox_difflift.complex import LiftedComplex

__all__ = ["layout", "spacing"]

#: Beyond this size, springs instead of all shortest paths.
_LARGE = 150


def layout(complex_: LiftedComplex) -> NDArray[np.float64]:
    """
    Place the nodes by the edges of the graph, or by the cells where it has none.

    Parameters
    ----------
    complex_ : LiftedComplex
        The complex.

    Returns
    -------
    numpy.ndarray, shape = (n_0, 2)
        Positions, the same in every call; connected components lie beside each other, and
        the typical distance between neighbours is 1.
    """
    graph = nx.Graph()
    graph.add_nodes_from(range(complex_.num_cells[0]))
    graph.add_edges_from(_pairs(complex_))
    place = np.zeros((len(graph), 2))
    parts = sorted(map(sorted, nx.connected_components(graph)), key=lambda p: (-len(p), p))
    blocks = [_place_component(graph.subgraph(part)) for part in parts]
    for part, block in zip(parts, _pack(blocks), strict=True):
        place[part] = block
    return place


def spacing(place: NDArray[np.float64]) -> float:
    """
    Measure how far apart neighbours are.

    Parameters
    ----------
    place : numpy.ndarray, shape = (n, 2)
        Positions.

    Returns
    -------
    float
        Median distance to the nearest other position, 1 where there is none.
    """
    from scipy.spatial import KDTree

    distinct = np.unique(place, axis=0)
    if len(distinct) < 2:
        return 1.0
    return float(np.median(KDTree(distinct).query(distinct, k=2)[0][:, 1]))


def _pairs(complex_: LiftedComplex) -> list[tuple[int, int]]:
    """Pairs of nodes that should be close."""
    of_rank_1 = [group for group in cell_groups(complex_) if group.rank == 1]
    for group in of_rank_1:
        if group.kind == "given" and group.shape == "line":
            return [(u, v) for u, v in group.cells]
    if complex_.domain == "hypergraph" and "edge_index" in complex_:
        carried = complex_.edge_index.t().tolist()
        if carried:
            return [(u, v) for u, v in carried if u != v]
    return [
        pair
        for group in of_rank_1
        if group.kind != "not accepted"
        for cell in group.cells
        for pair in combinations(cell, 2)
    ]


def _place_component(graph: nx.Graph) -> NDArray[np.float64]:
    """Place a connected graph; its rows are in the order of its sorted nodes."""
    nodes = sorted(graph)
    if len(nodes) == 1:
        return np.zeros((1, 2))
    ordered = nx.Graph()
    ordered.add_nodes_from(nodes)
    ordered.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges))
    place = nx.spring_layout(ordered, seed=0)
    if len(nodes) <= _LARGE:
        place = nx.kamada_kawai_layout(ordered, pos=place)
    points = np.array([place[node] for node in nodes], dtype=np.float64)
    return _flat(points) / max(spacing(points), 1e-9)


def _flat(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the longest extent to the horizontal."""
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.T
    # The sign of a singular vector is arbitrary.
    return turned * np.where(
        np.take_along_axis(turned, np.abs(turned).argmax(0)[None], 0)[0] < 0, -1, 1
    )


def _pack(blocks: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Put blocks beside each other, row after row, none wider than the first needs."""
    area = sum(float(np.prod(np.ptp(block, axis=0) + 1)) for block in blocks)
    widest = max((float(np.ptp(block[:, 0])) + 1 for block in blocks), default=1.0)
    limit = max(widest, 1.5 * area**0.5)
    placed, x, y, height = [], 0.0, 0.0, 0.0
    for block in blocks:
        size = np.ptp(block, axis=0) + 1
        if x > 0 and x + size[0] > limit + 1e-9:
            x, y, height = 0.0, y - height, 0.0
        corner = block - np.array([block[:, 0].min(), block[:, 1].max()])
        placed.append(corner + np.array([x + 0.5, y - 0.5]))
        x, height = x + float(size[0]), max(height, float(size[1]))
    return placed
