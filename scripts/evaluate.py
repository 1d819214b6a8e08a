"""Scores a run on its held-out counts.

python scripts/evaluate.py --workdir checkpoints/counts_factors --at 10,20,50
"""

from absl import app, flags

import vigamma
from vigamma.command_line import RunFlags, exit_status
from vigamma.runs.experiment import parse_flags

_RUN = RunFlags()
_AT = flags.DEFINE_list("at", ["20"], "Ranks at which rankings are measured.")
_DATA_PATH = flags.DEFINE_string("data_path", None, "Where the data are now, if they have moved.")

flags.register_validator(
    "at",
    lambda words: words and all(word.isdecimal() and int(word) > 0 for word in words),
    "must be whole numbers above 0 with commas between",
)


def main(argv):
    """Prints the scores."""
    del argv
    return exit_status(_answer)


def _answer(console):
    with console.status("loading the run and its counts"):
        run = _RUN.load(console)
        data = vigamma.load_run_data(run, _DATA_PATH.value)
    outcome = vigamma.evaluate(run, data, list(map(int, _AT.value)), console.print)
    print(f"{_RUN.workdir}, {run.which}")
    print(outcome.table)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
