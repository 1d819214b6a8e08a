"""The critical part of a report: predictive checks, calibration and what fits worst; as HTML."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vigamma import page, plotting_checks
from vigamma.diagnostics.calibration import Calibration
from vigamma.diagnostics.predictive_checks import (
    LEVEL,
    PredictiveChecks,
    two_sided_tail,
    upper_tail,
)
from vigamma.sections.results import Results

_SMALL = 0.05
"""What differs by less than this part, or share, is called a little off."""

_ALT = {
    "zeros": "The share of zeros in the replicates, and in the data.",
    "row_sums": "How many rows have which sum: the data, and the replicates with 90 % intervals.",
    "column_sums": "How many columns have which sum: data, and replicates with 90 % intervals.",
    "variances": "The variance of columns against their mean: data, and replicates.",
}


class Verdict(NamedTuple):
    """One check, in words.

    Attributes:
      what: is compared.
      observed: of the data.
      expected: what is expected of them.
      tail: the tail probability; "" if there is none.
      word: "as expected", "a little off" or "off".
      sentence: what that means.
    """

    what: str
    observed: str
    expected: str
    tail: str
    word: str
    sentence: str


def check_verdicts(checks: PredictiveChecks) -> list[Verdict]:
    """The posterior predictive checks in words."""
    return [
        _of_zeros(checks),
        _of_sums(checks, "row"),
        _of_sums(checks, "column"),
        _of_dispersion(checks),
    ]


def heldout_verdicts(
    calibrated: Calibration | None, outside: dict[str, float | None]
) -> Iterator[Verdict]:
    """What held-out counts say, in words.

    Args:
      calibrated: the calibration, if there are held-out counts.
      outside: by side, the share of held-out sums that are outside their 90 % intervals.
    """
    if calibrated is None:
        return
    ratio = calibrated.ratio
    low, high = calibrated.interval(1 - LEVEL / ratio.size)  # all bins at once (Bonferroni)
    distance = np.abs(ratio - 1)
    differs = ((low > 1) | (high < 1)) & (distance > _SMALL)
    worst = int(np.where(differs | ~differs.any(), distance, 0).argmax())
    word = "off" if differs[worst] else "as expected"
    sentence = (
        f"Where {page.number(calibrated.rates[worst], 2)} counts are predicted for a cell, there "
        f"are {page.percent(abs(ratio[worst] - 1), 2)} {'more' if ratio[worst] > 1 else 'fewer'} "
        "held-out counts than expected."
        if word == "off"
        else "Held-out counts come as often as predicted, at low rates and at high ones."
    )
    yield Verdict(
        "Held-out counts over their prediction, worst bin",
        page.number(ratio[worst]),
        "1",
        "",
        word,
        sentence,
    )
    for side, share in outside.items():
        if share is None:
            continue
        word = "off" if share > 0.1 + _SMALL else "as expected"
        excess = "more than the 10 % that are expected" if word == "off" else "as expected"
        yield Verdict(
            f"Held-out {side} sums outside their 90 % intervals",
            page.percent(share),
            "10 %",
            "",
            word,
            f"{page.percent(share)} of the held-out {side} sums are outside their 90 % intervals, "
            f"{excess}.",
        )


def the_checks(checks: PredictiveChecks, verdicts: list[Verdict], num_rows: int) -> str:
    """Replicates beside the data."""
    num_replicates = checks.replicated.zeros.size
    rows = "all" if checks.num_rows == num_rows else f"a random {checks.num_rows:,} of the"
    lead = page.paragraph(
        f"If the fit were the truth, what would data look like? {num_replicates} data sets of "
        f"{rows} {num_rows:,} rows were drawn from it: factors from the posterior, then counts. "
        "A tail probability says how often such a replicate lies as far out as the data. Below "
        f"{page.percent(LEVEL)} it is flagged, and called <em>off</em> if the difference also "
        "exceeds 5 %; in large data any difference can be seen, however small."
    )
    note = page.paragraph(
        "These are the counts that were fitted, so the checks are lenient, most of all those of "
        "row sums: every row has its own θ. What they flag is wrong; what they pass need not be "
        "right.",
        kind="note",
    )
    figures = (
        page.picture(figure, _ALT[name]) for name, figure in plotting_checks.check_figures(checks)
    )
    return page.section(
        "checks", "Do the data look like the model?", lead, _table("Posterior predictive checks",
        verdicts), page.block(*figures, kind="pair"), note,
    )  # fmt: skip


def the_calibration(results: Results, found: Calibration, verdicts: list[Verdict]) -> str:
    """Held-out counts beside their predictions."""
    alt = "Observed over expected held-out counts, against the predicted count; 1 is perfect."
    caption = (
        "Cells in bins of equally many expected counts. Bars: 90 % intervals, were the counts "
        "Poisson."
    )
    parts = [
        page.paragraph("Counts that the fit has not seen, against what it predicted for them."),
        _table("Held-out counts", verdicts),
        page.picture(plotting_checks.calibration(found), alt, caption),
    ]
    if results.fit.split.protocol == "entries":
        parts.append(
            page.paragraph(
                "Training took the held-out nonzeros for zeros; the predictions are raised by as "
                "many as there were.",
                kind="note",
            )
        )
    return page.section("calibration", "Are held-out counts as predicted?", *parts)


def _table(caption: str, verdicts: list[Verdict]) -> str:
    has_tails = any(verdict.tail for verdict in verdicts)
    header = ["check", "data", "expected", *(["tail probability"] if has_tails else []), "verdict"]
    rows = []
    for v in verdicts:
        kind = "fits" if v.word == "as expected" else "off"
        word = f'<span class="{kind}">{v.word}</span>'
        rows.append((v.what, v.observed, v.expected, *([v.tail] if has_tails else []), word))
    return page.table(caption, header, rows, words=(0, len(header) - 1))


def _of_zeros(checks: PredictiveChecks) -> Verdict:
    observed, replicates = float(checks.observed.zeros), checks.replicated.zeros
    tail, middle = two_sided_tail(observed, replicates), float(np.median(replicates))
    few = "zeros" if middle < 0.5 else "nonzeros"
    part = observed / middle - 1 if middle < 0.5 else (1 - observed) / (1 - middle) - 1
    digits = 3 if middle < 0.9 else 5
    kind = "more" if observed > middle else "fewer"
    sentence = (
        "The data have as many zeros as the model expects."
        if tail >= LEVEL
        else f"The data have {kind} zeros than the model expects: "
        f"{page.percent(observed, digits)} against {page.percent(middle, digits)}, which is "
        f"{page.percent(abs(part), 2)} {'more' if part > 0 else 'fewer'} {few}."
    )
    return Verdict(
        "Share of zeros", page.percent(observed, digits), _interval(replicates, digits),
        page.number(tail, 2), _word(tail, part), sentence,
    )  # fmt: skip


def _of_sums(checks: PredictiveChecks, side: str) -> Verdict:
    observed = float(getattr(checks.observed, f"{side}s_outside"))
    replicates = getattr(checks.replicated, f"{side}s_outside")
    tail, middle = upper_tail(observed, replicates), float(np.median(replicates))
    sentence = (
        f"The {side} sums are reproduced."
        if tail >= LEVEL
        else f"More {side} sums than expected are outside their 90 % intervals: "
        f"{page.percent(observed)} against {page.percent(middle)}."
    )
    return Verdict(
        f"{side.capitalize()} sums outside their 90 % intervals", page.percent(observed),
        _interval(replicates), page.number(tail, 2), _word(tail, observed - middle), sentence,
    )  # fmt: skip


def _of_dispersion(checks: PredictiveChecks) -> Verdict:
    observed, replicates = float(checks.observed.dispersion), checks.replicated.dispersion
    tail, middle = two_sided_tail(observed, replicates), float(np.median(replicates))
    low, high = np.quantile(replicates, [0.05, 0.95])
    kind = "more" if observed > middle else "less"
    sentence = (
        "Columns vary over the rows as much as the model expects."
        if tail >= LEVEL
        else f"Columns vary {kind} over the rows than the model expects: their variance is "
        f"{page.number(observed)} times their mean, against {page.number(middle)}."
    )
    return Verdict(
        "Variance of columns over their mean", page.number(observed),
        f"{page.number(low)} – {page.number(high)}", page.number(tail, 2),
        _word(tail, observed / middle - 1), sentence,
    )  # fmt: skip


def _interval(shares: np.ndarray, digits: int = 3) -> str:
    low, high = (page.number(100 * q, digits) for q in np.quantile(shares, [0.05, 0.95]))
    return f"{low} – {high} %"


def _word(tail: float, part: float) -> str:
    if tail >= LEVEL:
        return "as expected"
    return "off" if abs(part) > _SMALL else "a little off"
