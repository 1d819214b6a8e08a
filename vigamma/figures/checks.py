"""Figures of predictive checks and of calibration, small enough to be placed side by side."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import PredictiveChecks
from vigamma.diagnostics.sbc import RankCheck
from vigamma.figures.palette import DATA, GUIDE, INK, MODEL, VALIDATION
from vigamma.figures.posteriors import plain

_SIZE = (5.2, 3.1)
_STYLES = [(c, style) for c in (DATA, VALIDATION, INK) for style in ("-", "--", "-.", ":")]


def check_figures(
    checks: PredictiveChecks, rows: str = "rows", columns: str = "columns"
) -> Iterator[tuple[str, Figure]]:
    """Yields the name and the figure of each check; `rows` and `columns` are what they are called.

    Args:
      checks: the results of the checks.
      rows: what rows are called.
      columns: what columns are called.
    """
    observed, replicated, bins = checks.observed, checks.replicated, checks.bins
    yield "zeros", share_of_zeros(float(observed.zeros), replicated.zeros)
    for name, edges, what in (
        ("row_sums", bins.row_sums, rows),
        ("column_sums", bins.column_sums, columns),
    ):
        yield name, sums(getattr(observed, name), getattr(replicated, name), edges, what)
    yield "variances", variances(observed.variances, replicated.variances, bins.means, columns)


def share_of_zeros(observed: float, replicates: np.ndarray) -> Figure:
    """The share of zeros: a histogram over replicates, and the value of the data."""
    figure, axes = _small()
    axes.hist(replicates, bins=12, color=MODEL, alpha=0.75, label="replicates")
    axes.axvline(observed, color=DATA, lw=2, label="data")
    axes.set(xlabel="share of zeros", ylabel="replicates")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))  # as the ticks need
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False)
    return figure


def sums(observed: np.ndarray, replicates: np.ndarray, edges: np.ndarray, what: str) -> Figure:
    """A histogram of sums by `edges`: the data as bars, the replicates as 90 % intervals."""
    figure, axes = _small()
    places = np.arange(observed.size)
    axes.bar(places, observed, width=0.9, color=DATA, alpha=0.3, label="data")
    low, middle, high = np.quantile(replicates, [0.05, 0.5, 0.95], axis=0)
    axes.errorbar(
        places, middle, [middle - low, high - middle], fmt="o", ms=3.5, color=MODEL, lw=1.5,
        label="replicates, 90 %",
    )  # fmt: skip
    shown = np.arange(0, edges.size - 1, max(1, -(-(edges.size - 1) // 6)))
    axes.set_xticks(shown - 0.5, [f"{edges[i]:,.0f}" for i in shown])
    axes.set(xlabel="sum of counts, from", ylabel=what)
    axes.legend(frameon=False)
    return figure


def variances(observed: np.ndarray, replicates: np.ndarray, means: np.ndarray, what: str) -> Figure:
    """The variance of columns against their mean, with the line of pure Poisson counts."""
    figure, axes = _small()
    low, high = np.quantile(replicates, [0.05, 0.95], axis=0)
    axes.fill_between(means, low, high, color=MODEL, alpha=0.35, lw=0, label="replicates, 90 %")
    axes.plot(means, np.median(replicates, axis=0), color=MODEL, lw=1.5)
    axes.plot(means, observed, color=DATA, marker="o", ms=4, lw=1, label="data")
    axes.plot(means, means, color=GUIDE, ls=":", lw=1.2, label="variance = mean")
    axes.set(xscale="log", yscale="log", xlabel=f"mean count of {what}", ylabel="variance")
    axes.legend(frameon=False)
    return figure


def calibration(found: Calibration) -> Figure:
    """The ratio of observed to expected held-out counts against the predicted rate."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    ratio, (low, high) = found.ratio, found.interval(0.9)
    axes.axhline(1, color=GUIDE, ls=":", lw=1.2)
    axes.errorbar(
        found.rates, ratio, np.maximum([ratio - low, high - ratio], 0), fmt="o-", ms=4, lw=1.2,
        color=DATA,
    )  # fmt: skip
    axes.set(
        xscale="log", xlabel="predicted count of an entry", ylabel="observed / expected counts"
    )
    axes.xaxis.set_minor_formatter(NullFormatter())  # labels within a decade would overlap
    if found.rates.max() < 30 * found.rates.min():
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
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
        edges, steps(band.lower), steps(band.upper), color=MODEL, alpha=0.25, lw=0, label="band"
    )
    axes.axhline(0, color=GUIDE, ls=":", lw=1.2)
    label, num_outside = "inside", 0
    for name, ecdf, is_inside in zip(names, found.ecdf.T, found.is_inside, strict=True):
        if is_inside:
            axes.plot(edges, steps(ecdf), color=MODEL, lw=1, label=label)
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
