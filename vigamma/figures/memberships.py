"""The shares of factors in the counts of each row: a structure plot, and means of groups.

A structure plot (Rosenberg et al. 2002; Dey, Hsiao & Stephens 2017) has a bar for each row, split
by factors. Here p_nk = e_n θ_nk B_k / Σ_j e_n θ_nj B_j, with B_k = Σ_m β_mk.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vigamma.figures.palette import COLORS, OTHERS
from vigamma.figures.posteriors import plain

_MOST_BARS = 4000
_LEAST_WIDTH = 0.18  # of a group, in inches: what a slanted label of 8 points takes
_GAP = 0.03  # between groups, in inches
_CHARACTER = 0.075  # the width of one in a label, in inches
_ENTRY = 0.42  # that of an entry of a legend
_NUMBER = 0.5  # that of a percentage
_TICK = 0.2  # that of a number below an axis
_LONGEST = 24

MOST_GROUPS = 100
"""More groups are not drawn."""


class Groups(NamedTuple):
    """Groups of rows.

    Attributes:
      codes: the number of the group of each row, from 0.
      names: those of the groups; [] if there is a single one.
    """

    codes: Integer[np.ndarray, " N"]
    names: Sequence[str]

    @classmethod
    def of_labels(cls, codes: Integer[np.ndarray, " N"], names: Sequence[str]) -> Self:
        """The groups of labels, in their order; rows without one, of code -1, come last."""
        if (codes < 0).any():
            codes, names = np.where(codes < 0, len(names), codes), [*names, "(no label)"]
        return cls(codes, names)

    def means(self, shares: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "G K"]:
        """The mean of p_nk over the rows of each group."""
        return np.array([shares[self.codes == g].mean(axis=0) for g in range(len(self.names))])


def shares_of(amounts: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """The shares of the factors in the expected counts of each row.

    Args:
      amounts: the expected counts of each row from each factor, e_n θ_nk Σ_m β_mk.
    """
    return amounts / amounts.sum(axis=1, keepdims=True)


def structure(
    axes: Axes,
    shares: Float[np.ndarray, "N K"],
    groups: Groups | None = None,
    what: str = "cells",
) -> None:
    """Draws a bar for each row, of the shares of the factors, row beside row within groups.

    A group is as wide as it has rows, but wide enough for its name. Within it, rows are ordered by
    their largest factor, those that are largest in the group first, and then by its share. Of more
    than 4,000 rows, evenly spaced ones of each group are drawn. If there are more than 24
    factors, those from the 24th on are drawn together, in gray.

    Args:
      axes: what is drawn on.
      shares: p_nk, which sum to 1 over k.
      groups: those of the rows; None for a single one.
      what: rows are called.
    """
    codes, names = Groups(np.zeros(len(shares), int), []) if groups is None else groups
    sizes = np.bincount(codes, minlength=len(names) or 1)
    members = np.split(row_order(shares, codes), np.cumsum(sizes)[:-1])
    width = _width(axes)
    starts, widths = group_places(sizes, min(_LEAST_WIDTH, width / len(sizes)) / width)
    most = _MOST_BARS / max(len(shares), _MOST_BARS)
    num_drawn = 0
    for start, of_group, rows in zip(starts, widths, members, strict=True):
        drawn = rows[_spaced(len(rows), math.ceil(most * len(rows)))]
        num_drawn += len(drawn)
        end = start + max(of_group - _GAP / width, 0.8 * of_group)
        _draw_bars(axes, shares[drawn], np.linspace(start, end, len(drawn) + 1))
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of expected counts")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _name_groups(axes, names, starts + widths / 2, widths * width)
    of_all = f" of {len(shares):,}" if len(shares) > num_drawn else ""
    axes.set_xlabel(f"{num_drawn:,}{of_all} {what}")
    plain(axes)
    _add_legend(axes, shares.shape[1], int(width / _ENTRY))


def structure_figure(
    shares: Float[np.ndarray, "N K"], what: str, groups: Groups | None = None
) -> Figure:
    """A figure of the structure plot of all rows, of a resolution for a page."""
    figure = Figure(figsize=(10.0, 3.0 if groups is None else 3.8), layout="constrained", dpi=150)
    structure(figure.subplots(), shares, groups, what)
    return figure


def heat_map(axes: Axes, means: Float[np.ndarray, "G K"], names: Sequence[str]) -> None:
    """Draws the mean shares of the factors in groups of rows, with a color bar.

    Args:
      axes: what is drawn on.
      means: the mean of p_nk over the rows of each group.
      names: of the groups.
    """
    num_groups, num_factors = means.shape
    image = axes.imshow(means, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    labels = [shortened(name) for name in names]
    inches = max(_width(axes) - _CHARACTER * max(map(len, labels)), _TICK) / num_factors
    ticks = np.arange(0, num_factors, math.ceil(_TICK / inches))
    axes.set_xticks(ticks, [str(k + 1) for k in ticks], fontsize=9)
    axes.set_yticks(np.arange(num_groups), labels, fontsize=9)
    axes.set_xlabel("factor")
    axes.tick_params(length=0)
    if inches >= _NUMBER:
        for (g, k), mean in np.ndenumerate(means):
            color = "white" if mean > 0.6 * means.max() else "black"
            axes.text(k, g, f"{mean:.0%}", ha="center", va="center", color=color, fontsize=9)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, format=lambda p, _: f"{100 * p:g}%")
    bar.ax.yaxis.set_major_locator(MaxNLocator(3))
    bar.set_label("mean share", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)


def row_order(
    shares: Float[np.ndarray, "N K"], groups: Integer[np.ndarray, " N"]
) -> Integer[np.ndarray, " N"]:
    """Rows by group, then by the rank of their largest factor in the group, then by its share."""
    totals = np.zeros((groups.max() + 1, shares.shape[1]))
    np.add.at(totals, groups, shares)
    ranks = np.argsort(np.argsort(-totals, axis=1, kind="stable"), axis=1)
    largest = shares.argmax(axis=1)
    return np.lexsort((-shares.max(axis=1), ranks[groups, largest], groups))


def group_places(
    sizes: Integer[np.ndarray, " G"], least: float
) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, " G"]]:
    """The starts and widths of groups side by side from 0 to 1, each at least `least` ≤ 1 / G wide.

    The others are as wide as they have rows.
    """
    is_least = np.zeros(len(sizes), bool)
    widths = sizes / sizes.sum()
    while (widths[~is_least] < least).any():
        is_least |= widths < least
        rest = 1 - least * is_least.sum()
        widths = np.where(is_least, least, rest * sizes / max(sizes[~is_least].sum(), 1))
    return np.cumsum(widths) - widths, widths


def shortened(name: str, longest: int = _LONGEST) -> str:
    """A name, cut if it is longer than `longest` characters."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _spaced(size: int, number: int) -> np.ndarray:
    """The first and the last of `size` places, and evenly spaced ones between them."""
    return np.linspace(0, size - 1, number).round().astype(int)


def factor_colors(num_factors: int) -> list[str]:
    """The colors of the factors; a last gray one is of all others together."""
    if num_factors <= len(COLORS):
        return list(COLORS[:num_factors])
    return [*COLORS[:-1], OTHERS]


def _draw_bars(axes: Axes, shares: np.ndarray, edges: np.ndarray) -> None:
    """Draws the bars between edges, from the last factor on, so that there are no seams."""
    colors = factor_colors(shares.shape[1])
    tops = np.cumsum(shares, axis=1)
    tops[:, len(colors) - 1] = tops[:, -1]
    for color, top in reversed([*zip(colors, tops.T, strict=False)]):
        heights = np.append(top, top[-1])
        axes.fill_between(edges, heights, step="post", color=color, lw=0, rasterized=True)


def _add_legend(axes: Axes, num_factors: int, across: int) -> None:
    """Adds the colors of the factors above the axes, at most `across` in a line."""
    colors = factor_colors(num_factors)
    labels = [str(k + 1) for k in range(len(colors))]
    if num_factors > len(colors):
        labels[-1] = f"{len(colors)} to {num_factors}"
    lines = math.ceil(len(labels) / max(across, 1))
    axes.legend(
        [Patch(color=color) for color in colors],
        labels,
        title="factor",
        ncols=math.ceil(len(labels) / lines),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        alignment="left",
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=0.8,
        borderaxespad=0.2,
    )


def _name_groups(axes: Axes, names: Sequence[str], centers: np.ndarray, inches: np.ndarray) -> None:
    """Labels below the groups, slanted if they do not fit."""
    labels = [shortened(name, 18) for name in names]
    if not labels:
        axes.set_xticks([])
        return
    axes.set_xticks(centers, labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    if any(len(label) * _CHARACTER > room for label, room in zip(labels, inches, strict=True)):
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", va="top", rotation_mode="anchor")


def _width(axes: Axes) -> float:
    """That of the axes, in inches."""
    return axes.get_window_extent().width / axes.figure.dpi
