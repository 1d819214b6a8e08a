"""The rows and columns with the worst fit."""

from collections.abc import Callable
from typing import Any

from scipy.sparse import csr_array

from vigamma.diagnostics.residuals import FactorMoments, Residuals, strangest_entry
from vigamma.figures import posteriors as plotting
from vigamma.report.rendering import picture
from vigamma.report.results import Results


def largest_residuals_of(
    results: Results, of_rows: Residuals, of_columns: Residuals
) -> dict[str, Any]:
    """The rows and columns with the largest dispersion; with images if rows are images."""
    train, own, others = results.data.split.train, results.rows, results.columns
    images = None
    if results.image_shape is not None:
        rows = of_rows.largest_scatter()
        lines = [("Data (hidden entries are blank)", train[rows].toarray())]
        lines.append(("Fit", own.mean[rows] @ others.mean.T))
        images = picture(plotting.image_rows(lines, results.image_shape))
    by_column = csr_array(train.T)
    return {
        "rows": _named(of_rows, train, (own, others), (results.row, results.column)),
        "columns": _named(of_columns, by_column, (others, own), (results.column, results.row)),
        "images": images,
    }


def _named(
    residuals: Residuals,
    counts: csr_array,
    moments: tuple[FactorMoments, FactorMoments],
    names: tuple[Callable[[int], str], Callable[[int], str]],
) -> list[dict[str, Any]]:
    """Sums, dispersion and the most extreme cell of the worst rows of `counts`."""
    found = []
    for index in residuals.largest_scatter():
        entry = strangest_entry(counts, index, *moments)
        found.append(
            {
                "name": names[0](index),
                "sum": residuals.sums[index],
                "expected": residuals.expected.mean[index],
                "of_sum": residuals.of_sums[index],
                "scatter": residuals.of_dispersion[index],
                "strangest": entry and (names[1](entry[0]), *entry[1:]),
            }
        )
    return found
