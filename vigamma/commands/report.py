"""Writes an HTML report of a run: the fit, its factors, and warnings about misfit.

vigamma report --workdir checkpoints/digits_factors
"""

from pathlib import Path

from absl import flags
from rich.console import Console

import vigamma
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status

_RUN = RunFlags()
_OUTPUT = flags.DEFINE_string("output", None, "The page; WORKDIR/report.html by default.")


def main(argv: list[str]) -> int:
    """Writes the page and prints its path."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    workdir = _RUN.workdir
    output = Path(_OUTPUT.value or workdir / "report.html")
    vigamma.write_report(workdir, output, console.print, _RUN.step)
    print(f"written: {output}")
