"""The nodes of a picture: their colours, what is written on them, how large they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from topox_difflift.plotting.figures import CLASS_COLORS, VALUE_COLORMAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from topox_difflift.complex import LiftedComplex

__all__ = ["NodeColors", "draw_nodes", "node_texts", "on_cpu"]


@dataclass(frozen=True)
class NodeColors:
    """
    Colours of the nodes, and what they stand for.

    Attributes
    ----------
    colors : numpy.ndarray, shape = (n_0, 4)
        The colour of each node.
    classes : dict of str to numpy.ndarray, shape = (4,)
        The colour of each class.
    limits : tuple of float, optional
        Smallest and largest value.
    """

    colors: NDArray[np.float64]
    classes: dict[str, NDArray[np.float64]]
    limits: tuple[float, float] | None = None

    @classmethod
    def of(cls, given: Sequence[Any] | ArrayLike | None, n_0: int) -> NodeColors:
        """
        Colour classes or values.

        Parameters
        ----------
        given : sequence, shape = (n_0,), optional
            Classes, or floats for values.
        n_0 : int
            Number of nodes.

        Returns
        -------
        NodeColors
            The colours, white by default.

        Raises
        ------
        ValueError
            If there is not one for each node, or not a colour for each.
        """
        from matplotlib.colors import to_rgba_array

        if given is None:
            return cls(np.ones((n_0, 4)), {})
        of_node = np.asarray(on_cpu(given))
        if of_node.shape != (n_0,):
            raise ValueError(
                f"Expected 'node_color' to hold {n_0} classes or values, one for each node "
                f"(got shape {of_node.shape})"
            )
        if np.issubdtype(of_node.dtype, np.floating):
            return cls._of_values(of_node.astype(np.float64))
        names, index = np.unique(of_node, return_inverse=True)
        if len(names) > len(CLASS_COLORS):
            raise ValueError(
                f"Expected 'node_color' to hold at most {len(CLASS_COLORS)} classes, so that "
                f"their colours can be told apart (got {len(names)}); pass floats for a scale"
            )
        palette = to_rgba_array(CLASS_COLORS[: len(names)])
        named = [str(name) for name in names.tolist()]
        return cls(palette[index.ravel()], dict(zip(named, palette, strict=True)))

    @classmethod
    def _of_values(cls, values: NDArray[np.float64]) -> NodeColors:
        import matplotlib as mpl

        if not np.isfinite(values).all():
            raise ValueError(
                "Expected 'node_color' to hold finite values (got NaN or infinite ones); "
                "replace them, or pass classes"
            )
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
        return cls(np.asarray(mpl.colormaps[VALUE_COLORMAP](share)), {}, (low, high))


def node_texts(lifted: LiftedComplex, labels: bool | Sequence[Any] | None) -> list[str] | None:
    """
    Get what to write on the nodes.

    Parameters
    ----------
    lifted : LiftedComplex
        The complex.
    labels : bool or sequence, shape = (n_0,), optional
        Whether to write labels, or which.

    Returns
    -------
    list of str, shape = (n_0,), optional
        One text for each node; None for no text.

    Raises
    ------
    ValueError
        If their number does not fit.
    """
    n_0 = lifted.num_cells[0]
    if labels is False:
        return None
    # By default those that the nodes had in networkx or TopoNetX.
    own = getattr(lifted.get("annotations"), "labels", range(n_0))
    texts = [str(label) for label in (own if labels is None or labels is True else labels)]
    if len(texts) != n_0:
        raise ValueError(
            f"Expected 'labels' to hold {n_0} texts, one for each node (got {len(texts)})"
        )
    return texts


def on_cpu(values: Any) -> Any:
    """
    Bring a tensor to where numpy can read it.

    Parameters
    ----------
    values : Any
        A tensor, or anything else.

    Returns
    -------
    Any
        The tensor without history, or what it was.
    """
    return values.detach().cpu() if isinstance(values, Tensor) else values


def draw_nodes(
    axes: Axes,
    place: NDArray[np.float64],
    unit: float,
    colors: NDArray[np.float64],
    labels: Sequence[str] | None,
    forced: bool,
) -> None:
    """
    Draw the nodes, as large as there is room.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw, with its limits.
    place : numpy.ndarray, shape = (n_0, 2)
        Positions of the nodes.
    unit : float
        Typical distance between them.
    colors : numpy.ndarray, shape = (n_0, 4)
        Their colours.
    labels : sequence of str, shape = (n_0,), optional
        What to write on them.
    forced : bool
        Whether to write it even where there is no room.
    """
    diameter = float(np.clip(0.4 * unit * _points_per_unit(axes), 2.5, 18))
    axes.scatter(
        place[:, 0],
        place[:, 1],
        s=diameter**2,
        color=colors,
        edgecolor="black",
        linewidths=min(1.0, diameter / 12),
        zorder=4,
    )
    if labels is None or not (forced or diameter >= 10):
        return
    dark = colors[:, :3] @ [0.299, 0.587, 0.114] < 0.5
    longest = max(map(len, labels), default=1)
    size = float(np.clip(min(0.6, 1.2 / max(longest, 1)) * diameter, 5, 9))
    for text, (x, y), on_dark in zip(labels, place, dark, strict=True):
        axes.annotate(
            text,
            (x, y),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if on_dark else "black",
            zorder=5,
        )


def _points_per_unit(axes: Axes) -> float:
    """Typographical points of one unit of the data, with equal aspect."""
    box = axes.get_window_extent()
    width, height = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    return min(box.width / width, box.height / height) * 72 / float(axes.figure.dpi)
