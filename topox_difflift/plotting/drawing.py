"""Put cells on axes, and explain them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from topox_difflift.plotting.figures import probability_colors
from topox_difflift.plotting.shapes import levels, rounded_hull, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from topox_difflift.plotting.cells import CellGroup

__all__ = ["draw_cells", "frame", "legend_handles"]

_GREY = "0.45"
#: Only accepted edges are dashed and only others than accepted cells dotted and faint.
_DASHES: dict[str, Any] = {"given": "solid", "accepted": (0, (3, 1.5)), "not accepted": (0, (1, 2))}
_FAINT = 0.5
#: How far apart, in units of the spacing, the outlines of cells with a common vertex lie.
_LEVELS, _STEP = 5, 0.05


def frame(axes: Axes, place: NDArray[np.float64], unit: float) -> None:
    """
    Make room for a complex.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    place : numpy.ndarray, shape = (n_0, 2)
        Positions of the nodes.
    unit : float
        Typical distance between them.
    """
    axes.set_aspect("equal")
    axes.set_axis_off()
    low, high = (place.min(0), place.max(0)) if len(place) else (np.zeros(2), np.zeros(2))
    margin = 0.6 * unit
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)


def draw_cells(
    axes: Axes, groups: Sequence[CellGroup], place: NDArray[np.float64], unit: float
) -> None:
    """
    Draw cells, each group as one collection.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    groups : sequence of CellGroup
        The cells.
    place : numpy.ndarray, shape = (n_0, 2)
        Positions of the nodes.
    unit : float
        Typical distance between them.
    """
    areas = [group for group in groups if group.shape != "line"]
    numbers = iter(levels([cell for group in areas for cell in group.cells], _LEVELS))
    opacity = _opacity(areas)
    width = _line_width(sum(len(group.cells) for group in groups))
    for group in groups:
        points = [place[list(cell)] for cell in group.cells]
        if group.shape == "line":
            _add_lines(axes, group, points, width)
            continue
        steps = [_STEP * unit * next(numbers) for _ in group.cells]
        shape, distance = (
            (shrunk, 0.16 * unit) if group.shape == "polygon" else (rounded_hull, 0.24 * unit)
        )
        outlines = [shape(p, distance + step) for p, step in zip(points, steps, strict=True)]
        _add_areas(axes, group, outlines, opacity, width)


def _opacity(areas: Sequence[CellGroup]) -> float:
    """Make the cells on top of each other, together, about as opaque as one may be."""
    depth = Counter(node for group in areas for cell in group.cells for node in cell)
    return float(np.clip(1 - 0.35 ** (1 / max(depth.values(), default=1)), 0.04, 0.3))


def _line_width(n_cells: int) -> float:
    return float(np.clip(2 * (40 / max(n_cells, 1)) ** 0.5, 0.7, 2))


def _colors(group: CellGroup) -> NDArray[np.float64]:
    from matplotlib.colors import to_rgba_array

    if group.kind == "given":
        return np.repeat(to_rgba_array(_GREY), len(group.cells), axis=0)
    colors = probability_colors(group.prob)
    if group.kind == "not accepted":
        colors[:, 3] = _FAINT
    return colors


def _add_lines(
    axes: Axes, group: CellGroup, points: list[NDArray[np.float64]], width: float
) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        points,
        colors=_colors(group),
        linestyles=[_DASHES[group.kind]],
        linewidths=min(width, 1.5) if group.kind == "given" else width,
        zorder=2 if group.kind == "given" else 3,
        label=f"rank {group.rank}, {group.kind}",
    )
    axes.add_collection(lines)


def _add_areas(
    axes: Axes,
    group: CellGroup,
    outlines: list[NDArray[np.float64]],
    opacity: float,
    width: float,
) -> None:
    from matplotlib.collections import PolyCollection

    edge = _colors(group)
    face = edge.copy()
    face[:, 3] = 0 if group.kind == "not accepted" else opacity
    areas = PolyCollection(
        outlines,
        facecolors=face,
        edgecolors=edge,
        linestyles=[_DASHES["not accepted"] if group.kind == "not accepted" else "solid"],
        linewidths=0.7 * width,
        zorder=1,
        label=f"rank {group.rank}, {group.kind}",
    )
    axes.add_collection(areas)


def legend_handles(
    groups: Sequence[CellGroup], classes: dict[str, NDArray[np.float64]]
) -> list[Artist]:
    """
    Explain the lines, the areas and the colours of nodes.

    Parameters
    ----------
    groups : sequence of CellGroup
        What is drawn.
    classes : dict of str to numpy.ndarray, shape = (4,)
        Colour of each class of nodes.

    Returns
    -------
    list of matplotlib.artist.Artist
        One for each kind of line, of area, and of node.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = []
    for kind, dashes in _DASHES.items():
        drawn = {group.shape == "line" for group in groups if group.kind == kind}
        color = _GREY if kind == "given" else probability_colors([0.75])[0]
        faint = _FAINT if kind == "not accepted" else None
        if True in drawn:
            label = f"{kind} edge"
            handles.append(Line2D([], [], color=color, linestyle=dashes, alpha=faint, label=label))
        if False in drawn:
            style: dict[str, Any] = {"facecolor": (color, 0.3)}
            if kind == "not accepted":
                style = {"facecolor": "none", "linestyle": dashes, "alpha": faint}
            handles.append(Patch(edgecolor=color, label=f"{kind} cell", **style))
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgecolor": "black"}
    handles += [Line2D([], [], color=tuple(c), label=n, **dot) for n, c in classes.items()]
    return handles
