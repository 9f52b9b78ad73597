"""Put cells on axes, and explain them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
    pen = _Pen.for_cells(sum(len(group.cells) for group in groups))
    for group in groups:
        if group.shape == "line":
            _add_lines(axes, group, place, pen)
    areas = [group for group in groups if group.shape != "line"]
    outlines = _outlines(areas, place, unit)
    opacity = _opacity([outline for of_group in outlines for outline in of_group])
    for group, of_group in zip(areas, outlines, strict=True):
        _add_areas(axes, group, of_group, opacity, pen)


def _outlines(
    areas: Sequence[CellGroup], place: NDArray[np.float64], unit: float
) -> list[list[NDArray[np.float64]]]:
    """Outline the cells of each group, those with a common vertex at different distances."""
    numbers = iter(levels([cell for group in areas for cell in group.cells], _LEVELS))
    outlines = []
    for group in areas:
        outline, distance = (rounded_hull, 0.24) if group.shape == "hull" else (shrunk, 0.16)
        outlines.append(
            [
                outline(place[list(c)], unit * (distance + _STEP * next(numbers)))
                for c in group.cells
            ]
        )
    return outlines


def _opacity(outlines: Sequence[NDArray[np.float64]]) -> float:
    """Make the areas that lie on top of each other, together, about as opaque as one may be."""
    corners = [outline for outline in outlines if len(outline)]
    if not corners:
        return 0.25
    whole = np.prod(np.ptp(np.concatenate(corners), axis=0))
    covered = sum(np.prod(np.ptp(outline, axis=0)) for outline in corners)
    return float(np.clip(1 - 0.35 ** (whole / covered), 0.01, 0.25))


class _Pen(NamedTuple):
    """How thick and how opaque lines are."""

    width: float
    opacity: float

    @classmethod
    def for_cells(cls, n_cells: int) -> _Pen:
        """Leave hundreds of lines finer, and thousands paler, so that they can be seen through."""
        n_cells = max(n_cells, 1)
        width, opacity = (40 / n_cells) ** 0.5, (400 / n_cells) ** 0.5
        return cls(2 * float(np.clip(width, 0.25, 1)), float(np.clip(opacity, 0.1, 1)))

    def colors(self, group: CellGroup) -> NDArray[np.float64]:
        """Colour the lines of cells."""
        from matplotlib.colors import to_rgba_array

        if group.kind == "given":
            return np.repeat(to_rgba_array(_GREY), len(group.cells), axis=0)
        colors = probability_colors(group.prob)
        colors[:, 3] = self.opacity * (_FAINT if group.kind == "not accepted" else 1)
        return colors


def _add_lines(axes: Axes, group: CellGroup, place: NDArray[np.float64], pen: _Pen) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        [place[list(cell)] for cell in group.cells],
        colors=pen.colors(group),
        linestyles=[_DASHES[group.kind]],
        linewidths=min(pen.width, 1.5) if group.kind == "given" else pen.width,
        zorder=2 if group.kind == "given" else 3,
        label=f"rank {group.rank}, {group.kind}",
    )
    axes.add_collection(lines)


def _add_areas(
    axes: Axes,
    group: CellGroup,
    outlines: list[NDArray[np.float64]],
    opacity: float,
    pen: _Pen,
) -> None:
    from matplotlib.collections import PolyCollection

    edge = pen.colors(group)
    face = edge.copy()
    face[:, 3] = 0 if group.kind == "not accepted" else opacity
    areas = PolyCollection(
        outlines,
        facecolors=face,
        edgecolors=edge,
        linestyles=[_DASHES["not accepted"] if group.kind == "not accepted" else "solid"],
        linewidths=0.7 * pen.width,
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
