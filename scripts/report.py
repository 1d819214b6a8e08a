"""Writes an HTML report of a run: the fit, its factors, and warnings about misfit.

python scripts/report.py --workdir checkpoints/digits_factors
"""

from pathlib import Path

from absl import app, flags

import vigamma
from vigamma.command_line import RunFlags, exit_status
from vigamma.runs.experiment import parse_flags

_RUN = RunFlags()
_OUTPUT = flags.DEFINE_string("output", None, "The page; WORKDIR/report.html by default.")


def main(argv):
    """Writes the page and prints its path."""
    del argv
    return exit_status(_answer)


def _answer(console):
    workdir = _RUN.workdir
    output = Path(_OUTPUT.value or workdir / "report.html")
    vigamma.write_report(workdir, output, console.print, _RUN.step)
    print(f"written: {output}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
