"""Pictures of a complex, its cells coloured by their probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from topox_difflift.checks import check_flag
from topox_difflift.plotting.cells import as_lifted, cell_groups, changes
from topox_difflift.plotting.drawing import draw_cells, frame, legend_handles
from topox_difflift.plotting.figures import (
    VALUE_COLORMAP,
    add_scale,
    axes_or_new,
    new_figure,
    require_matplotlib,
)
from topox_difflift.plotting.layout import layout, spacing
from topox_difflift.plotting.nodes import NodeColors, draw_nodes, node_texts, on_cpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from toponetx.classes.complex import Complex

    from topox_difflift.complex import LiftedComplex
    from topox_difflift.plotting.cells import CellGroup

__all__ = ["draw", "draw_pair"]


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

    Edges are lines, and learned ones dashed; the 2-cells of a cell complex are polygons; all
    other cells, learned hyperedges of any size among them, are hulls of their nodes. Cells
    that nobody decided on, because the input or a fixed rule gave them, are grey.

    Parameters
    ----------
    complex_ : LiftedComplex or toponetx complex
        The complex of one graph.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.
    pos : array_like, shape = (n_0, 2), optional
        Positions of the nodes; by default those that the graph carries as `pos`, if they are
        in the plane, otherwise `layout`.
    node_color : sequence, shape = (n_0,), optional
        Class of each node (integers, texts, ...), or its value (floats); by default all nodes
        are white.
    labels : bool or sequence, shape = (n_0,), optional
        Whether to write on the nodes their labels or numbers, or what to write; by default it
        is done where there is room.
    rejected : bool, default=False
        Whether to draw the cells that the complex kept without accepting them as well, faint
        and dotted: rejected ones, and those that a learned size left out.
    legend : bool, default=True
        Whether to explain colours and lines.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; their title counts the cells.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `complex_` is no complex.
    ValueError
        If the complex is of several graphs, or an argument does not fit it.
    """
    check_flag("rejected", rejected)
    check_flag("legend", legend)
    require_matplotlib()
    lifted = _of_one_graph("complex_", complex_)
    if rejected:
        _require_rejected(lifted)
    place = _positions(lifted, pos)
    axes = axes_or_new(ax, _fitting(place, panels=1))
    nodes = NodeColors.of(node_color, len(place))
    groups = _paint(axes, lifted, place, nodes, labels, rejected)
    if legend:
        handles = legend_handles(groups, nodes.classes)
        if handles:
            axes.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, 0),
                frameon=False,
                ncols=3,
                fontsize="small",
            )
        _add_scales(axes, groups, nodes)
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
        Positions of the nodes in both; by default those of `before`, as in `draw`.
    node_color : sequence, shape = (n_0,), optional
        Classes or values of the nodes, as in `draw`.
    labels : bool or sequence, shape = (n_0,), optional
        What to write on the nodes, as in `draw`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure; both have the same positions, limits and colours, and its title says
        how many cells of each rank came and went.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If one of them is no complex.
    ValueError
        If a complex is of several graphs, or they have different nodes.
    """
    require_matplotlib()
    pair = _of_one_graph("before", before), _of_one_graph("after", after)
    n_0, n_after = (lifted.num_cells[0] for lifted in pair)
    if n_0 != n_after:
        raise ValueError(
            "Expected 'before' and 'after' to be complexes of the same graph (got "
            f"{n_0} and {n_after} nodes); lift the same graph twice"
        )
    if isinstance(titles, str) or len(titles) != 2:
        raise ValueError(f"Expected 'titles' to be two titles (got {titles!r})")
    place, nodes = _positions(pair[0], pos), NodeColors.of(node_color, n_0)
    figure = new_figure(_fitting(place, panels=2))[0]
    figure.clear()
    both = list(figure.subplots(1, 2, sharex=True, sharey=True))
    groups = []
    for axes, lifted, title in zip(both, pair, titles, strict=True):
        groups += _paint(axes, lifted, place, nodes, labels, rejected=False)
        axes.set_title(f"{title}\n{axes.get_title()}", fontsize="medium")
    parts = [
        f"rank {rank}: {came} came, {went} went" for rank, (came, went) in changes(*pair).items()
    ]
    figure.suptitle("; ".join(parts), fontsize="large")
    handles = legend_handles(groups, nodes.classes)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    _add_scales(both, groups, nodes)
    return figure


def _paint(
    axes: Axes,
    lifted: LiftedComplex,
    place: NDArray[np.float64],
    nodes: NodeColors,
    labels: bool | Sequence[Any] | None,
    rejected: bool,
) -> list[CellGroup]:
    """Draw cells and nodes, count them, and return what was drawn."""
    kinds = ("given", "accepted", "not accepted") if rejected else ("given", "accepted")
    groups = [group for group in cell_groups(lifted) if group.kind in kinds]
    unit = spacing(place)
    frame(axes, place, unit)
    draw_cells(axes, groups, place, unit)
    texts = node_texts(lifted, labels)
    draw_nodes(axes, place, unit, nodes.colors, texts, forced=labels is not None)
    lines = []
    for rank in range(1, lifted.max_rank + 1):
        counts = dict.fromkeys(kinds, 0)
        for group in groups:
            counts[group.kind] += len(group.cells) if group.rank == rank else 0
        lines.append(f"rank {rank}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    axes.set_title("\n".join(lines), fontsize="medium")
    return groups


def _fitting(place: NDArray[np.float64], panels: int) -> tuple[float, float]:
    """Inches of a figure without much room left above and below the panels."""
    unit = spacing(place)
    width, height = np.ptp(place, axis=0) + 1.2 * unit if len(place) else (unit, unit)
    share = height / max(width, 3 * unit)
    return 1.5 + 5.5 * panels, 1.2 + float(np.clip(5.5 * share, 2, 6))


def _add_scales(axes: Axes | list[Axes], groups: Sequence[CellGroup], nodes: NodeColors) -> None:
    if any(group.kind != "given" for group in groups):
        add_scale(axes, "acceptance probability")
    if nodes.limits is not None:
        add_scale(axes, "value of the node", VALUE_COLORMAP, nodes.limits)


# ---------------------------------------------------------------------- arguments


def _of_one_graph(name: str, complex_: LiftedComplex | Complex) -> LiftedComplex:
    lifted = as_lifted(complex_)
    if lifted.num_graphs > 1:
        raise ValueError(
            f"Expected '{name}' to be of one graph (got {lifted.num_graphs}); draw one of "
            f"{name}.unbatch()"
        )
    return lifted


def _require_rejected(lifted: LiftedComplex) -> None:
    for rank in lifted.summary().ranks:
        if rank.rejected > int((lifted[f"mask_{rank.rank}"] == 0).sum()):
            raise ValueError(
                "Expected 'complex_' to hold its rejected cells, to draw them with rejected=True "
                f"(got one that dropped {rank.rejected} of rank {rank.rank}); lift in training "
                "mode with DiffLift(rejected='keep'), and draw before accepted()"
            )


def _positions(lifted: LiftedComplex, pos: ArrayLike | None) -> NDArray[np.float64]:
    n_0 = lifted.num_cells[0]
    if pos is None:
        carried = lifted.get("pos")
        if not isinstance(carried, Tensor) or carried.shape != (n_0, 2):
            return layout(lifted)
        pos = carried
    place = np.asarray(on_cpu(pos), dtype=np.float64)
    if place.shape != (n_0, 2) or not np.isfinite(place).all():
        raise ValueError(
            f"Expected 'pos' to be finite positions of shape ({n_0}, 2), one for each node "
            f"(got shape {place.shape})"
        )
    return place
