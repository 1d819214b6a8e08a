"""Lists the columns most similar to a column, or rows to a row, by the cosine of factors.

vigamma similar --workdir checkpoints/counts_factors --column 17
vigamma similar --workdir checkpoints/counts_factors --row 42 --top 20
"""

from typing import Literal

from absl import flags
from rich.console import Console

import vigamma
from vigamma.answers.tables import aligned
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status

_RUN = RunFlags()
_COLUMN = flags.DEFINE_string("column", None, "The name or the id of a column.")
_ROW = flags.DEFINE_string("row", None, "The name or the id of a row.")
_TOP = flags.DEFINE_integer("top", 10, "How many.", lower_bound=1)

flags.mark_flags_as_mutual_exclusive(["column", "row"], required=True)


def main(argv: list[str]) -> int:
    """Prints the most similar columns or rows."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    side: Literal["column", "row"] = "row" if _COLUMN.value is None else "column"
    name = _ROW.value or _COLUMN.value or ""
    with console.status("loading the run"):
        run = _RUN.load(console)
    table = vigamma.similar(run, name, side, _TOP.value)
    (index,) = run.factors.indices_of(side, [name])
    shown = getattr(run.factors, f"{side}_names")[index]
    print(f"{_RUN.workdir}, {run.which}: {side}s similar to {shown}")
    print("\n".join("  " + line for line in aligned(table)))
