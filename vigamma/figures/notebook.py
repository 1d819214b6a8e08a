"""Figures that notebooks show by themselves."""

from matplotlib.figure import Figure

WIDTH = 7.5
"""The width of a figure by default, in inches."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of pyplot, of a size in inches, whose parts do not overlap."""
    from matplotlib import pyplot  # which chooses how to show figures; other modules need none

    return pyplot.figure(figsize=(width, height), layout="constrained")
