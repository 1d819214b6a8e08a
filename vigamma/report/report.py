"""The report of a factorization as an HTML page: the model, the results, and possible problems."""

import os
from collections.abc import Callable
from pathlib import Path

from vigamma.diagnostics.residuals import residuals
from vigamma.report.checks import heldout_of, replication_of, what_looks_wrong
from vigamma.report.factors import factors_of, overview_of
from vigamma.report.largest_residuals import largest_residuals_of
from vigamma.report.outcome import course_of, outcome_of
from vigamma.report.rendering import render
from vigamma.report.reproduction import reproduction_of
from vigamma.report.results import load_results
from vigamma.report.variation import variation_of
from vigamma.runs.fitted import WantedStep
from vigamma.storage.atomic_files import replace_file


def write_report(
    workdir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    say: Callable[[str], None] = lambda _: None,
    step: WantedStep = "best",
) -> None:
    """Writes one self-contained page of HTML about a run of a factorization, finished or not.

    The data are loaded again by the config of the run. No array of shape N × M is computed.

    Args:
      workdir: the directory of the run.
      output: the file to write, atomically.
      say: called with lines of progress, and with a message per damaged checkpoint.
      step: the posterior to report, as for `load_run`.

    Raises:
      CheckpointError: if the checkpoint does not exist, if none is intact, if it is not of a
        factorization, or if its data have changed.
      ConfigError: if the data cannot be loaded.
    """
    results = load_results(Path(workdir), say, step)
    split = results.data.split
    replication = replication_of(results, say)
    say("looking for what fits worst")
    of_rows, of_columns = residuals(results.rows, results.columns, split.train, split.missing)
    heldout = heldout_of(results)
    checked = [*replication["verdicts"], *(heldout["verdicts"] if heldout else [])]
    say("drawing the page")
    factors = factors_of(results)
    html = render(
        "page.html",
        title=results.workdir.absolute().name,
        **what_looks_wrong(results, checked),
        outcome=outcome_of(results),
        course=course_of(results),
        factors=factors,
        overview=overview_of(results, factors),
        samples=results.run.samples,
        variation=variation_of(results),
        replication=replication,
        heldout=heldout,
        residuals=largest_residuals_of(results, of_rows, of_columns),
        reproduction=reproduction_of(results),
    )
    replace_file(Path(output), html.encode())
