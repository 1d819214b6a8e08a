"""Figures of a fit, by Matplotlib; nothing here is random."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import matplotlib
import numpy as np
import scipy.special
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from vigamma.families.gamma import Gamma
from vigamma.figures.palette import DATA, GUIDE, INK, MODEL, PALE, SOFT
from vigamma.storage.atomic_files import replace_file

_BY_NUMBER = matplotlib.colormaps["viridis_r"]
_METRICS = ("step", "elbo", "kl_to_exact")
_DPI = 150


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG file atomically."""
    content = io.BytesIO()
    figure.savefig(content, dpi=_DPI, format="png")
    replace_file(path, content.getvalue())


def run_figures(
    knowledge: np.ndarray,
    counts: np.ndarray,
    *,
    prior: Gamma,
    exact: Gamma,
    q: Gamma,
    synthetic: np.ndarray,
    image_shape: tuple[int, int],
    metrics: Sequence[Mapping[str, float]],
    log_evidence: float,
    tolerance: float,
) -> Iterator[tuple[str, Figure]]:
    """Yields the name and the figure of each plot of a run on images.

    "posterior_densities" shows two pixels, a dim and a bright one. The pixel of
    "posterior_by_number_of_images" is that whose mean deviates most from the prior mean, in prior
    standard deviations.
    """
    by_brightness = np.argsort(np.asarray(exact.mean))
    two = [int(by_brightness[int(share * len(by_brightness))]) for share in (0.5, 0.97)]
    yield "posterior_images", posterior_images(knowledge, q, image_shape, len(counts))
    yield "posterior_densities", posterior_densities(q, exact, prior, two)
    rows = [("Synthetic: θ ~ q, x ~ Poisson(θ)", synthetic), ("Real", counts[:10])]
    yield "synthetic_digits", image_rows(rows, image_shape)
    surprise = np.abs(counts.mean(axis=0) - prior.mean) / np.sqrt(prior.variance)
    name = "posterior_by_number_of_images"
    yield name, posterior_by_number_of_images(prior, counts, int(surprise.argmax()))
    if metrics:
        steps, elbo, kl = ([line[name] for line in metrics] for name in _METRICS)
        yield "convergence", convergence(steps, elbo, kl, log_evidence, tolerance)


def posterior_images(
    knowledge: np.ndarray, q: Gamma, image_shape: tuple[int, int], num_rows: int
) -> Figure:
    """The domain-knowledge image, and the mean and standard deviation of q, as images."""
    panels: tuple[tuple[str, ArrayLike], ...] = (
        ("Domain knowledge $x_0$", knowledge),
        (f"Posterior mean, {num_rows} images", q.mean),
        ("Posterior standard deviation", np.sqrt(q.variance)),
    )
    brightest = max(np.max(knowledge), np.max(q.mean))
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    for axes, (title, values) in zip(figure.subplots(1, 3), panels, strict=True):
        top = np.max(values) if title.endswith("deviation") else brightest
        picture = draw_image(axes, np.reshape(values, image_shape), top)
        axes.set_title(title)
        figure.colorbar(picture, ax=axes, shrink=0.85, label="counts")
    return figure


def posterior_densities(q: Gamma, exact: Gamma, prior: Gamma, columns: Sequence[int]) -> Figure:
    """The densities of q, of the exact posterior and of the prior, for some columns."""
    figure = Figure(figsize=(5.2 * len(columns), 3.8), layout="constrained")
    for axes, column in zip(np.atleast_1d(figure.subplots(1, len(columns))), columns, strict=True):
        fit, truth, before = (_Column.of(gamma, column) for gamma in (q, exact, prior))
        low, high = truth.quantile(np.array([1e-5, 1 - 1e-5]))
        margin = 0.6 * (high - low)
        theta = np.linspace(max(low - margin, 1e-6), high + margin, 600)
        axes.plot(theta, before.density(theta), color=GUIDE, ls=":", lw=2, label="prior")
        axes.fill_between(theta, truth.density(theta), color=PALE, alpha=0.3, lw=0)
        axes.plot(theta, truth.density(theta), color=PALE, lw=5, label=r"exact $p(\theta\,|\,x)$")
        axes.plot(
            theta, fit.density(theta), color=MODEL, ls="--", lw=2, label=r"fitted $q(\theta)$"
        )
        axes.set(title=f"Pixel {column}", xlabel=r"intensity $\theta$ (counts)", ylabel="density")
        axes.set_ylim(bottom=0)
        axes.set_xlim(theta[0], theta[-1])
        axes.legend(frameon=False)
        plain(axes)
    return figure


def image_rows(rows: Sequence[tuple[str, np.ndarray]], image_shape: tuple[int, int]) -> Figure:
    """Rows of images, each row with a title; all on the same color scale."""
    longest = max(len(images) for _, images in rows)
    brightest = max(np.max(images) for _, images in rows)
    figure = Figure(figsize=(1.05 * longest + 0.4, 1.4 * len(rows) + 0.2), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, images) in zip(parts, rows, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=11)
        for index, axes in enumerate(np.atleast_1d(part.subplots(1, longest))):
            if index < len(images):
                draw_image(axes, np.reshape(images[index], image_shape), brightest)
            else:
                axes.set_axis_off()
    return figure


def convergence(
    steps: Sequence[float],
    elbo: Sequence[float],
    kl: Sequence[float],
    log_evidence: float,
    tolerance: float,
) -> Figure:
    """The ELBO and the log evidence against the step, and KL(q ‖ exact) in a panel below."""
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.axhline(log_evidence, color=INK, lw=2, label="log evidence (exact)")
    above.plot(steps, elbo, color=MODEL, marker="o", ms=3, label="ELBO (estimate)")
    near = np.abs(np.asarray(elbo) - log_evidence)
    spread = max(3 * np.median(near), 1.0)  # the start of a run would dominate the range
    above.set_ylim(log_evidence - spread, log_evidence + 0.25 * spread)
    above.set_ylabel("nats")
    above.ticklabel_format(useOffset=False)
    below.axhline(tolerance, color=GUIDE, ls=":", lw=2, label="promised by the config")
    below.semilogy(steps, kl, color=MODEL, marker="o", ms=3, label="KL(q ‖ exact), all latents")
    below.set(xlabel="step", ylabel="nats")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, place in ((above, "lower right"), (below, "upper right")):
        axes.legend(frameon=False, loc=place)
        plain(axes)
    return figure


def elbo_path(steps: Sequence[int], elbo: Sequence[float]) -> Figure:
    """The ELBO, or its estimate, against the step, in the range of the second half."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, elbo, color=MODEL, marker="o", ms=3)
    late = np.asarray(elbo)[len(elbo) // 2 :]
    margin = max(late.max() - late.min(), 1e-6 * abs(late.max()), 1e-6)
    axes.set_ylim(late.min() - 3 * margin, late.max() + margin)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(xlabel="step", ylabel="ELBO (nats)")
    plain(axes)
    return figure


def intervals(lines: Sequence[tuple[str, float, float, float]]) -> Figure:
    """Means and intervals of latents on a logarithmic axis, from (name, mean, low, high)."""
    names, *numbers = zip(*lines, strict=True)
    means, lows, highs = (np.array(values) for values in numbers)
    figure = Figure(figsize=(7.5, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = -np.arange(len(names))
    axes.hlines(places, lows, highs, color=MODEL, lw=3, alpha=0.5)
    axes.plot(means, places, "o", color=INK, ms=4)
    axes.set_yticks(places, names)
    axes.set_xscale("log")
    axes.set_xlabel("mean and 90 % interval")
    plain(axes)
    return figure


def posterior_by_number_of_images(prior: Gamma, counts: np.ndarray, column: int) -> Figure:
    """The exact posterior of one column for increasing numbers of rows, from the prior on."""
    seen = [0, *(m for m in (1, 3, 10, 30, 100) if m < len(counts)), len(counts)]
    a, b = np.asarray(prior.concentration)[column], np.asarray(prior.rate)[column]
    posteriors = [_Column(a + counts[:m, column].sum(), b + m) for m in seen]
    ends = np.array([[p.quantile(0.01), p.quantile(0.99)] for p in posteriors])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    theta = np.linspace(max(low - 0.12 * (high - low), 1e-6), high, 800)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.linspace(0.15, 1, len(seen) - 1)
    styles = [{"ls": "--", "color": GUIDE}, *({"color": _BY_NUMBER(place)} for place in places)]
    for m, posterior, style in zip(seen, posteriors, styles, strict=True):
        label = "prior, no image" if m == 0 else f"{m} image{'s' if m > 1 else ''}"
        axes.plot(theta, posterior.density(theta), lw=2.2, label=label, **style)
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.set_xlim(theta[0], theta[-1])
    means = (("prior mean", a / b, GUIDE), ("data mean", counts[:, column].mean(), DATA))
    for index, (name, mean, color) in enumerate(sorted(means, key=lambda item: item[1])):
        axes.axvline(mean, color=color, ls=":", lw=1.5)
        place: dict[str, Any] = {
            "xytext": (5 if index else -5, -4),
            "ha": "left" if index else "right",
        }
        axes.annotate(
            name,
            (mean, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=color,
            **place,
        )
    axes.set(xlabel=rf"intensity $\theta$ of pixel {column} (counts)", ylabel="posterior density")
    axes.legend(frameon=False, loc="center right")
    plain(axes)
    return figure


def draw_image(axes: Axes, image: np.ndarray, brightest: float) -> AxesImage:
    """Draws a framed image in grays, black where it is `brightest`."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=GUIDE, linewidth=0.6)
    return axes.imshow(image, cmap="gray_r", vmin=0, vmax=brightest)


class _Column(NamedTuple):
    """The Gamma distribution of one column, in NumPy: `scipy.stats` takes 0.4 s to import."""

    shape: float
    rate: float

    @classmethod
    def of(cls, gamma: Gamma, column: int) -> Self:
        return cls(*(np.asarray(p)[column] for p in (gamma.concentration, gamma.rate)))

    def density(self, x: np.ndarray) -> np.ndarray:
        a, b = self
        return np.exp(a * np.log(b) + (a - 1) * np.log(x) - b * x - scipy.special.gammaln(a))

    def quantile(self, probability: Any) -> Any:
        return scipy.special.gammaincinv(self.shape, probability) / self.rate


def plain(axes: Axes) -> None:
    """Removes the top and right borders of a plot, and draws the others in the colors of a page."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(GUIDE)
    axes.tick_params(which="both", color=GUIDE, labelcolor=SOFT)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(INK)
