"""The factors of a run in the report: tables of columns, or images."""

from typing import Any

from vigamma.diagnostics.factor_columns import (
    FactorColumns,
    factor_in_mean_row,
    factor_summaries,
)
from vigamma.figures import factors as plotting_factors
from vigamma.report.rendering import picture
from vigamma.report.results import Results


def factors_of(results: Results) -> list[dict[str, Any]]:
    """All factors, heaviest first; with an image if rows are images."""
    columns = results.run.factors.q["columns"]
    found = []
    for summary in factor_summaries(results.theta, columns):
        image = None
        if results.image_shape is not None:
            _, mean, low, high = factor_in_mean_row(results.theta, columns, summary.index)
            image = picture(plotting_factors.factor_interval(low, mean, high, results.image_shape))
        found.append(
            {
                "summary": summary,
                "heaviest": _shares(results, summary.heaviest),
                "distinctive": _shares(results, summary.distinctive),
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
