"""Topics: the weights of the factors, and the most characteristic columns of each.

With Θ_k = Σ_n e_n θ_nk and B_k = Σ_m β_mk, the expected counts from factor k are Θ_k B_k, and the
share of column m in them is φ_mk = β_mk / B_k. Then

weight_k = E[Θ_k] E[B_k] / Σ_j E[Θ_j] E[B_j]
lift_mk  = φ_mk / Σ_j weight_j φ_mj

at the posterior means. The lift is how many times more frequent column m is in factor k than in all
counts; it is at most 1 / weight_k. Neither depends on how the scale of a factor is divided.

The intervals of β_mk are quantiles of its Gamma. Those of the lift are the same, scaled by lift_mk
/ E[β_mk]. Columns are ordered by E[β_mk], and by the lower end of the interval of the lift, because
the lift itself is largest, by chance, for columns with only one or two counts. The intervals of the
weights are from draws in which Θ_k and B_k are Gammas with the moments of these sums.

With posterior samples, all of these are means and quantiles over the draws, after the factors of
each draw are matched to those of the fit by their cosines. Where chains do not agree on single
factors, which `scripts/sample.py` says, intervals include the differences between their solutions.
"""

from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import pandas as pd
from scipy.special import gammaincinv, ndtri

from vigamma.answers.intervals import samples_for
from vigamma.answers.tables import aligned, beside
from vigamma.families.gamma import Gamma
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals, Samples

_NUM_DRAWS = 10_000


class Topics(NamedTuple):
    """The factors, heaviest first.

    Attributes:
      weights: one row per factor: factor (its index in the posterior, from 0), weight, low, high.
      columns: one row per factor, order ("mean" or "lift") and rank: factor, order, rank, name,
        mean, mean_low, mean_high, lift, lift_low, lift_high.
      interval: the probability of the intervals.
      num_draws: the posterior samples that they are of; 0 for those of the mean-field posterior.
    """

    weights: pd.DataFrame
    columns: pd.DataFrame
    interval: float
    num_draws: int = 0

    def table(self) -> str:
        """The topics as human-readable text."""
        title = f"{len(self.weights)} factors; {100 * self.interval:g} % intervals"
        if self.num_draws:
            title += f" of {self.num_draws:,} posterior samples"
        return "\n\n".join([title, *map(self._of_factor, self.weights.itertuples())])

    def _of_factor(self, factor: Any) -> str:
        own = self.columns[self.columns.factor == factor.factor]
        blocks = []
        for order in ("mean", "lift"):
            best = own[own.order == order]
            parts = {f"by {order}": best.name, order: best[order]}
            parts |= {end: best[f"{order}_{end}"] for end in ("low", "high")}
            blocks.append(aligned(parts))
        lines = [line.rstrip() for line in beside(*blocks, gap=4)]
        title = (
            f"Factor {factor.factor}: {factor.weight:.1%} of the counts "
            f"({factor.low:.1%} to {factor.high:.1%})"
        )
        return "\n  ".join([title, *lines])


def topics(
    run: FittedRun,
    top: int = 10,
    interval: float = 0.9,
    exposures: np.ndarray | None = None,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> Topics:
    """The weights of the factors, and the columns with the largest means and lifts.

    Args:
      run: from `load_run`.
      top: the maximum number of columns per factor and order, at least 1.
      interval: the probability of the credible intervals.
      exposures: e_n; shape (N,); by default 1.
      seed: the seed of the draws for the weights.
      intervals: "sampled", of the posterior samples of the run, as are all values then;
        "variational", of the mean-field approximation, which are too narrow; by default of the
        samples if there are any, and the run has a single start.

    Raises:
      ConfigError: for sampled intervals of a run without samples.
      ValueError: for a `top` or `interval` out of range.
    """
    if top < 1 or not 0 < interval < 1:
        raise ValueError(f"top must be at least 1, interval in (0, 1), got {top} and {interval}")
    q, names = run.factors.q, run.factors.column_names
    exposures = np.ones(len(q["rows"].rate)) if exposures is None else exposures
    tails = np.array([1 - interval, 1 + interval]) / 2
    samples = samples_for(run, intervals)
    found: _Values
    if samples is None:
        found = _OfPosterior(q["rows"], q["columns"], exposures, tails, seed)
    else:
        found = _OfSamples(samples, np.asarray(q["columns"].mean), exposures, tails)
    weights, low, high = found.weights
    order = np.argsort(-weights, kind="stable")
    frame = pd.DataFrame({"factor": order, "weight": weights[order]})
    frame = frame.assign(low=low[order], high=high[order])
    tables = []
    for k in order:
        chosen = {
            "mean": np.argsort(-found.means[:, k], kind="stable")[:top],
            "lift": found.surest(k, top),
        }
        for name, best in chosen.items():
            columns = {"factor": k, "order": name, "rank": np.arange(len(best)) + 1}
            columns |= {"name": names[best].astype(object)}
            tables.append(pd.DataFrame(columns | found.of_columns(k, best)))
    columns_table = pd.concat(tables, ignore_index=True)
    return Topics(frame, columns_table, interval, 0 if samples is None else samples.num_draws)


class _Values(Protocol):
    """What the tables are made of.

    Attributes:
      weights: of each factor, and the ends of their intervals; each of shape (K,).
      means: E[β_mk].
    """

    weights: tuple[np.ndarray, np.ndarray, np.ndarray]
    means: np.ndarray

    def surest(self, factor: int, top: int) -> np.ndarray:
        """The columns with the largest lower ends of the intervals of their lifts."""

    def of_columns(self, factor: int, columns: np.ndarray) -> dict[str, np.ndarray]:
        """The means and lifts of some columns in a factor, with the ends of their intervals."""


class _OfPosterior(_Values):
    """Values of a product of Gammas."""

    def __init__(
        self, rows: Gamma, columns: Gamma, exposures: np.ndarray, tails: np.ndarray, seed: int
    ) -> None:
        self._columns, self._tails = columns, tails
        self.weights = _weights(rows, columns, exposures, tails, seed)
        self.means = np.asarray(columns.mean, np.float64)
        shares = self.means / self.means.sum(axis=0)
        self._lifts = shares / (shares @ self.weights[0])[:, None]

    def _of_factor(self, factor: int) -> Gamma:
        parts = jax.tree.leaves(self._columns)
        return Gamma(*(np.asarray(part[:, factor], np.float64) for part in parts))

    def surest(self, factor: int, top: int) -> np.ndarray:
        return _surest(self._of_factor(factor), self._lifts[:, factor], self._tails[0], top)

    def of_columns(self, factor: int, columns: np.ndarray) -> dict[str, np.ndarray]:
        shapes = self._of_factor(factor).concentration[columns]
        low, high = (gammaincinv(shapes, t) / shapes for t in self._tails)  # relative to the mean
        values: dict[str, np.ndarray] = {}
        for name, table in (("mean", self.means), ("lift", self._lifts)):
            centers = table[columns, factor]
            values |= {name: centers, f"{name}_low": centers * low, f"{name}_high": centers * high}
        return values


class _OfSamples(_Values):
    """Values of posterior samples, whose factors are matched to those of a reference."""

    def __init__(
        self, samples: Samples, reference: np.ndarray, exposures: np.ndarray, tails: np.ndarray
    ) -> None:
        self._samples, self._tails = samples, tails
        weights, sums = [], []
        self._matches = samples.matches(reference)
        self.means, self._lifts, self._squares = (np.zeros(reference.shape) for _ in range(3))
        for theta, beta in samples.pairs(self._matches):
            total = beta.sum(axis=0, dtype=np.float64)
            expected = (exposures @ theta) * total
            weight = expected / expected.sum()
            lifts = _lifts(beta, total, weight)
            self.means += beta
            self._lifts += lifts
            self._squares += lifts**2
            weights.append(weight)
            sums.append(total)
        self._weights, self._sums = np.array(weights), np.array(sums)
        for table in (self.means, self._lifts, self._squares):
            table /= len(weights)
        low, high = np.quantile(self._weights, tails, axis=0, method="weibull")
        self.weights = self._weights.mean(axis=0), low, high

    def surest(self, factor: int, top: int) -> np.ndarray:
        mean = self._lifts[:, factor]
        sd = np.sqrt(np.maximum(self._squares[:, factor] - mean**2, 0))
        promising = np.lexsort((-mean, -(mean + ndtri(self._tails[0]) * sd)))[: 10 * top + 100]
        lows = self.of_columns(factor, promising)["lift_low"]
        return promising[np.argsort(-lows, kind="stable")[:top]]

    def of_columns(self, factor: int, columns: np.ndarray) -> dict[str, np.ndarray]:
        beta = self._samples.matched("columns", columns, self._matches).astype(np.float64)
        lifts = _lifts(beta, self._sums[:, None], self._weights[:, None])
        values: dict[str, np.ndarray] = {}
        for name, draws in (("mean", beta), ("lift", lifts)):
            own = draws[:, :, factor]
            low, high = np.quantile(own, self._tails, axis=0, method="weibull")
            values |= {name: own.mean(axis=0), f"{name}_low": low, f"{name}_high": high}
        return values


def _lifts(beta: np.ndarray, total: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """φ_mk / Σ_j weight_j φ_mj, with φ_mk = β_mk / total_k."""
    shares = beta / total
    return shares / (shares * weights).sum(axis=-1, keepdims=True)


def _surest(beta: Gamma, lifts: np.ndarray, tail: float, top: int) -> np.ndarray:
    """The columns with the largest lower ends of the intervals of their lifts.

    An exact quantile takes microseconds. It is computed only for the columns that are best by the
    approximation of Wilson & Hilferty (1931): a (1 - 1 / 9a + z / 3√a)³.
    """
    a = beta.concentration
    root = 1 - 1 / (9 * a) + ndtri(tail) / (3 * np.sqrt(a))
    promising = np.lexsort((-lifts, -lifts * np.maximum(root, 0) ** 3))[: 10 * top + 100]
    lows = lifts[promising] * gammaincinv(a[promising], tail) / a[promising]
    return promising[np.argsort(-lows, kind="stable")[:top]]


def _weights(
    rows: Gamma, columns: Gamma, exposures: np.ndarray, tails: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sums = [_sum(rows, exposures), _sum(columns, np.ones(len(columns.rate)))]
    expected = np.asarray(sums[0].mean * sums[1].mean)
    rng = np.random.default_rng(seed)
    size = _NUM_DRAWS, expected.size
    drawn = np.prod([rng.standard_gamma(s.concentration, size) / s.rate for s in sums], axis=0)
    low, high = np.quantile(drawn / drawn.sum(axis=1, keepdims=True), tails, axis=0)
    return expected / expected.sum(), low, high


def _sum(factors: Gamma, scales: np.ndarray) -> Gamma:
    """The Gamma with the moments of Σ_n s_n θ_nk; shape (K,)."""
    concentration, rate = (
        np.asarray(part, np.float64) for part in (factors.concentration, factors.rate)
    )
    scaled = scales[:, None] / rate
    mean, variance = (concentration * scaled).sum(0), (concentration * scaled**2).sum(0)
    return Gamma(mean**2 / variance, mean / variance)
