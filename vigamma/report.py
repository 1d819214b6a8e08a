"""A page about a run of a factorization: what was fitted, what came out, and what looks wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vigamma import page
from vigamma.diagnostics.calibration import calibration, share_of_sums_outside
from vigamma.diagnostics.factor_columns import factor_summaries
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.diagnostics.predictive_checks import (
    NUM_REPLICATES,
    Observed,
    PredictiveChecks,
    predictive_checks,
    sample_of_rows,
)
from vigamma.diagnostics.residuals import Residuals, factor_moments, residuals
from vigamma.errors import CheckpointError
from vigamma.progress import Pace
from vigamma.runs.fitted import WantedStep, load_run
from vigamma.runs.loading import load_run_data
from vigamma.runs.metrics import read_metrics
from vigamma.sections.checks import (
    Verdict,
    check_verdicts,
    heldout_verdicts,
    the_calibration,
    the_checks,
)
from vigamma.sections.factors import the_factors
from vigamma.sections.outcome import how_it_went, tiles, what_was_fitted
from vigamma.sections.repeat import how_to_repeat
from vigamma.sections.results import Results
from vigamma.sections.worst import the_worst
from vigamma.whole_files import replace_file


def write_report(
    workdir: Path,
    output: Path,
    say: Callable[[str], None] = lambda _: None,
    step: WantedStep = "best",
) -> None:
    """Writes one self-contained page of HTML about a run of a factorization, finished or not.

    The data are loaded again, by the config of the run. Nothing of N × M is computed.

    Args:
      workdir: of the run.
      output: the file to write, whole or not at all.
      say: called with lines of progress, and one for each damaged checkpoint.
      step: which posterior, as for `load_run`.

    Raises:
      CheckpointError: if there is no such checkpoint of a factorization, or none intact, or its
        data have changed.
      ConfigError: if the data cannot be loaded.
    """
    results = load_results(workdir, say, step)
    html = report(results, say)
    replace_file(output, html.encode())


def load_results(workdir: Path, say: Callable[[str], None], step: WantedStep = "best") -> Results:
    """Reads the run, and loads its data again; raises as `write_report`."""
    run = load_run(workdir, say, step)
    say("loading the data of the run")
    fit = load_run_data(run)
    metrics = [
        m for m in read_metrics(workdir / "metrics.jsonl", say) if m["step"] <= run.last_step
    ]
    q, split = run.factors.q, fit.split
    theta = factor_moments(q["rows"], fit.exposures).mean
    beta = factor_moments(q["columns"]).mean
    scores = {}
    if split.test is not None:
        means = run.mean_factors(fit.exposures)
        tables = {"factors": means, "independent": fit.independent_columns()}
        scores = {
            name: heldout_log_likelihood(
                *(side.astype("float32") for side in sides), split, split.test
            )
            for name, sides in tables.items()
        }
    summary = _read_summary(workdir / "summary.json", run.last_step)
    return Results(workdir, run, fit, metrics, summary, theta, beta, scores)


def report(results: Results, say: Callable[[str], None] = lambda _: None) -> str:
    """The page."""
    split, q = results.fit.split, results.run.factors.q
    checks = _checks(results, say)
    say("looking for what fits worst")
    rows, columns = (
        factor_moments(q["rows"], results.fit.exposures),
        factor_moments(q["columns"]),
    )
    of_rows, of_columns = residuals(rows, columns, split.train, split.missing)
    verdicts = check_verdicts(checks)
    found, heldout = None, []
    if split.test is not None:
        found = calibration(results.theta, results.beta, split, results.run.config.seed)
        heldout = list(heldout_verdicts(found, _outside(results, of_rows, of_columns)))
    say("drawing the page")
    sections = [
        what_was_fitted(results),
        how_it_went(results),
        the_factors(results, factor_summaries(results.theta, q["columns"])),
        the_checks(checks, verdicts, split.train.shape[0]),
        the_calibration(results, found, heldout) if found is not None else "",
        the_worst(results, of_rows, of_columns),
        how_to_repeat(results),
    ]
    title = page.text(results.workdir.absolute().name)
    head = (
        f"<header><h1>{title}</h1>"
        f'<p class="subtitle">A report of a Poisson factorization by vigamma</p></header>'
    )
    body = head + tiles(results) + _in_short(results, [*verdicts, *heldout]) + "".join(sections)
    contents = [entry for entry in _CONTENTS if f'<section id="{entry[0]}">' in body]
    return page.document(f"{title} · vigamma", contents, body)


_CONTENTS = (
    ("fitted", "What was fitted"),
    ("course", "How it went"),
    ("factors", "Factors"),
    ("checks", "Checks"),
    ("calibration", "Held-out counts"),
    ("worst", "What fits worst"),
    ("repeat", "How to repeat it"),
)


def _read_summary(path: Path, step: int) -> dict[str, Any]:
    """What `summary.json` holds, if it is of this step; else {}."""
    if not path.exists():
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return summary if summary.get("steps") == step else {}


def _in_short(results: Results, verdicts: list[Verdict]) -> str:
    """What looks wrong, in sentences."""
    wrong = [v.sentence for v in verdicts if v.word == "off"]
    if not results.summary:
        wrong.insert(0, "The run has not come to its end; this is its newest checkpoint.")
    elif not results.summary.get("converged", True):
        wrong.insert(0, "The run stopped before it had converged.")
    if results.scores and results.gain <= 0:
        wrong.append("The factors predict held-out counts no better than independent columns do.")
    if not wrong:
        return page.block(
            page.paragraph("Nothing looks wrong in the checks below."), kind="verdicts fine"
        )
    return page.block(
        page.paragraph("<strong>What looks wrong</strong>"), page.items(wrong), kind="verdicts"
    )


def _checks(results: Results, say: Callable[[str], None]) -> PredictiveChecks:
    split, q = results.fit.split, results.run.factors.q
    data = Observed(q["rows"], q["columns"], results.fit.exposures, split.train, split.missing)
    seed = results.run.config.seed
    say(f"drawing {NUM_REPLICATES} replicates of the data")
    pace = Pace(NUM_REPLICATES, "replicates", say)
    return predictive_checks(sample_of_rows(data, seed), seed, say=pace.update)


def _outside(results: Results, of_rows: Residuals, of_columns: Residuals) -> dict:
    """The shares of held-out sums outside their intervals, for the protocol that allows them."""
    split = results.fit.split
    if split.protocol != "thinning":
        return {}
    return {
        side: share_of_sums_outside(found, split.test, axis)
        for side, found, axis in (("row", of_rows, 1), ("column", of_columns, 0))
    }
