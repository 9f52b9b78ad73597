"""Figures without a display, and the colours of all pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CLASS_COLORS",
    "COLORMAP",
    "VALUE_COLORMAP",
    "add_scale",
    "axes_or_new",
    "new_figure",
    "probability_colors",
    "require_matplotlib",
]

#: Colour of a probability: the more probable, the darker. Safe for colour-blind readers.
COLORMAP = "viridis_r"
#: Colour of a value of a node; without a hue, as those are for probabilities.
VALUE_COLORMAP = "Greys"
#: Okabe and Ito's colours, which colour-blind readers can tell apart; without black.
CLASS_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")


def new_figure(size: tuple[float, float] = (7, 6)) -> tuple[Figure, Axes]:
    """
    Make a figure that needs no display and is not kept by pyplot.

    Parameters
    ----------
    size : tuple of float, default=(7, 6)
        Width and height in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure; a notebook shows it where it is the last value of a cell.
    axes : matplotlib.axes.Axes
        Its axes.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from topox_difflift.plotting._notebook import NotebookFigure

    figure = NotebookFigure(figsize=size, dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def require_matplotlib() -> None:
    """
    Say which extra is missing.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which comes with the extra 'plot': "
            "pip install 'topox-difflift[plot]'"
        ) from error


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (7, 6)) -> Axes:
    """
    Return the given axes, or those of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Axes.
    size : tuple of float, default=(7, 6)
        Width and height of a new figure in inches.

    Returns
    -------
    matplotlib.axes.Axes
        Axes.
    """
    require_matplotlib()
    return new_figure(size)[1] if ax is None else ax


def probability_colors(prob: ArrayLike) -> NDArray[np.float64]:
    """
    Colour probabilities.

    Parameters
    ----------
    prob : array_like, shape = (n,)
        Probabilities.

    Returns
    -------
    numpy.ndarray, shape = (n, 4)
        Red, green, blue and opacity.
    """
    import matplotlib as mpl

    return np.asarray(mpl.colormaps[COLORMAP](np.asarray(prob, dtype=np.float64)))


def add_scale(
    axes: Axes | list[Axes],
    label: str,
    colormap: str = COLORMAP,
    limits: tuple[float, float] = (0, 1),
) -> None:
    """
    Explain colours beside axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes or list of them
        Axes of one figure.
    label : str
        What the colours stand for.
    colormap : str, optional
        Name of the colours; by default those of probabilities.
    limits : tuple of float, default=(0, 1)
        Smallest and largest value.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = (axes[0] if isinstance(axes, list) else axes).figure
    figure.colorbar(ScalarMappable(Normalize(*limits), colormap), ax=axes, label=label, shrink=0.7)
