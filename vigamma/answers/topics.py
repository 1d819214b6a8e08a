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
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.special import gammaincinv, ndtri

from vigamma.answers.tables import aligned, beside
from vigamma.families.gamma import Gamma
from vigamma.runs.fitted import FittedRun

_NUM_DRAWS = 10_000


class Topics(NamedTuple):
    """The factors, heaviest first.

    Attributes:
      weights: one row per factor: factor (its index in the posterior, from 0), weight, low, high.
      columns: one row per factor, order ("mean" or "lift") and rank: factor, order, rank, name,
        mean, mean_low, mean_high, lift, lift_low, lift_high.
      interval: the probability of the intervals.
    """

    weights: pd.DataFrame
    columns: pd.DataFrame
    interval: float

    def table(self) -> str:
        """The topics as human-readable text."""
        title = f"{len(self.weights)} factors; {100 * self.interval:g} % intervals"
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
) -> Topics:
    """The weights of the factors, and the columns with the largest means and lifts.

    Args:
      run: from `load_run`.
      top: the maximum number of columns per factor and order, at least 1.
      interval: the probability of the credible intervals.
      exposures: e_n; shape (N,); by default 1.
      seed: the seed of the draws for the weights.

    Raises:
      ValueError: for a `top` or `interval` out of range.
    """
    if top < 1 or not 0 < interval < 1:
        raise ValueError(f"top must be at least 1, interval in (0, 1), got {top} and {interval}")
    q, names = run.factors.q, run.factors.column_names
    tails = np.array([1 - interval, 1 + interval]) / 2
    weights, low, high = _weights(q["rows"], q["columns"], exposures, tails, seed)
    order = np.argsort(-weights, kind="stable")
    frame = pd.DataFrame({"factor": order, "weight": weights[order]})
    frame = frame.assign(low=low[order], high=high[order])
    means = np.asarray(q["columns"].mean, np.float64)
    shares = means / means.sum(axis=0)
    lifts = shares / (shares @ weights)[:, None]
    tables = []
    for k in order:
        beta = Gamma(*(np.asarray(p[:, k], np.float64) for p in jax.tree.leaves(q["columns"])))
        chosen = {
            "mean": np.argsort(-means[:, k], kind="stable")[:top],
            "lift": _surest(beta, lifts[:, k], tails[0], top),
        }
        for name, best in chosen.items():
            columns = {"factor": k, "order": name, "rank": np.arange(len(best)) + 1}
            columns |= {"name": names[best].astype(object)}
            tables.append(pd.DataFrame(columns | _values(beta, lifts[:, k], best, tails)))
    return Topics(frame, pd.concat(tables, ignore_index=True), interval)


def _values(
    beta: Gamma, lifts: np.ndarray, best: np.ndarray, tails: np.ndarray
) -> dict[str, np.ndarray]:
    """The means and lifts of some columns in a factor, with the ends of their intervals."""
    shapes = beta.concentration[best]
    low, high = (gammaincinv(shapes, tail) / shapes for tail in tails)  # relative to the mean
    values: dict[str, np.ndarray] = {}
    for name, centers in (("mean", np.asarray(beta.mean)[best]), ("lift", lifts[best])):
        values |= {name: centers, f"{name}_low": centers * low, f"{name}_high": centers * high}
    return values


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
    rows: Gamma, columns: Gamma, exposures: np.ndarray | None, tails: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    exposures = np.ones(len(rows.rate)) if exposures is None else exposures
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
