"""Writes a page about a run: `python scripts/report.py --workdir checkpoints/digits_factors`."""

import sys
from pathlib import Path

from absl import app, flags, logging

from vigamma.errors import RunError
from vigamma.report import write_report

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The directory of a run of a factorization.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "The page; WORKDIR/report.html by default.")


def main(argv):
    """Writes the page and says where."""
    del argv
    logging.set_verbosity(logging.WARNING)
    workdir = Path(_WORKDIR.value)
    output = Path(_OUTPUT.value or workdir / "report.html")
    try:
        write_report(workdir, output, lambda line: print(line, flush=True))
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {output}")
    return 0


if __name__ == "__main__":
    app.run(main)
