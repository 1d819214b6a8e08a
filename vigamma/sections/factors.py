"""The factors of a run, as cards of HTML: tables of columns, or images."""

import numpy as np

from vigamma import page, plotting_factors
from vigamma.diagnostics.factor_columns import FactorColumns, FactorSummary
from vigamma.families.gamma import Gamma
from vigamma.sections.results import Results

_HARDLY = 1e-3
"""A factor with a smaller share of all counts is hardly used."""


def the_factors(results: Results, summaries: list[FactorSummary]) -> str:
    """A card for each factor, heaviest first."""
    if results.image_shape is not None:
        lead = (
            "Each factor as an image, in counts of a mean row: the posterior mean between the ends "
            "of the 90 % credible interval of each pixel, all three on the scale of the factor."
        )
        cards = [_image_card(results, rank, s) for rank, s in enumerate(summaries, 1)]
        body = page.block(*cards, kind="gallery")
    else:
        lead = (
            "A number is the share of a factor’s counts that fall to a column: its posterior mean "
            "(bar) and 90 % credible interval (line). Left the columns with the largest shares; "
            "right those that mark the factor out, common here and rarer elsewhere."
        )
        cards = [_column_card(results, rank, s) for rank, s in enumerate(summaries, 1)]
        body = "".join(cards)
    return page.section("factors", "The factors", page.paragraph(lead), body)


def _title(rank: int, summary: FactorSummary) -> str:
    share = page.percent(summary.share)
    return f'<h3>Factor {rank} <span class="share">{share} of all counts</span></h3>'


def _column_card(results: Results, rank: int, summary: FactorSummary) -> str:
    top = max(part.high.max() for part in (summary.heaviest, summary.distinctive))
    tables = (
        _column_table(results, caption, part, top)
        for caption, part in (
            ("Largest shares", summary.heaviest),
            ("Most distinctive", summary.distinctive),
        )
    )
    rows = ", ".join(results.row(index) for index in summary.rows)
    return page.block(
        _title(rank, summary),
        page.block(*tables, kind="pair"),
        page.paragraph(f"Rows with most counts from it: {rows}.", kind="note"),
        _hardly_used(summary),
        kind="card",
    )


def _column_table(results: Results, caption: str, part: FactorColumns, top: float) -> str:
    lines = (
        (
            results.column(column),
            page.bar(mean, low, high, top),
            page.percent(mean),
            f"{page.number(100 * low, 2)} – {page.number(100 * high, 2)}",
        )
        for column, mean, low, high in zip(*part, strict=True)
    )
    header = ("column", '<span class="unseen">bar</span>', "mean", "90 % interval")
    return page.table(caption, header, lines, words=(0, 1))


def _image_card(results: Results, rank: int, summary: FactorSummary) -> str:
    columns = results.run.factors.q["columns"]
    factor = Gamma(columns.concentration[:, summary.index], columns.rate[:, summary.index])
    scale = results.theta[:, summary.index].mean()
    low, high = (scale * np.asarray(factor.quantile(p)) for p in (0.05, 0.95))
    figure = plotting_factors.factor_interval(
        low, scale * np.asarray(factor.mean), high, results.image_shape
    )
    brightest = ", ".join(results.column(column) for column in summary.heaviest.columns[:3])
    alt = f"Factor {rank} as three images; its brightest pixels: {brightest}."
    return page.block(
        _title(rank, summary), page.picture(figure, alt), _hardly_used(summary), kind="card"
    )


def _hardly_used(summary: FactorSummary) -> str:
    if summary.share >= _HARDLY:
        return ""
    return page.paragraph(
        "Hardly used: what is seen here is little more than the prior.", kind="note"
    )
