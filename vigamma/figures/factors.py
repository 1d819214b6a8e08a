"""Figures of a factorization: convergence, factors, and images if rows are images."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vigamma.diagnostics.redundant_factors import redundant_factors
from vigamma.figures.palette import DATA, GUIDE, MODEL, VALIDATION
from vigamma.figures.posteriors import draw_image, image_rows, plain

_SCORES = {
    "heldout_log_likelihood": ("held out for the test", DATA),
    "valid_log_likelihood": ("held out for validation", VALIDATION),
}


def convergence(
    metrics: Sequence[dict[str, Any]],
    independent: float | None,
    steps_per_sweep: int = 1,
    best_step: int | None = None,
) -> Figure:
    """The ELBO against the sweep, and beside it the log-likelihood of the held-out counts.

    The sweep that was kept is a dashed line, and the best one of each held-out score a star: where
    a score falls after its star, the fit learns its training counts by heart.

    Args:
      metrics: the lines of `metrics.jsonl`.
      independent: the test log-likelihood of independent columns, or None.
      steps_per_sweep: the number of steps that use all counts once.
      best_step: the step of the posterior that was kept, if it is not the last.
    """
    names = [name for name in _SCORES if any(name in line for line in metrics)]
    figure = Figure(figsize=(10, 3.2) if names else (7.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
    sweeps = [line["step"] / steps_per_sweep for line in metrics]
    panels[0].plot(sweeps, [line["elbo"] for line in metrics], color=MODEL, marker="o", ms=3)
    panels[0].set(ylabel="ELBO (nats)", ylim=_tail_limits([line["elbo"] for line in metrics]))
    panels[0].ticklabel_format(axis="y", style="plain", useOffset=False)
    kept = sweeps[-1] if best_step is None else best_step / steps_per_sweep
    for axes in panels:
        axes.axvline(kept, color=GUIDE, ls="--", lw=1, label=f"kept: sweep {kept:g}")
        axes.set_xlabel("sweep")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)
    if names:
        scores = {
            name: [(line["step"] / steps_per_sweep, line[name]) for line in metrics if name in line]
            for name in names
        }
        _draw_scores(panels[1], scores, independent)
    return figure


def _draw_scores(
    axes: Axes, scores: dict[str, list[tuple[float, float]]], independent: float | None
) -> None:
    """Draws held-out scores in their range; what lies far below is in the legend only."""
    for name, path in scores.items():
        label, color = _SCORES[name]
        sweep, score = max(path, key=lambda point: point[1])
        axes.plot(*zip(*path, strict=True), color=color, marker="o", ms=3, label=label)
        axes.plot(
            sweep, score, "*", color=color, ms=13, mec="white", label=f"its best: sweep {sweep:g}"
        )
    ends = np.array([_tail_limits([score for _, score in path]) for path in scores.values()])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if independent is not None:
        is_near = independent > low - (high - low)
        low = min(low, independent - 0.05 * (high - low)) if is_near else low
        name = f"without factors: {independent:.4g}{'' if is_near else ', below'}"
        axes.axhline(independent, color=GUIDE, ls=":", label=name)
    high += 0.05 * (high - low)  # a path that hardly rises has hardly a margin of its own
    axes.set(ylabel="log-likelihood (nats)", ylim=(low, high))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(frameon=False, fontsize=8)


def _tail_limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits for the last 90 % of the sweeps; the first ones would dominate the range."""
    shown = np.asarray(values)[len(values) // 10 :]
    margin = 0.05 * max(np.ptp(shown), 1e-6 * abs(shown[-1]))
    return shown.min() - margin, shown.max() + margin


def factor_weights(shares: Float[np.ndarray, " K"]) -> Figure:
    """The share of all expected counts from each factor, by its number."""
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(1, shares.size + 1), shares, color=MODEL)
    axes.set(xlabel="factor", ylabel="share of all counts")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(axes)
    return figure


def factor_images(
    theta: np.ndarray, beta: np.ndarray, image_shape: tuple[int, int], per_row: int = 10
) -> Figure:
    """Each factor as an image of its mean contribution to a row of counts, in their order.

    Idle factors, which would be blank, are left out, and counted in the title.
    """
    idle = redundant_factors(theta, beta).idle
    images = np.delete((beta * theta.mean(axis=0)).T, idle, axis=0)
    title = "Factors, heaviest first (mean counts)"
    if idle:
        title += f"; {len(idle)} of {beta.shape[1]} are idle"
    rows = [
        (title if start == 0 else "", images[start:][:per_row])
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
        draw_image(axes, np.reshape(image, image_shape), np.max(high))
        axes.set_title(title, fontsize=10)
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
    colors = dict(zip(dict.fromkeys(labels), (DATA, GUIDE, MODEL), strict=False))
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
