"""Topics: the weights of the factors, and the most characteristic columns of each.

With Θ_k = Σ_n e_n θ_nk and B_k = Σ_m β_mk, the expected counts from factor k are Θ_k B_k, and the
share of column m in them is φ_mk = β_mk / B_k. Then

weight_k = E[Θ_k] E[B_k] / Σ_j E[Θ_j] E[B_j]
lift_mk  = φ_mk / Σ_j weight_j φ_mj

at the posterior means. Factor k is that of index k - 1 in the posterior, which has the heaviest
first. The lift is how many times more frequent column m is in factor k than in all
counts; it is at most 1 / weight_k. Neither depends on how the scale of a factor is divided.

The intervals of β_mk are quantiles of its Gamma. Those of the lift are the same, scaled by lift_mk
/ E[β_mk]. Columns are ordered by E[β_mk], and by the lower end of the interval of the lift, because
the lift itself is largest, by chance, for columns with only one or two counts. The intervals of the
weights are from draws in which Θ_k and B_k are Gammas with the moments of these sums.

With posterior samples, all of these are means and quantiles over the draws, after the factors of
each draw are matched to those of the fit by their cosines. Where chains do not agree on single
factors, which the command `sample` says, intervals include the differences between their solutions.
Factors keep the order and the numbers that they have in the fit, also where the mean weights of
draws are in another order.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vigamma.answers.factor_values import values_of
from vigamma.answers.intervals import samples_for
from vigamma.answers.tables import aligned, beside
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals
from vigamma.terminal.numbers import estimate


class Topics(NamedTuple):
    """The factors, heaviest first in the fit.

    Attributes:
      weights: one row per factor: factor (its number, from 1), weight, low, high.
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
        ends = factor.low, factor.high
        weight, low, high = (estimate(share, ends, 100) for share in (factor.weight, *ends))
        title = f"Factor {factor.factor}: {weight}% of the counts ({low}% to {high}%)"
        return "\n  ".join([title, *lines])


def topics(
    run: FittedRun,
    top: int = 10,
    interval: float = 0.9,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> Topics:
    """The weights of the factors, and the columns with the largest means and lifts.

    Args:
      run: from `load_run`.
      top: the maximum number of columns per factor and order, at least 1.
      interval: the probability of the credible intervals.
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
    exposures = np.ones(len(q["rows"].rate)) if run.exposures is None else run.exposures
    tails = np.array([1 - interval, 1 + interval]) / 2
    samples = samples_for(run, intervals)
    found = values_of(q, samples, exposures, tails, seed)
    weights, low, high = found.weights
    numbers = np.arange(len(weights)) + 1
    frame = pd.DataFrame({"factor": numbers, "weight": weights, "low": low, "high": high})
    tables = []
    for k, number in enumerate(numbers):
        chosen = {
            "mean": np.argsort(-found.means[:, k], kind="stable")[:top],
            "lift": found.surest(k, top),
        }
        for name, best in chosen.items():
            columns = {"factor": number, "order": name, "rank": np.arange(len(best)) + 1}
            columns |= {"name": names[best].astype(object)}
            tables.append(pd.DataFrame(columns | found.of_columns(k, best)))
    columns_table = pd.concat(tables, ignore_index=True)
    return Topics(frame, columns_table, interval, 0 if samples is None else samples.num_draws)
