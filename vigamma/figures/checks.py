"""Figures of predictive checks and of calibration, small enough to be placed side by side."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import PredictiveChecks
from vigamma.diagnostics.sbc import RankCheck
from vigamma.figures.posteriors import plain

_DATA, _MODEL = "#b3402a", "#4a7fb0"
_SIZE = (5.2, 3.1)
_STYLES = [(c, style) for c in (_DATA, "#d99a2b", "#5a2a6e") for style in ("-", "--", "-.", ":")]


def check_figures(checks: PredictiveChecks) -> Iterator[tuple[str, Figure]]:
    """Yields the name and the figure of each check."""
    observed, replicated, bins = checks.observed, checks.replicated, checks.bins
    yield "zeros", share_of_zeros(float(observed.zeros), replicated.zeros)
    for side, edges in (("row", bins.row_sums), ("column", bins.column_sums)):
        name = f"{side}_sums"
        figure = sums(getattr(observed, name), getattr(replicated, name), edges, f"{side}s")
        yield name, figure
    yield "variances", variances(observed.variances, replicated.variances, bins.means)


def share_of_zeros(observed: float, replicates: np.ndarray) -> Figure:
    """The share of zeros: a histogram over replicates, and the value of the data."""
    figure, axes = _small()
    axes.hist(replicates, bins=12, color=_MODEL, alpha=0.75, label="replicates")
    axes.axvline(observed, color=_DATA, lw=2, label="data")
    axes.set(xlabel="share of zeros", ylabel="replicates")
    decimals = int(
        np.clip(np.ceil(-np.log10(100 * max(np.ptp([*replicates, observed]), 1e-9))), 0, 6)
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False)
    return figure


def sums(observed: np.ndarray, replicates: np.ndarray, edges: np.ndarray, side: str) -> Figure:
    """A histogram of sums by `edges`: the data as bars, the replicates as 90 % intervals."""
    figure, axes = _small()
    places = np.arange(observed.size)
    axes.bar(places, observed, width=0.9, color=_DATA, alpha=0.3, label="data")
    low, middle, high = np.quantile(replicates, [0.05, 0.5, 0.95], axis=0)
    axes.errorbar(
        places, middle, [middle - low, high - middle], fmt="o", ms=3.5, color=_MODEL, lw=1.5,
        label="replicates, 90 %",
    )  # fmt: skip
    shown = np.arange(0, edges.size - 1, max(1, -(-(edges.size - 1) // 6)))
    axes.set_xticks(shown - 0.5, [f"{edges[i]:,.0f}" for i in shown])
    axes.set(xlabel=f"sum of the counts of a {side[:-1]}, from", ylabel=side)
    axes.legend(frameon=False)
    return figure


def variances(observed: np.ndarray, replicates: np.ndarray, means: np.ndarray) -> Figure:
    """The variance of columns against their mean, with the line of pure Poisson counts."""
    figure, axes = _small()
    low, high = np.quantile(replicates, [0.05, 0.95], axis=0)
    axes.fill_between(means, low, high, color=_MODEL, alpha=0.35, lw=0, label="replicates, 90 %")
    axes.plot(means, np.median(replicates, axis=0), color=_MODEL, lw=1.5)
    axes.plot(means, observed, color=_DATA, marker="o", ms=4, lw=1, label="data")
    axes.plot(means, means, color="0.45", ls=":", lw=1.2, label="variance = mean")
    axes.set(xscale="log", yscale="log", xlabel="mean of a column", ylabel="its variance")
    axes.legend(frameon=False)
    return figure


def calibration(found: Calibration) -> Figure:
    """The ratio of observed to expected held-out counts against the predicted rate."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    ratio, (low, high) = found.ratio, found.interval(0.9)
    axes.axhline(1, color="0.45", ls=":", lw=1.2)
    axes.errorbar(
        found.rates, ratio, np.maximum([ratio - low, high - ratio], 0), fmt="o-", ms=4, lw=1.2,
        color=_DATA,
    )  # fmt: skip
    axes.set(xscale="log", xlabel="predicted count of a cell", ylabel="observed / expected counts")
    margin = 1.15 * max(np.abs(np.concatenate([low, high]) - 1).max(), 0.1)
    axes.set_ylim(max(0, 1 - margin), 1 + margin)
    plain(axes)
    return figure


def sbc(found: RankCheck, names: Sequence[str]) -> Figure:
    """ECDFs of ranks minus that of uniform ranks, with their band; those outside are named.

    Args:
      found: the check of some quantities.
      names: their names.
    """
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    num_draws, band = len(found.ecdf), found.band
    # Ranks i are from i - 1/2 to i + 1/2; at both ends all ECDFs are equal.
    edges = np.arange(num_draws + 2) - 0.5

    def steps(values: np.ndarray) -> np.ndarray:
        return np.pad(values - band.expected, 1)

    axes.fill_between(
        edges, steps(band.lower), steps(band.upper), color=_MODEL, alpha=0.25, lw=0, label="band"
    )
    axes.axhline(0, color="0.45", ls=":", lw=1.2)
    label, num_outside = "inside", 0
    for name, ecdf, is_inside in zip(names, found.ecdf.T, found.is_inside, strict=True):
        if is_inside:
            axes.plot(edges, steps(ecdf), color=_MODEL, lw=1, label=label)
            label = "_nolegend_"
        else:
            color, style = _STYLES[num_outside % len(_STYLES)]
            axes.plot(edges, steps(ecdf), color=color, ls=style, lw=1.5, label=name)
            num_outside += 1
    axes.set(
        xlabel=f"rank of the true value among {num_draws} draws",
        ylabel="ECDF minus uniform ECDF",
        xlim=(edges[0], edges[-1]),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    plain(axes)
    return figure


def _small() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    return figure, axes
