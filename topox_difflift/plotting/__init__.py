"""Pictures of complexes and of what a lifting did; needs the extra "plot"."""

from topox_difflift.plotting.charts import plot_acceptance, plot_probabilities, plot_sizes
from topox_difflift.plotting.complexes import draw, draw_pair
from topox_difflift.plotting.figures import new_figure
from topox_difflift.plotting.layout import layout

__all__ = [
    "draw",
    "draw_pair",
    "layout",
    "new_figure",
    "plot_acceptance",
    "plot_probabilities",
    "plot_sizes",
]
