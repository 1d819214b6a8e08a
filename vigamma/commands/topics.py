"""Describes the factors of a run: their weights, and their most characteristic columns.

vigamma topics --workdir checkpoints/counts_factors --top 10

Columns are ranked by their mean, and by their lift, the ratio of their share of the factor to their
share of all counts. The docstring of the module vigamma.answers.topics has the equations.
"""

from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

import vigamma
from vigamma.answers.intervals import of_mean_field
from vigamma.answers.tables import write_csv
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status
from vigamma.runs.samples import INTERVALS
from vigamma.terminal.invocation import command

_RUN = RunFlags()
_TOP = flags.DEFINE_integer("top", 10, "The most columns of a factor.", lower_bound=1)
_INTERVAL = flags.DEFINE_float("interval", 0.9, "Probability of the credible intervals.")
_INTERVALS = flags.DEFINE_enum(
    "intervals",
    None,
    INTERVALS,
    f"sampled, by the draws of {command('sample')}, the default where there are any; or "
    "variational, of the mean-field approximation.",
)
_OUTPUT = flags.DEFINE_string("output", None, "A CSV file to write the columns to, instead.")

flags.register_validator("interval", lambda p: 0 < p < 1, "must be between 0 and 1")


def main(argv: list[str]) -> int:
    """Prints or writes the topics."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    with console.status("loading the run"):
        run = _RUN.load(console, with_samples=_INTERVALS.value != "variational")
        intervals: Any = _INTERVALS.value  # one of INTERVALS
        topics = vigamma.topics(run, _TOP.value, _INTERVAL.value, intervals=intervals)
    if _OUTPUT.value is None:
        print(f"{_RUN.workdir}, {run.which}: {topics.table()}")
        if not topics.num_draws:
            print("\n" + of_mean_field(60, "shares of columns"))
        elif run.samples is not None and run.samples.agree_on_factors is False:
            print("\n(the chains of the samples do not agree on single factors: intervals include")
            print("the differences between their solutions)")
    else:
        num_lines = write_csv([topics.columns], Path(_OUTPUT.value))
        print(f"written: {_OUTPUT.value}, {num_lines:,} lines")
