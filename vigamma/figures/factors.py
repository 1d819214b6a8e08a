"""Figures of a factorization: convergence, factors, and images if rows are images."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vigamma.figures.posteriors import image_rows, plain

_FIT = "C0"
_SCORES = {
    "heldout_log_likelihood": ("held out for the test", "C3"),
    "valid_log_likelihood": ("held out for validation", "C1"),
}


def convergence(
    metrics: Sequence[dict[str, Any]],
    independent: float | None,
    steps_per_sweep: int = 1,
    best_step: int | None = None,
) -> Figure:
    """The ELBO against the sweep, and below it the log-likelihood of the held-out counts.

    Args:
      metrics: the lines of `metrics.jsonl`.
      independent: the test log-likelihood of independent columns, or None.
      steps_per_sweep: the number of steps that use all counts once.
      best_step: the step of the posterior that was kept, if it is not the last.
    """
    names = [name for name in _SCORES if any(name in line for line in metrics)]
    figure = Figure(figsize=(7.5, 6 if names else 3.6), layout="constrained")
    panels = figure.subplots(2 if names else 1, 1, sharex=True, squeeze=False)[:, 0]
    sweeps = [line["step"] / steps_per_sweep for line in metrics]
    panels[0].plot(sweeps, [line["elbo"] for line in metrics], color=_FIT, marker="o", ms=3)
    panels[0].set(ylabel="ELBO (nats)", ylim=_tail_limits([line["elbo"] for line in metrics]))
    panels[0].ticklabel_format(axis="y", style="plain", useOffset=False)
    for name in names:
        label, color = _SCORES[name]
        known = [(line["step"] / steps_per_sweep, line[name]) for line in metrics if name in line]
        panels[1].plot(*zip(*known, strict=True), color=color, marker="o", ms=3, label=label)
    if names:
        panels[1].set_ylabel("log-likelihood (nats)")
        if independent is not None:
            panels[1].axhline(independent, color="0.5", ls=":", label="independent columns")
        panels[1].legend(frameon=False)
    if best_step is not None:
        for axes in panels:
            axes.axvline(best_step / steps_per_sweep, color="C1", ls="--", lw=1, label="kept")
        panels[-1].legend(frameon=False)
    panels[-1].set_xlabel("sweep")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels:
        plain(axes)
    return figure


def _tail_limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits for the last 90 % of the sweeps; the first ones would dominate the range."""
    shown = np.asarray(values)[len(values) // 10 :]
    margin = 0.05 * max(np.ptp(shown), 1e-6 * abs(shown[-1]))
    return shown.min() - margin, shown.max() + margin


def factor_weights(shares: Float[np.ndarray, " K"]) -> Figure:
    """The share of all expected counts from each factor, by its number."""
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(1, shares.size + 1), shares, color=_FIT)
    axes.set(xlabel="factor", ylabel="share of all counts")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(axes)
    return figure


def factor_images(
    theta: np.ndarray, beta: np.ndarray, image_shape: tuple[int, int], per_row: int = 10
) -> Figure:
    """Each factor as an image of its mean contribution to a row of counts, in their order."""
    images = (beta * theta.mean(axis=0)).T
    rows = [
        ("Factors, heaviest first (mean counts)" if start == 0 else "", images[start:][:per_row])
        for start in range(0, len(images), per_row)
    ]
    return image_rows(rows, image_shape)


def factor_interval(
    low: np.ndarray, mean: np.ndarray, high: np.ndarray, image_shape: tuple[int, int]
) -> Figure:
    """One factor as three images on one scale: two quantiles, and the mean between them."""
    figure = Figure(figsize=(4.2, 1.6), layout="constrained")
    for axes, title, image in zip(
        figure.subplots(1, 3), ("5 %", "mean", "95 %"), (low, mean, high), strict=True
    ):
        axes.imshow(np.reshape(image, image_shape), cmap="gray_r", vmin=0, vmax=np.max(high))
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
    return figure


def synthetic_images(
    real: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    independent: tuple[np.ndarray, np.ndarray],
    image_shape: tuple[int, int],
) -> Figure:
    """Real images, and intensities and counts drawn from two models; images are flat rows."""
    rows = [("Real", real)]
    for name, (rates, counts) in (
        ("the factorization", factors),
        ("independent pixels", independent),
    ):
        rows += [(f"Intensities from {name}", rates), (f"Counts from {name}", counts)]
    return image_rows(rows, image_shape)


def search_paths(paths: Sequence[Sequence[tuple[int, float]]], labels: Sequence[str]) -> Figure:
    """The validation log-likelihood of candidates against the sweep, with dots at the ends.

    Args:
      paths: (sweep, log-likelihood) of every candidate, the winner's first.
      labels: their labels, each a color and a line of the legend; the others may share them.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    colors = dict(zip(dict.fromkeys(labels), ("C3", "0.6", "C0"), strict=False))
    firsts = {label: index for index, label in reversed(list(enumerate(labels)))}
    for index, path in reversed(list(enumerate(paths))):
        label = labels[index]
        color, (width, size) = colors[label], (2.5, 5) if index == 0 else (1, 3)
        name = label if firsts[label] == index else None
        axes.plot(*zip(*path, strict=True), color=color, lw=width, label=name)
        axes.plot(*path[-1], color=color, marker="o", ms=size)
    axes.set(xlabel="sweep", ylabel="validation log-likelihood (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="lower right")
    plain(axes)
    return figure


def factor_figures(
    weights: Float[np.ndarray, " K"],
    metrics: Sequence[dict[str, Any]],
    independent: float | None,
    steps_per_sweep: int = 1,
    best_step: int | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Yields the name and the figure of each plot for any factorization."""
    if metrics:
        yield "convergence", convergence(metrics, independent, steps_per_sweep, best_step)
    yield "factor_weights", factor_weights(weights)
