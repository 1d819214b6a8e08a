"""Values of factors and their credible intervals, of a mean-field posterior or of samples.

weight_k, of `models.factor_order`, of sums Θ_k = Σ_n e_n θ_nk and B_k = Σ_m β_mk
lift_mk  = φ_mk / Σ_j weight_j φ_mj,            φ_mk = β_mk / B_k
amount_nk = e_n θ_nk B_k

None of them depends on how the scale of a factor is divided between rows and columns; the amounts
are expected counts, and Σ_k amount_nk φ_mk is the rate of a cell. See `answers.topics`.

Of counts drawn from a flat model (200 × 150 with 5 factors, mean count 1, four sets), mean-field
intervals of 90 % held 70 % of the true amounts and 50 % of the true shares, those of samples 90 %
and 89 %.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv, ndtri

from vigamma.families.gamma import Gamma
from vigamma.models.factor_model import Posterior
from vigamma.models.factor_order import factor_weights, weights_of_sums
from vigamma.runs.samples import Samples

_NUM_DRAWS = 10_000
_NUMBERS_AT_ONCE = 2**22  # bounds the memory for draws of rows or columns


class Interval(NamedTuple):
    """Means and the ends of their credible intervals, three arrays of one shape."""

    mean: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]


def values_of(
    q: Posterior,
    samples: Samples | None,
    exposures: Float[np.ndarray, " N"],
    tails: Float[np.ndarray, " 2"],
    seed: int = 0,
) -> "FactorValues":
    """The values of the factors of a posterior, in their order there.

    Args:
      q: the mean-field posterior.
      samples: draws that all values are of, with their factors matched to those of q; None for
        those of q itself, whose intervals are too narrow (see `answers.intervals`).
      exposures: e_n.
      tails: the probabilities at which intervals end.
      seed: of the draws for the weights of q.
    """
    if samples is None:
        return _OfPosterior(q, exposures, tails, seed)
    return _OfSamples(samples, np.asarray(q["columns"].mean), exposures, tails)


class FactorValues(Protocol):
    """The values of K factors.

    Attributes:
      weights: of each factor, and the ends of their intervals; each of shape (K,).
      means: E[β_mk].
    """

    weights: Interval
    means: np.ndarray

    def surest(self, factor: int, top: int) -> np.ndarray:
        """The columns with the largest lower ends of the intervals of their lifts."""

    def of_columns(self, factor: int, columns: np.ndarray) -> dict[str, np.ndarray]:
        """The means and lifts of some columns in a factor, with the ends of their intervals."""

    def amounts(self) -> Interval:
        """The expected counts of each row from each factor; float32 of shape (N, K)."""

    def shares(self) -> Interval:
        """The share φ_mk of each column in the counts of each factor; float32 of shape (M, K)."""


class _OfPosterior(FactorValues):
    """Values of a product of Gammas."""

    def __init__(self, q: Posterior, exposures: np.ndarray, tails: np.ndarray, seed: int) -> None:
        self._rows, self._columns, self._tails = q["rows"], q["columns"], tails
        self._exposures = exposures
        self.weights = _weights(q, exposures, tails, seed)
        self.means = np.asarray(self._columns.mean, np.float64)
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

    def amounts(self) -> Interval:
        return self._scaled(self._rows, self._exposures[:, None] * self.means.sum(axis=0))

    def shares(self) -> Interval:
        return self._scaled(self._columns, 1 / self.means.sum(axis=0, keepdims=True))

    def _scaled(self, q: Gamma, scales: np.ndarray) -> Interval:
        shapes = np.asarray(q.concentration, np.float64)
        scales = scales / np.asarray(q.rate, np.float64)
        ends = (gammaincinv(shapes, tail) for tail in self._tails)
        return Interval(*((values * scales).astype(np.float32) for values in (shapes, *ends)))


class _OfSamples(FactorValues):
    """Values of posterior samples, whose factors are matched to those of a reference."""

    def __init__(
        self, samples: Samples, reference: np.ndarray, exposures: np.ndarray, tails: np.ndarray
    ) -> None:
        self._samples, self._tails, self._exposures = samples, tails, exposures
        weights, sums = [], []
        self._matches = samples.matches(reference)
        self.means, self._lifts, self._squares = (np.zeros(reference.shape) for _ in range(3))
        for theta, beta in samples.pairs(self._matches):
            total = beta.sum(axis=0, dtype=np.float64)
            weight = weights_of_sums(exposures @ theta, total)
            lifts = _lifts(beta, total, weight)
            self.means += beta
            self._lifts += lifts
            self._squares += lifts**2
            weights.append(weight)
            sums.append(total)
        self._weights, self._sums = np.array(weights), np.array(sums)
        for table in (self.means, self._lifts, self._squares):
            table /= len(weights)
        self.weights = self._summary(self._weights)

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
            mean, low, high = self._summary(own)
            values |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return values

    def amounts(self) -> Interval:
        def draws(block: slice) -> np.ndarray:
            theta = self._samples.matched("rows", block, self._matches)
            return theta * self._exposures[block, None] * self._sums[:, None]

        return self._in_blocks(len(self._exposures), draws)

    def shares(self) -> Interval:
        def draws(block: slice) -> np.ndarray:
            return self._samples.matched("columns", block, self._matches) / self._sums[:, None]

        return self._in_blocks(len(self.means), draws)

    def _in_blocks(self, size: int, draws: Callable[[slice], np.ndarray]) -> Interval:
        at_once = max(1, _NUMBERS_AT_ONCE // self._sums.size)
        blocks = (slice(start, start + at_once) for start in range(0, size, at_once))
        parts = zip(*(self._summary(draws(block)) for block in blocks), strict=True)
        return Interval(*(np.concatenate(part).astype(np.float32) for part in parts))

    def _summary(self, draws: np.ndarray) -> Interval:
        """The means and intervals of draws along the first axis."""
        low, high = np.quantile(draws, self._tails, axis=0, method="weibull")
        return Interval(draws.mean(axis=0), low, high)


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


def _weights(q: Posterior, exposures: np.ndarray, tails: np.ndarray, seed: int) -> Interval:
    mean, rng = factor_weights(q, exposures), np.random.default_rng(seed)
    sums = [_sum(q["rows"], exposures), _sum(q["columns"], np.ones(len(q["columns"].rate)))]
    size = _NUM_DRAWS, mean.size
    drawn = (rng.standard_gamma(s.concentration, size) / s.rate for s in sums)
    low, high = np.quantile(weights_of_sums(*drawn), tails, axis=0)
    return Interval(mean, low, high)


def _sum(factors: Gamma, scales: np.ndarray) -> Gamma:
    """The Gamma with the moments of Σ_n s_n θ_nk; shape (K,)."""
    concentration, rate = (
        np.asarray(part, np.float64) for part in (factors.concentration, factors.rate)
    )
    scaled = scales[:, None] / rate
    mean, variance = (concentration * scaled).sum(0), (concentration * scaled**2).sum(0)
    return Gamma(mean**2 / variance, mean / variance)
