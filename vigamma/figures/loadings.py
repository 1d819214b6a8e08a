"""The columns of factors, as dots on the lines of their credible intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vigamma.figures.memberships import shortened
from vigamma.figures.palette import COLORS, INK
from vigamma.figures.posteriors import plain

_PANEL_WIDTH, _LINE_HEIGHT, _FRAME_HEIGHT = 3.0, 0.19, 0.75  # inches


class Loadings(NamedTuple):
    """Some columns of a factor.

    Attributes:
      factor: its index, from 0; its number, in the title, is one more.
      weight: its share in all counts, which is beside its number.
      names: of the columns, in the order from above to below.
      mean: the means of the columns.
      low: the lower ends of their intervals.
      high: the upper ends.
    """

    factor: int
    weight: float
    names: Sequence[str]
    mean: Float[np.ndarray, " top"]
    low: Float[np.ndarray, " top"]
    high: Float[np.ndarray, " top"]


def loadings_size(num_factors: int, num_names: int, width: float) -> tuple[int, int, float]:
    """The rows and columns of panels in a figure, and its height, for a width in inches."""
    across = max(1, min(num_factors, int(width / _PANEL_WIDTH)))
    down = -(-num_factors // across)
    return down, across, down * (_FRAME_HEIGHT + _LINE_HEIGHT * num_names)


def loadings(figure: Figure, shown: Sequence[Loadings], scale: str) -> None:
    """Draws a panel for each factor.

    Args:
      figure: what is drawn on, empty.
      shown: the factors.
      scale: what the horizontal axes are of.
    """
    down, across, _ = loadings_size(len(shown), 1, figure.get_figwidth())
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, of_factor in zip(panels, shown, strict=False):
        factor_loadings(axes, of_factor)
    for axes in panels[len(shown) :]:
        axes.remove()
    figure.supxlabel(scale, fontsize=9)


def factor_loadings(axes: Axes, shown: Loadings, scale: str = "") -> None:
    """Draws the columns of one factor, in its color."""
    color = COLORS[shown.factor % len(COLORS)]
    places = -np.arange(len(shown.names))
    axes.hlines(places, shown.low, shown.high, color=color, lw=4)
    axes.hlines(places, shown.low, shown.high, color=INK, lw=0.7)  # pale colors are seen, too
    axes.plot(shown.mean, places, "o", color="white", mec=INK, mew=0.9, ms=5)
    axes.set_yticks(places, [shortened(name, 18) for name in shown.names], fontsize=8)
    axes.set_title(f"factor {shown.factor + 1} ({shown.weight:.1%})", fontsize=9)
    axes.set(xlabel=scale, xlim=(0, 1.05 * float(shown.high.max())))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    plain(axes)
