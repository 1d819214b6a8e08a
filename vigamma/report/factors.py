"""The factors of a run in the report: tables of columns, or images."""

from typing import Any

import numpy as np

from vigamma.diagnostics.factor_columns import (
    FactorColumns,
    factor_in_mean_row,
    factor_summaries,
)
from vigamma.figures import factors as plotting_factors
from vigamma.report.rendering import picture
from vigamma.report.results import Results
from vigamma.runs.samples import Samples


class _Draws:
    """Posterior samples of columns in factors, which are matched to those of the fit."""

    def __init__(self, results: Results, samples: Samples) -> None:
        self._samples, self._exposures = samples, results.data.exposures
        self._matches = samples.matches(np.asarray(results.run.factors.q["columns"].mean))
        self._totals = self._sums("columns", None)

    def _sums(self, side: str, weights: np.ndarray | None) -> np.ndarray:
        """Sums of factors over rows or columns, by draw and factor; shape (D, K)."""
        sums = []
        for draw in self._samples.draws:
            for table in draw[side]:
                one = np.ones(len(table)) if weights is None else weights
                sums.append(one @ table)
        return np.take_along_axis(np.array(sums), self._matches, axis=1)

    def shares(self, k: int, part: FactorColumns) -> FactorColumns:
        """φ_mk = β_mk / Σ_m β_mk."""
        return self._scaled(k, part.columns, 1 / self._totals[:, k])

    def in_mean_row(self, k: int, part: FactorColumns) -> FactorColumns:
        """β_mk mean_n(e_n θ_nk)."""
        sums = self._sums("rows", self._exposures)
        return self._scaled(k, part.columns, sums[:, k] / len(self._exposures))

    def _scaled(self, k: int, columns: np.ndarray, scales: np.ndarray) -> FactorColumns:
        beta = self._samples.taken("columns", columns)
        own = np.take_along_axis(beta, self._matches[:, None, k, None], axis=2)[:, :, 0]
        values = own * scales[:, None]
        low, high = np.quantile(values, [0.05, 0.95], axis=0, method="weibull")
        return FactorColumns(columns, values.mean(axis=0), low, high)


def factors_of(results: Results) -> list[dict[str, Any]]:
    """All factors, heaviest first; with an image if rows are images.

    Means and intervals are of posterior samples, if the run has any.
    """
    columns, samples = results.run.factors.q["columns"], results.run.samples
    draws = None if samples is None else _Draws(results, samples)

    def of_draws(k: int, part: FactorColumns) -> FactorColumns:
        return part if draws is None else draws.shares(k, part)

    found = []
    for summary in factor_summaries(results.theta, columns):
        k, image = summary.index, None
        if results.image_shape is not None:
            part = factor_in_mean_row(results.theta, columns, k)
            _, mean, low, high = part if draws is None else draws.in_mean_row(k, part)
            image = picture(plotting_factors.factor_interval(low, mean, high, results.image_shape))
        found.append(
            {
                "summary": summary,
                "heaviest": _shares(results, of_draws(k, summary.heaviest)),
                "distinctive": _shares(results, of_draws(k, summary.distinctive)),
                "rows": [results.row(index) for index in summary.rows],
                "image": image,
            }
        )
    return found


def _shares(results: Results, part: FactorColumns) -> list[dict[str, Any]]:
    return [
        {"name": results.column(column), "mean": mean, "low": low, "high": high}
        for column, mean, low, high in zip(*part, strict=True)
    ]
