"""Pictures of a complex, its cells coloured by their probability."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from topox_difflift.checks import check_flag
from topox_difflift.complex import LiftedComplex
from topox_difflift.plotting.figures import (
    CLASS_COLORS,
    add_scale,
    axes_or_new,
    new_figure,
    probability_colors,
)
from topox_difflift.plotting.layout import layout, spacing
from topox_difflift.plotting.shapes import levels, rounded_hull, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from toponetx.classes.complex import Complex

__all__ = ["draw", "draw_pair"]

_GIVEN, _LEARNED, _REJECTED = "given", "learned", "rejected"
#: Line style of each kind; how opaque rejected cells are.
_DASHES: dict[str, Any] = {_GIVEN: "solid", _LEARNED: (0, (3, 1.5)), _REJECTED: (0, (1, 2))}
_FAINT = 0.35


@dataclass(frozen=True)
class _Cells:
    """Cells of one rank that are drawn alike."""

    rank: int
    kind: str
    cells: list[tuple[int, ...]]
    prob: NDArray[np.float64]


def draw(
    complex_: LiftedComplex | Complex,
    ax: Axes | None = None,
    *,
    pos: ArrayLike | None = None,
    node_color: Sequence[Any] | ArrayLike | None = None,
    labels: bool | Sequence[Any] | None = None,
    rejected: bool = False,
    legend: bool = True,
) -> Axes:
    """
    Draw the complex of one graph, learned cells coloured by their probability.

    Edges are lines and learned ones dashed; the 2-cells of a cell complex are polygons, and
    all other cells, hyperedges of any size among them, the hulls of their nodes. Cells that
    were not learned, because the input or a fixed rule gave them, are grey.

    Parameters
    ----------
    complex_ : LiftedComplex or toponetx complex
        The complex of one graph.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.
    pos : array_like, shape = (n_0, 2), optional
        Positions of the nodes; by default `layout`.
    node_color : sequence, shape = (n_0,), optional
        Class of each node, of any hashable type; by default all are white.
    labels : bool or sequence, shape = (n_0,), optional
        Whether to number the nodes, or what to write on them; by default they are numbered
        where there is room.
    rejected : bool, default=False
        Whether to draw rejected cells as well, faint and dotted, where the complex kept them.
    legend : bool, default=True
        Whether to explain colours and lines.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the complex is of several graphs, or an argument does not fit it.
    """
    check_flag("rejected", rejected)
    check_flag("legend", legend)
    lifted = _of_one_graph("complex_", complex_)
    axes = axes_or_new(ax)
    place = layout(lifted) if pos is None else _checked_positions(pos, lifted.num_cells[0])
    groups = _groups(lifted, rejected)
    classes = _draw_complex(axes, lifted, place, groups, node_color, labels)
    axes.set_title(_count(lifted, rejected), fontsize="medium")
    if legend:
        _add_legend(axes, groups, classes)
        if any(group.kind != _GIVEN for group in groups):
            add_scale(axes)
    return axes


def draw_pair(
    before: LiftedComplex | Complex,
    after: LiftedComplex | Complex,
    titles: Sequence[str] = ("before", "after"),
    *,
    pos: ArrayLike | None = None,
    node_color: Sequence[Any] | ArrayLike | None = None,
    labels: bool | Sequence[Any] | None = None,
) -> Figure:
    """
    Draw two complexes of the same graph beside each other, and count what changed.

    Parameters
    ----------
    before, after : LiftedComplex or toponetx complex
        The complexes of one graph.
    titles : sequence of str, default=("before", "after")
        What they are.
    pos : array_like, shape = (n_0, 2), optional
        Positions of the nodes in both; by default the `layout` of `before`.
    node_color, labels : sequence, optional
        As in `draw`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure; both have the same positions, limits and colours, and its title says
        how many cells of each rank came and went.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If a complex is of several graphs, or they have different nodes.
    """
    one, other = _of_one_graph("before", before), _of_one_graph("after", after)
    if one.num_cells[0] != other.num_cells[0]:
        raise ValueError(
            "Expected 'before' and 'after' to be complexes of the same graph (got "
            f"{one.num_cells[0]} and {other.num_cells[0]} nodes); lift the same graph twice"
        )
    if len(titles) != 2:
        raise ValueError(f"Expected 'titles' to be two titles (got {len(titles)})")
    figure, _ = new_figure((12, 6))
    figure.clear()
    pair = list(figure.subplots(1, 2, sharex=True, sharey=True))
    place = layout(one) if pos is None else pos
    for axes, lifted, title in zip(pair, (one, other), titles, strict=True):
        draw(lifted, axes, pos=place, node_color=node_color, labels=labels, legend=False)
        axes.set_title(f"{title}\n{axes.get_title()}", fontsize="medium")
    figure.suptitle(_changes(one, other), fontsize="large")
    add_scale(pair)
    return figure


# ---------------------------------------------------------------------- what to draw


def _of_one_graph(name: str, complex_: LiftedComplex | Complex) -> LiftedComplex:
    if not isinstance(complex_, LiftedComplex):
        complex_ = LiftedComplex.from_toponetx(complex_)
    if complex_.num_graphs > 1:
        raise ValueError(
            f"Expected '{name}' to be of one graph (got {complex_.num_graphs}); draw one of "
            f"{name}.unbatch()"
        )
    return complex_


def _checked_positions(pos: ArrayLike, n_0: int) -> NDArray[np.float64]:
    place = np.asarray(pos, dtype=np.float64)
    if place.shape != (n_0, 2) or not np.isfinite(place).all():
        raise ValueError(
            f"Expected 'pos' to be finite positions of shape ({n_0}, 2), one for each node "
            f"(got shape {place.shape})"
        )
    return place


def _groups(lifted: LiftedComplex, rejected: bool = False) -> list[_Cells]:
    """Cells by rank and kind, none of them empty."""
    groups = []
    for rank in range(1, lifted.max_rank + 1):
        cells = lifted.cells(rank)
        mask, prob = (
            lifted[f"{name}_{rank}"].detach().double().cpu().numpy() for name in ("mask", "prob")
        )
        kinds = np.where(mask == 0, _REJECTED, np.where(prob < 1, _LEARNED, _GIVEN))
        for kind in (_GIVEN, _LEARNED, *([_REJECTED] if rejected else [])):
            index = np.flatnonzero(kinds == kind)
            if len(index):
                groups.append(_Cells(rank, kind, [cells[i] for i in index], prob[index]))
    return groups


def _count(lifted: LiftedComplex, rejected: bool) -> str:
    lines = []
    for rank in lifted.summary().ranks:
        parts = [f"{rank.original} given", f"{rank.accepted} learned"]
        if rejected:
            parts.append(f"{rank.rejected} rejected")
        lines.append(f"rank {rank.rank}: {', '.join(parts)}")
    return "\n".join(lines)


def _changes(before: LiftedComplex, after: LiftedComplex) -> str:
    parts = []
    for rank in range(1, max(before.max_rank, after.max_rank) + 1):
        old, new = _identities(before, rank), _identities(after, rank)
        parts.append(f"rank {rank}: {(new - old).total()} came, {(old - new).total()} went")
    return "; ".join(parts)


def _identities(lifted: LiftedComplex, rank: int) -> Counter[frozenset[Any]]:
    """List accepted cells, whatever their columns, and a polygon wherever it starts."""
    if rank > lifted.max_rank:
        return Counter()
    cells = [cell for group in _groups(lifted) if group.rank == rank for cell in group.cells]
    if not _is_polygonal(lifted, rank):
        return Counter(frozenset(cell) for cell in cells)
    return Counter(
        frozenset(frozenset(side) for side in zip(cell, cell[1:] + cell[:1], strict=True))
        for cell in cells
    )


def _is_polygonal(lifted: LiftedComplex, rank: int) -> bool:
    return lifted.domain == "cell" and rank == 2


# ---------------------------------------------------------------------- drawing


def _draw_complex(
    axes: Axes,
    lifted: LiftedComplex,
    place: NDArray[np.float64],
    groups: list[_Cells],
    node_color: Sequence[Any] | ArrayLike | None,
    labels: bool | Sequence[Any] | None,
) -> dict[Any, str]:
    unit = spacing(place)
    _frame(axes, place, unit)
    areas = [group for group in groups if not _is_line(lifted, group)]
    numbers = iter(levels([cell for group in areas for cell in group.cells], most=5))
    crowd = max(sum(len(group.cells) for group in areas), 1)
    for group in groups:
        if _is_line(lifted, group):
            _draw_lines(axes, group, place)
            continue
        shapes = []
        for cell in group.cells:
            level = next(numbers)
            points = place[list(cell)]
            if _is_polygonal(lifted, group.rank):
                shapes.append(shrunk(points, 0.12 + 0.06 * level))
            else:
                shapes.append(rounded_hull(points, unit * (0.24 + 0.05 * level)))
        _draw_areas(axes, group, shapes, min(0.3, 6 / crowd))
    return _draw_nodes(axes, place, unit, node_color, labels)


def _is_line(lifted: LiftedComplex, group: _Cells) -> bool:
    """Whether cells are edges; a hypergraph's learned pairs are sets as all others."""
    if lifted.domain != "hypergraph":
        return group.rank == 1
    return group.kind == _GIVEN and all(len(cell) == 2 for cell in group.cells)


def _frame(axes: Axes, place: NDArray[np.float64], unit: float) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    low, high = (place.min(0), place.max(0)) if len(place) else (np.zeros(2), np.zeros(2))
    axes.set_xlim(low[0] - 0.7 * unit, high[0] + 0.7 * unit)
    axes.set_ylim(low[1] - 0.7 * unit, high[1] + 0.7 * unit)


def _colors(group: _Cells) -> Any:
    return "0.45" if group.kind == _GIVEN else probability_colors(group.prob)


def _draw_lines(axes: Axes, group: _Cells, place: NDArray[np.float64]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(
            [place[list(cell)] for cell in group.cells],
            colors=_colors(group),
            linestyles=[_DASHES[group.kind]],
            linewidths=1.5 if group.kind == _GIVEN else 2,
            alpha=_FAINT if group.kind == _REJECTED else None,
            zorder=2 if group.kind == _GIVEN else 3,
            label=f"rank {group.rank}, {group.kind}",
        )
    )


def _draw_areas(
    axes: Axes, group: _Cells, shapes: list[NDArray[np.float64]], opacity: float
) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba_array

    edge = to_rgba_array(_colors(group))
    face = edge.copy()
    face[:, 3] = 0 if group.kind == _REJECTED else opacity
    axes.add_collection(
        PolyCollection(
            shapes,
            facecolors=face,
            edgecolors=edge,
            linestyles=[_DASHES[group.kind] if group.kind == _REJECTED else "solid"],
            linewidths=1.2,
            zorder=1,
            label=f"rank {group.rank}, {group.kind}",
        )
    )


def _draw_nodes(
    axes: Axes,
    place: NDArray[np.float64],
    unit: float,
    node_color: Sequence[Any] | ArrayLike | None,
    labels: bool | Sequence[Any] | None,
) -> dict[Any, str]:
    """Draw the nodes and return the colour of each class."""
    n_0 = len(place)
    classes: dict[Any, str] = {}
    colors = ["white"] * n_0
    if node_color is not None:
        of_node = np.asarray(node_color).tolist()
        if len(of_node) != n_0:
            raise ValueError(
                f"Expected 'node_color' to hold {n_0} classes, one for each node (got "
                f"{len(of_node)})"
            )
        distinct = sorted(set(of_node), key=str)
        classes = {c: CLASS_COLORS[i % len(CLASS_COLORS)] for i, c in enumerate(distinct)}
        colors = [classes[c] for c in of_node]
    diameter = float(np.clip(0.36 * unit * _points_per_unit(axes), 2.5, 18))
    axes.scatter(
        place[:, 0], place[:, 1], s=diameter**2, color=colors, edgecolor="black", zorder=4,
        linewidths=min(1.0, diameter / 12),
    )  # fmt: skip
    if labels is None:
        labels = diameter >= 9
    texts = labels if not isinstance(labels, bool) else range(n_0) if labels else []
    if len(texts) not in (0, n_0):
        raise ValueError(
            f"Expected 'labels' to hold {n_0} texts, one for each node (got {len(texts)})"
        )
    for text, (x, y) in zip(texts, place, strict=bool(len(texts))):
        axes.annotate(
            str(text), (x, y), ha="center", va="center", zorder=5,
            fontsize=float(np.clip(0.55 * diameter, 5, 9)),
        )  # fmt: skip
    return classes


def _points_per_unit(axes: Axes) -> float:
    """Typographical points of one unit of the data, with equal aspect."""
    box = axes.get_window_extent()
    spans = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    return min(box.width / spans[0], box.height / spans[1]) * 72 / float(axes.figure.dpi)


def _add_legend(axes: Axes, groups: list[_Cells], classes: dict[Any, str]) -> None:
    from matplotlib.lines import Line2D

    kinds = [kind for kind in _DASHES if any(group.kind == kind for group in groups)]
    handles = [
        Line2D(
            [], [], color="0.45" if kind == _GIVEN else probability_colors([0.8])[0],
            linestyle=_DASHES[kind], label=kind, alpha=_FAINT if kind == _REJECTED else None,
        )
        for kind in kinds
    ]  # fmt: skip
    handles += [
        Line2D([], [], marker="o", linestyle="", color=color, markeredgecolor="black", label=name)
        for name, color in classes.items()
    ]
    if handles:
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False,
            ncols=min(len(handles), 5), fontsize="small",
        )  # fmt: skip
