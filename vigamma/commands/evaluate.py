"""Scores a run on its held-out counts.

vigamma evaluate --workdir checkpoints/counts_factors --at 10,20,50
"""

from absl import flags
from rich.console import Console

import vigamma
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status

_RUN = RunFlags()
_AT = flags.DEFINE_list("at", ["20"], "Ranks at which rankings are measured.")
_DATA_PATH = flags.DEFINE_string("data_path", None, "Where the data are now, if they have moved.")

flags.register_validator(
    "at",
    lambda words: words and all(word.isdecimal() and int(word) > 0 for word in words),
    "must be whole numbers above 0 with commas between",
)


def main(argv: list[str]) -> int:
    """Prints the scores."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    with console.status("loading the run and its counts"):
        run = _RUN.load(console)
        data = vigamma.load_run_data(run, _DATA_PATH.value)
    outcome = vigamma.evaluate(run, data, list(map(int, _AT.value)), console.print)
    print(f"{_RUN.workdir}, {run.which}")
    print(outcome.table)
