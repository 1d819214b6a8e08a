"""Lists the columns most similar to a column (or rows to a row), by the cosine of their factors.

python scripts/similar.py --workdir checkpoints/counts_factors --column 17
python scripts/similar.py --workdir checkpoints/counts_factors --row 42 --top 20
"""

from absl import app, flags

import vigamma
from vigamma.answers.tables import aligned
from vigamma.command_line import RunFlags, exit_status
from vigamma.runs.experiment import parse_flags

_RUN = RunFlags()
_COLUMN = flags.DEFINE_string("column", None, "The name of a column.")
_ROW = flags.DEFINE_string("row", None, "The name of a row.")
_TOP = flags.DEFINE_integer("top", 10, "How many.", lower_bound=1)

flags.mark_flags_as_mutual_exclusive(["column", "row"], required=True)


def main(argv):
    """Prints the most similar columns or rows."""
    del argv
    return exit_status(_answer)


def _answer(console):
    side, name = ("row", _ROW.value) if _COLUMN.value is None else ("column", _COLUMN.value)
    with console.status("loading the run"):
        run = _RUN.load(console)
    table = vigamma.similar(run, name, side, _TOP.value)
    print(f"{_RUN.workdir}, {run.which}: {side}s similar to {name}")
    print("\n".join("  " + line for line in aligned(table)))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
