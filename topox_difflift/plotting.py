"""Pictures of lifted graphs; needs the extra "plot"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from scipy.spatial import ConvexHull, QhullError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from topox_difflift.complex import LiftedComplex

__all__ = ["draw", "layout", "new_figure"]

_COLORS = "viridis"


def _require_matplotlib() -> None:
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which comes with the extra 'plot': "
            "pip install 'topox-difflift[plot]'"
        ) from error


def new_figure() -> tuple[Figure, Axes]:
    """
    Make a figure that needs no display and is not kept by pyplot.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure.
    axes : matplotlib.axes.Axes
        Its axes.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    _require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def layout(complex_: LiftedComplex) -> NDArray[np.float64]:
    """
    Place the nodes, by the original edges where there are any.

    Parameters
    ----------
    complex_ : LiftedComplex
        The complex.

    Returns
    -------
    numpy.ndarray, shape = (n_0, 2)
        Positions, the same in every call.
    """
    graph = nx.Graph()
    graph.add_nodes_from(range(complex_.num_cells[0]))
    cells, learned = _of_rank(complex_, 1)
    original = [cell for cell, p in zip(cells, learned, strict=True) if np.isnan(p)]
    # Where the lifting found all there is, its own cells have to do.
    shown = [cell for cell in original if len(cell) == 2] or cells
    graph.add_edges_from((u, v) for cell in shown for u in cell for v in cell if u < v)
    start = nx.spring_layout(graph, seed=0)
    place = nx.spring_layout(graph, pos=start, seed=0, iterations=200) if len(graph) > 1 else start
    if nx.is_connected(graph):
        place = nx.kamada_kawai_layout(graph, pos=start)
    return np.array([place[node] for node in range(len(graph))], dtype=np.float64)


def draw(complex_: LiftedComplex, ax: Axes | None = None) -> Axes:
    """
    Draw the accepted complex of one graph, learned cells coloured by their probability.

    Original edges are grey lines. Learned edges are dashed, 2-cells are filled, and
    hyperedges and cells of a combinatorial complex are the hulls of their nodes; cells of
    the input have no colour.

    Parameters
    ----------
    complex_ : LiftedComplex
        The complex of one graph.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the complex is of several graphs.
    """
    _require_matplotlib()
    if complex_.num_graphs > 1:
        raise ValueError(
            f"Expected 'complex_' to be of one graph (got {complex_.num_graphs}); draw one of "
            "complex_.unbatch()"
        )
    axes = new_figure()[1] if ax is None else ax
    accepted = complex_.accepted()
    place = layout(accepted)
    drawn = [_draw_rank(axes, accepted, rank, place) for rank in range(1, accepted.max_rank + 1)]
    axes.scatter(place[:, 0], place[:, 1], s=60, color="white", edgecolor="black", zorder=4)
    for node, (x, y) in enumerate(place):
        axes.annotate(str(node), (x, y), ha="center", va="center", fontsize=6, zorder=5)
    axes.set_title(", ".join(f"rank {r}: {n} learned" for r, n in enumerate(drawn, start=1)))
    axes.set_aspect("equal")
    axes.set_axis_off()
    if any(drawn):
        _add_scale(axes)
    return axes


def _of_rank(complex_: LiftedComplex, rank: int) -> tuple[list[tuple[int, ...]], list[float]]:
    """Return the cells of a rank and their probabilities, nan for those of the input."""
    prob = complex_[f"prob_{rank}"].tolist()
    return complex_.cells(rank), [p if p < 1 else float("nan") for p in prob]


def _draw_rank(axes: Axes, complex_: LiftedComplex, rank: int, place: NDArray[np.float64]) -> int:
    """Draw the cells of a rank and return how many of them are learned."""
    cells, probabilities = _of_rank(complex_, rank)
    for cell, prob in zip(cells, probabilities, strict=True):
        points = place[list(cell)]
        if len(cell) == 2:
            _draw_line(axes, points, prob)
        elif len(cell) > 2:
            cyclic = complex_.domain == "cell" and rank == 2
            _draw_area(axes, points if cyclic else _hull(points), prob)
    return int(np.isfinite(probabilities).sum())


def _draw_line(axes: Axes, points: NDArray[np.float64], prob: float) -> None:
    if np.isnan(prob):
        axes.plot(*points.T, color="0.45", linewidth=1.5, zorder=2)
    else:
        axes.plot(*points.T, color=_color(prob), linewidth=2, linestyle="--", zorder=3)


def _draw_area(axes: Axes, points: NDArray[np.float64], prob: float) -> None:
    # Towards its centre, so that neighbours can be told apart.
    inside = points.mean(0) + 0.88 * (points - points.mean(0))
    face = "0.85" if np.isnan(prob) else _color(prob)
    edge = "0.6" if np.isnan(prob) else face
    axes.fill(*inside.T, facecolor=face, edgecolor=edge, alpha=0.35, linewidth=1, zorder=1)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points  # on a line


def _color(prob: float) -> Any:
    import matplotlib as mpl

    return mpl.colormaps[_COLORS](prob)


def _add_scale(axes: Axes) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(0, 1), _COLORS)
    axes.figure.colorbar(scale, ax=axes, label="acceptance probability", shrink=0.7)
