"""Model criticism in the report: predictive checks and calibration."""

from collections.abc import Callable
from typing import Any

from vigamma.diagnostics.calibration import calibration, share_of_sums_outside
from vigamma.diagnostics.predictive_checks import (
    LEVEL,
    NUM_REPLICATES,
    Observed,
    predictive_checks,
    sample_of_rows,
)
from vigamma.diagnostics.verdicts import (
    Verdict,
    calibration_verdict,
    gain_verdict,
    heldout_sums_verdict,
    predictive_verdicts,
    run_verdict,
)
from vigamma.figures import checks as plotting_checks
from vigamma.models.factor_model import PROBABILITIES
from vigamma.report.next_steps import next_steps
from vigamma.report.rendering import picture
from vigamma.report.results import Results
from vigamma.terminal.pace import Pace


def replication_of(results: Results, say: Callable[[str], None]) -> dict[str, Any]:
    """Compares the data with replicates drawn from the fit."""
    split, q, seed = results.data.split, results.run.factors.q, results.run.config.seed
    data = Observed(
        q["rows"],
        q["columns"],
        results.data.exposures,
        split.train,
        split.missing,
        q.get(PROBABILITIES),
    )
    say(f"drawing {NUM_REPLICATES} replicates of the data")
    pace = Pace(NUM_REPLICATES, "replicates", say)
    checks = predictive_checks(sample_of_rows(data, seed), seed, say=pace.update)
    words = results.data.words
    figures = plotting_checks.check_figures(checks, words.rows, words.columns)
    return {
        "verdicts": predictive_verdicts(checks),
        "num_replicates": NUM_REPLICATES,
        "num_rows": checks.num_rows,
        "level": LEVEL,
        "pictures": {name: picture(figure) for name, figure in figures},
    }


def heldout_of(results: Results) -> dict[str, Any] | None:
    """Compares held-out counts with their predictions; None if there are no held-out counts."""
    split, moments = results.data.split, (results.rows, results.columns)
    if split.test is None:
        return None
    found = calibration(*moments, split, results.run.config.seed)
    verdicts = [calibration_verdict(found)]
    if split.protocol == "thinning":
        for side, axis in (("rows", 1), ("columns", 0)):
            share = share_of_sums_outside(*moments, split, axis)
            if share is not None:
                verdicts.append(heldout_sums_verdict(side, share))
    return {"verdicts": verdicts, "curve": picture(plotting_checks.calibration(found))}


def what_looks_wrong(results: Results, checked: list[Verdict]) -> dict[str, Any]:
    """The failed verdicts among those of the run, of the checks, and of the score; what to do."""
    summary = results.summary
    verdicts = [run_verdict(bool(summary), summary.get("converged", True)), *checked]
    if results.gain is not None:
        verdicts.append(gain_verdict(results.gain))
    wrong = [verdict for verdict in verdicts if verdict.is_off]
    return {"num_checks": len(verdicts), "wrong": wrong, "steps": next_steps(results, wrong)}
