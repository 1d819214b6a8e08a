"""Recommends items to users: the columns with the highest rates of some rows.

python scripts/recommend.py --workdir checkpoints/counts_factors --user 17,42 --top 20
python scripts/recommend.py --workdir checkpoints/counts_factors --all_users --output all.csv
python scripts/recommend.py --workdir checkpoints/counts_factors --counts new_user.csv

A file of --counts has an item and its count on each line, with a comma, a tab or spaces between.
"""

from pathlib import Path

import pandas as pd
from absl import app, flags

import vigamma
from vigamma.command_line import RunFlags, exit_status
from vigamma.config import parse_flags
from vigamma.data.counts_list import read_listed_counts, shown
from vigamma.names import read_names, split_names
from vigamma.tables import aligned, write_csv

_FEW_DRAWN = 10_000

_RUN = RunFlags()
_USER = flags.DEFINE_multi_string("user", [], "Names of rows, with commas between; repeatable.")
_USERS = flags.DEFINE_string("users", None, "A text file of names of rows, one a line.")
_ALL_USERS = flags.DEFINE_bool("all_users", False, "All rows.")
_COUNTS = flags.DEFINE_string("counts", None, "A text file of the counts of somebody new.")
_TOP = flags.DEFINE_integer("top", 20, "The most items of a user.", lower_bound=1)
_INTERVAL = flags.DEFINE_float("interval", 0.9, "Probability of the credible intervals.")
_DRAWS = flags.DEFINE_integer(
    "draws",
    None,
    "Monte Carlo draws behind an interval; 0 for the Gamma with the same mean and sd. By default "
    "10000, and 0 for --users and --all_users.",
    lower_bound=0,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.", lower_bound=0)
_INCLUDE_SEEN = flags.DEFINE_bool("include_seen", False, "Items with a count may come as well.")
_DATA_PATH = flags.DEFINE_string("data_path", None, "Where the data are now, if they have moved.")
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A CSV file to write instead; with --all_users WORKDIR/recommendations.csv by default.",
)

flags.register_validator("interval", lambda p: 0 < p < 1, "must be between 0 and 1")
flags.register_multi_flags_validator(
    ["user", "users", "all_users", "counts"],
    lambda values: sum(map(bool, values.values())) == 1,
    "exactly one of --user, --users, --all_users and --counts is needed",
)


def main(argv):
    """Prints or writes the recommendations."""
    del argv
    return exit_status(_answer)


def _answer(console):
    output = _OUTPUT.value
    if _ALL_USERS.value and output is None:
        output = _RUN.workdir / "recommendations.csv"
    with console.status("loading the run and its counts"):
        run = _RUN.load(console)
        tables = _new(run, console.print) if _COUNTS.value else _known(run, console.print)
    if output is None:
        _print(pd.concat(tables, ignore_index=True), run.which)
    else:
        num_lines = write_csv(tables, Path(output))
        print(f"written: {output}, {num_lines:,} recommendations")


def _new(run, say):
    """The recommendations from --counts."""
    path = Path(_COUNTS.value)
    counts, unknown = read_listed_counts(path, run.factors.column_names)
    if unknown:
        say(f"passed over: {shown(unknown)}")
    exposures = None
    if run.config.model.row_sum_exposures:
        exposures = vigamma.load_run_data(run, _DATA_PATH.value).exposures_of(counts)
    return [
        vigamma.recommend_new(
            run,
            counts,
            [path.stem],
            exposures=exposures,
            include_seen=_INCLUDE_SEEN.value,
            **_options(_FEW_DRAWN),
        )
    ]


def _known(run, say):
    """The recommendations for rows of the run, in blocks."""
    seen = None
    if not _INCLUDE_SEEN.value:
        seen = vigamma.load_run_data(run, _DATA_PATH.value).counts
    if _USER.value:
        users = split_names(run.factors.row_names, _USER.value)
        return [vigamma.recommend(run, users, seen=seen, **_options(_FEW_DRAWN))]
    users = None if _ALL_USERS.value else read_names(Path(_USERS.value))
    return vigamma.recommend_all(run, users, seen=seen, say=say, **_options(0))


def _options(draws):
    draws = draws if _DRAWS.value is None else _DRAWS.value
    return {
        "top": _TOP.value,
        "interval": _INTERVAL.value,
        "draws": draws,
        "seed": _SEED.value,
    }


def _print(table, which):
    draws = _options(0 if _USERS.value else _FEW_DRAWN)["draws"]
    kind = f"of {draws:,} draws, seed {_SEED.value}" if draws else "of Gammas with that mean and sd"
    print(f"{_RUN.workdir}, {which}; {100 * _INTERVAL.value:g} % intervals {kind}")
    if table.empty:
        print("nothing is left to recommend: every item has been seen")
    for user, own in table.groupby("user", sort=False):
        print(f"\n{user}")
        print("\n".join("  " + line for line in aligned(own.drop(columns="user"))))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
