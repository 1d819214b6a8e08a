"""The factors of a run in the report: an overview, and tables of columns or images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vigamma.diagnostics.factor_columns import (
    FactorColumns,
    factor_in_mean_row,
    factor_summaries,
    summaries_of,
)
from vigamma.diagnostics.redundant_factors import idle_below, redundant_factors
from vigamma.figures import factors as plotting_factors
from vigamma.figures import memberships
from vigamma.models.factor_order import weights_of_sums
from vigamma.report.rendering import picture
from vigamma.report.results import Results
from vigamma.runs.samples import Samples

_NUM_MARKS = 6
"""How many columns name a factor in the overview."""


class _Draws:
    """Factors of posterior samples, matched to those of the fit.

    Attributes:
      phi: E[φ_mk], with φ_mk = β_mk / Σ_m β_mk; shape (M, K).
      shares: the expected shares of the factors in all expected counts; shape (K,).
    """

    def __init__(self, results: Results, samples: Samples) -> None:
        self._samples, exposures = samples, results.data.exposures
        self._matches = samples.matches(np.asarray(results.run.factors.q["columns"].mean))
        self.phi = np.zeros(results.beta.shape)
        row_sums, totals = [], []
        for theta, beta in samples.pairs(self._matches):
            totals.append(beta.sum(axis=0, dtype=np.float64))
            row_sums.append(exposures @ theta)
            self.phi += beta / totals[-1]
        self.phi /= samples.num_draws
        self._totals, self._mean_rows = np.array(totals), np.array(row_sums) / len(exposures)
        self.shares = weights_of_sums(self._mean_rows, self._totals).mean(axis=0)

    def of_columns(self, k: int, columns: np.ndarray) -> FactorColumns:
        """φ_mk of some columns."""
        return self._scaled(k, columns, 1 / self._totals[:, k])

    def in_mean_row(self, k: int) -> FactorColumns:
        """β_mk mean_n(e_n θ_nk) of all columns."""
        return self._scaled(k, np.arange(len(self.phi)), self._mean_rows[:, k])

    def _scaled(self, k: int, columns: np.ndarray, scales: np.ndarray) -> FactorColumns:
        beta = self._samples.taken("columns", columns)
        own = np.take_along_axis(beta, self._matches[:, None, k, None], axis=2)[:, :, 0]
        values = own * scales[:, None]
        low, high = np.quantile(values, [0.05, 0.95], axis=0, method="weibull")
        return FactorColumns(columns, values.mean(axis=0), low, high)


def factors_of(results: Results) -> list[dict[str, Any]]:
    """All factors, in the order of the fit; with an image if rows are images.

    They are those of posterior samples, if the run has any.
    """
    columns, samples = results.run.factors.q["columns"], results.run.samples
    if samples is None:
        summaries = factor_summaries(columns, results.run.weights)
        in_mean_row: Callable[[int], FactorColumns]
        in_mean_row = partial(factor_in_mean_row, results.theta, columns)
    else:
        draws = _Draws(results, samples)
        summaries = summaries_of(draws.phi, draws.shares, draws.of_columns)
        in_mean_row = draws.in_mean_row
    found = []
    for summary in summaries:
        image = None
        if results.image_shape is not None:
            _, mean, low, high = in_mean_row(summary.index)
            image = picture(plotting_factors.factor_interval(low, mean, high, results.image_shape))
        found.append(
            {
                "summary": summary,
                "heaviest": _shares(results, summary.heaviest),
                "distinctive": _shares(results, summary.distinctive),
                "image": image,
            }
        )
    return found


def overview_of(results: Results, factors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A picture of the shares of all factors in each row, and what to know of each factor.

    Rows are in the groups of their labels, if there are 2 to 100. Notes name the factors that are
    idle, or nearly like another one.

    Args:
      results: of the run.
      factors: those of `factors_of`.
    """
    shares = memberships.shares_of(results.theta * results.beta.sum(axis=0))
    groups, title, labels = None, "", results.data.labels
    if labels is not None and 1 < len(labels.names) <= memberships.MOST_GROUPS:
        groups, title = memberships.Groups.of_labels(labels.codes, labels.names), labels.title
    colors = memberships.factor_colors(len(factors))
    redundant = redundant_factors(results.theta, results.beta)
    originals = {found.factor: found.original + 1 for found in redundant.duplicates}
    return {
        "picture": picture(memberships.structure_figure(shares, results.data.words.rows, groups)),
        "label": title,
        "idle_below": idle_below(len(factors)),
        "factors": [
            {
                "share": factor["summary"].share,
                "color": colors[min(place, len(colors) - 1)],
                "marks": [column["name"] for column in factor["distinctive"][:_NUM_MARKS]],
                "group": None if groups is None else _most_of(groups, shares[:, place]),
                "is_idle": place in redundant.idle,
                "original": originals.get(place),
            }
            for place, factor in enumerate(factors)
        ],
    }


def _most_of(groups: memberships.Groups, shares: np.ndarray) -> tuple[str, float]:
    """The group in which a factor has the largest mean share, and that share."""
    means = groups.means(shares[:, None])[:, 0]
    return groups.names[int(means.argmax())], float(means.max())


def _shares(results: Results, part: FactorColumns) -> list[dict[str, Any]]:
    return [
        {"name": results.column(column), "mean": mean, "low": low, "high": high}
        for column, mean, low, high in zip(*part, strict=True)
    ]
