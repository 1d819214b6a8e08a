"""The part of a report that names the rows and columns that fit worst; as HTML."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from vigamma import page, plotting
from vigamma.diagnostics.residuals import Residuals, strangest_entry
from vigamma.sections.results import Results

_NUM_WORST = 10


def the_worst(results: Results, of_rows: Residuals, of_columns: Residuals) -> str:
    """The rows and the columns whose counts scatter most around their rates."""
    train = results.fit.split.train
    worst_rows, worst_columns = (
        np.argsort(-r.of_dispersion, kind="stable")[:_NUM_WORST] for r in (of_rows, of_columns)
    )
    lead = page.paragraph(
        "The scatter of a row is how far its counts lie from their rates r<sub>nm</sub>, beyond "
        "what Poisson counts would, in standard deviations; of a column likewise. It is near 0, "
        "give or take 1, where the model is right; a few values above 5 are common in sparse data."
    )
    equation = page.block(
        page.paragraph(
            "scatter<sub>n</sub> = Σ<sub>m</sub> ((x<sub>nm</sub> − r<sub>nm</sub>)² − "
            "x<sub>nm</sub>) / √(2 Σ<sub>m</sub> r<sub>nm</sub>²), &ensp; r<sub>nm</sub> = "
            "e<sub>n</sub> Σ<sub>k</sub> E[θ<sub>nk</sub>] E[β<sub>mk</sub>]"
        ),
        kind="equation",
    )
    tables = (
        _table(
            "Rows with the largest scatter", "row", worst_rows, of_rows, train,
            (results.theta, results.beta), results.row, results.column,
        ),
        _table(
            "Columns with the largest scatter", "column", worst_columns, of_columns,
            csr_array(train.T), (results.beta, results.theta), results.column, results.row,
        ),
    )  # fmt: skip
    pictures = [] if results.image_shape is None else [_images(results, worst_rows)]
    return page.section("worst", "What fits worst", lead, equation, *tables, *pictures)


def _table(
    caption: str,
    side: str,
    worst: np.ndarray,
    residuals: Residuals,
    counts: csr_array,
    factors: tuple[np.ndarray, np.ndarray],
    own_name: Callable[[int], str],
    other_name: Callable[[int], str],
) -> str:
    """Sums and scatter, and the cell that stands out most."""
    rows = []
    for index in worst:
        entry = strangest_entry(counts, index, *factors)
        cell = ("no count", "", "")
        if entry is not None:
            cell = (other_name(entry[0]), page.number(entry[1], 9), page.number(entry[2]))
        rows.append(
            (
                own_name(index),
                page.number(residuals.sums[index], 4),
                page.number(residuals.expected.mean[index], 4),
                page.number(residuals.of_sums[index], 2),
                page.number(residuals.of_dispersion[index], 3),
                *cell,
            )
        )
    header = (
        side, "counts", "expected", "residual of the sum", "scatter", "its strangest cell",
        "count there", "expected",
    )  # fmt: skip
    return page.table(caption, header, rows, words=(0, 5))


def _images(results: Results, worst: np.ndarray) -> str:
    real = results.fit.split.train[worst].toarray()
    rates = results.theta[worst] @ results.beta.T
    rows = [("Data (hidden cells are blank)", real), ("Fit", rates)]
    figure = plotting.image_rows(rows, results.image_shape)
    return page.picture(figure, "The rows with the largest scatter as images, data above fit.")
