"""Writes the posterior of a run for other programs: NumPy, spreadsheets, AnnData, ArviZ.

vigamma export --workdir checkpoints/counts_factors --output factors.npz
vigamma export --workdir checkpoints/counts_factors --output factors.csv
vigamma export --workdir checkpoints/counts_factors --output draws.nc --draws 500

The suffix selects the format: .npz, .csv, .parquet, .h5ad or .nc; the docstring of the module
vigamma.answers.export describes the content of each.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

import vigamma
from vigamma.answers.export import FORMATS
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status

_RUN = RunFlags()
_OUTPUT = flags.DEFINE_string("output", None, "The file to write; required.", required=True)
_DRAWS = flags.DEFINE_integer("draws", 500, "How many draws an .nc has.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.", lower_bound=0)

flags.register_validator(
    "output", lambda path: Path(path).suffix in FORMATS, f"must end with {', '.join(FORMATS)}"
)


def main(argv: list[str]) -> int:
    """Writes the files and prints their paths."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    with console.status("loading the run"):
        run = _RUN.load(console, with_samples=True)
    with console.status("writing"):
        paths = vigamma.export(run, Path(_OUTPUT.value), _DRAWS.value, _SEED.value)
    print(f"written: {' and '.join(map(str, paths))}")
