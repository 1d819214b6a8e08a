"""Recommends items to users: for given rows, the columns with the highest rates.

vigamma recommend --workdir checkpoints/counts_factors --user 17,42 --top 20
vigamma recommend --workdir checkpoints/counts_factors --all_users --output all.csv
vigamma recommend --workdir checkpoints/counts_factors --counts new_user.csv
vigamma recommend --workdir checkpoints/counts_factors --counts new.npz --scores new.csv

A file of --counts has an item and its count on each line, separated by a comma, a tab or spaces, or
is any matrix that a run can be fitted to: .npz, .mtx, .h5ad, "row,column,count" on each line, a
folder of 10x Genomics, ... Columns are matched with those of the run by name, or by number if there
are no names. --factors and --scores also write the factors of the rows, and their scores: the
log-likelihood, in nats, of each half of the columns, predicted from the other.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags
from rich.console import Console

import vigamma
from vigamma.answers.intervals import of_mean_field, samples_for
from vigamma.answers.new_rows import NewRowAnswers
from vigamma.answers.tables import aligned, csv_file, write_csv
from vigamma.command_line.flags import RunFlags
from vigamma.command_line.statuses import exit_status
from vigamma.counts.names import read_names, split_names
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import INTERVALS, Intervals, Samples
from vigamma.terminal.invocation import command

_FEW_DRAWN = 10_000  # the default of --draws for few rows

_RUN = RunFlags()
_USER = flags.DEFINE_multi_string(
    "user", [], "Names or ids of rows, with commas between; repeatable."
)
_USERS = flags.DEFINE_string("users", None, "A text file of names or ids of rows, one a line.")
_ALL_USERS = flags.DEFINE_bool("all_users", False, "All rows.")
_COUNTS = flags.DEFINE_string("counts", None, "Counts of somebody new, or of many.")
_TOP = flags.DEFINE_integer("top", 20, "The most items of a user.", lower_bound=1)
_INTERVAL = flags.DEFINE_float("interval", 0.9, "Probability of the credible intervals.")
_DRAWS = flags.DEFINE_integer(
    "draws",
    None,
    "Monte Carlo draws behind an interval; 0 for the Gamma with the same mean and sd. By default "
    "10000, and 0 for --users, --all_users and a matrix of --counts.",
    lower_bound=0,
)
_INTERVALS = flags.DEFINE_enum(
    "intervals",
    None,
    INTERVALS,
    f"sampled, by the draws of {command('sample')}, the default for --user and a list of --counts "
    "where there are any; or variational, of the mean-field approximation, the default for many.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.", lower_bound=0)
_INCLUDE_SEEN = flags.DEFINE_bool(
    "include_seen",
    False,
    "Items that the user's own lines of the file hold may come as well: those with a count, held "
    "out or not, and those below the threshold at_least.",
)
_DATA_PATH = flags.DEFINE_string("data_path", None, "Where the data are now, if they have moved.")
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A CSV file to write instead; with --all_users WORKDIR/recommendations.csv by default, with a "
    "matrix of --counts WORKDIR/recommendations_new.csv.",
)
_FACTORS = flags.DEFINE_string("factors", None, "A CSV file of the factors of --counts, to write.")
_SCORES = flags.DEFINE_string("scores", None, "A CSV file of the scores of --counts, to write.")

flags.register_validator("interval", lambda p: 0 < p < 1, "must be between 0 and 1")
flags.register_multi_flags_validator(
    ["user", "users", "all_users", "counts"],
    lambda values: sum(map(bool, values.values())) == 1,
    "exactly one of --user, --users, --all_users and --counts is needed",
)
flags.register_multi_flags_validator(
    ["counts", "factors", "scores"],
    lambda values: values["counts"] or not (values["factors"] or values["scores"]),
    "--factors and --scores need --counts",
)
for _NAME in ("factors", "scores"):
    flags.register_validator(
        _NAME, lambda path: path is None or path.endswith(".csv"), "must end with .csv"
    )
flags.register_multi_flags_validator(
    ["output", "factors", "scores"],
    lambda values: len(paths := list(filter(None, values.values()))) == len(set(paths)),
    "--output, --factors and --scores must be different files",
)


def main(argv: list[str]) -> int:
    """Prints or writes the recommendations."""
    del argv
    return exit_status(_answer)


def _answer(console: Console) -> None:
    if _COUNTS.value:
        return _answer_new(console, Path(_COUNTS.value))
    output = _path(_OUTPUT)
    if _ALL_USERS.value and output is None:
        output = _RUN.workdir / "recommendations.csv"
    with console.status("loading the run and its counts"):
        intervals = _intervals(bool(_USER.value))
        run = _RUN.load(console, with_samples=intervals != "variational")
        tables = _known(run, console.print, intervals)
    if output is None:
        samples = samples_for(run, intervals)
        _print(pd.concat(tables, ignore_index=True), run.which, samples)
    else:
        num_lines = write_csv(tables, output)
        print(f"written: {output}, {num_lines:,} recommendations")


def _answer_new(console: Console, counts: Path) -> None:
    """Prints or writes the recommendations of new counts; of a matrix, to a file."""
    with console.status("loading the run and the counts"):
        run = _RUN.load(console, with_samples=_INTERVALS.value != "variational")
        new = vigamma.read_new_rows(run, counts)
        intervals = _intervals(new.is_list)
        for note in new.notes:
            console.print(note)
        exposures = None
        if run.config.model.row_sum_exposures:
            exposures = vigamma.load_run_data(run, _DATA_PATH.value).exposures_of(new.counts)
    answers = vigamma.answer_new_rows(
        run,
        new.counts,
        new.row_names.tolist(),
        exposures=exposures,
        seen=new.seen,
        include_seen=_INCLUDE_SEEN.value,
        with_scores=_SCORES.value is not None,
        say=console.print,
        intervals=intervals,
        **_options(_FEW_DRAWN if new.is_list else 0),
    )
    output = _path(_OUTPUT)
    if output is None and not new.is_list:
        output = _RUN.workdir / "recommendations_new.csv"
    paths = {"recommendations": output, "factors": _path(_FACTORS), "scores": _path(_SCORES)}
    if output is None:
        answers, printed = itertools.tee(answers)
    _write(answers, {name: path for name, path in paths.items() if path is not None})
    if output is None:
        table = pd.concat([block.recommendations for block in printed])
        _print(table, run.which, samples_for(run, intervals))


def _path(flag: flags.FlagHolder[str | None]) -> Path | None:
    return None if flag.value is None else Path(flag.value)


def _write(answers: Iterable[NewRowAnswers], paths: Mapping[str, Path]) -> None:
    """Writes the tables of each block to the files at these paths; after an error none is kept."""
    num_lines = dict.fromkeys(paths, 0)
    with contextlib.ExitStack() as files:
        appends = {name: files.enter_context(csv_file(path)) for name, path in paths.items()}
        for block in answers:
            for name, append in appends.items():
                table = getattr(block, name)
                append(table)
                num_lines[name] += len(table)
    for name, path in paths.items():
        print(f"written: {path}, {num_lines[name]:,} {name if name != 'factors' else 'rows'}")


def _intervals(are_few: bool) -> Intervals | None:
    """The value of the flag; for many rows the intervals that take no draws, unless it is set."""
    chosen: Any = _INTERVALS.value  # one of INTERVALS
    return chosen or (None if are_few else "variational")


def _known(
    run: FittedRun, say: Callable[[str], None], intervals: Intervals | None
) -> Iterable[pd.DataFrame]:
    """The recommendations for rows of the run, in blocks."""
    seen = None
    if not _INCLUDE_SEEN.value:
        seen = vigamma.load_run_data(run, _DATA_PATH.value).seen
    if _USER.value:
        users = split_names(run.factors.row_names, _USER.value, run.factors.row_ids)
        options = _options(_FEW_DRAWN) | {"intervals": intervals}
        return [vigamma.recommend(run, users, seen=seen, **options)]
    listed = read_names(Path(_USERS.value)) if _USERS.value else None
    options = _options(0) | {"intervals": intervals}
    return vigamma.recommend_all(run, listed, seen=seen, say=say, **options)


def _options(draws: int) -> dict[str, Any]:
    return {
        "top": _TOP.value,
        "interval": _INTERVAL.value,
        "draws": draws if _DRAWS.value is None else _DRAWS.value,
        "seed": _SEED.value,
    }


def _print(table: pd.DataFrame, which: str, samples: Samples | None) -> None:
    draws = _options(0 if _USERS.value else _FEW_DRAWN)["draws"]
    kind = f"of {draws:,} draws, seed {_SEED.value}" if draws else "of Gammas with that mean and sd"
    if samples is not None:
        kind = f"of {samples.num_draws:,} posterior samples"
    print(f"{_RUN.workdir}, {which}; {100 * _INTERVAL.value:g} % intervals {kind}")
    if samples is None:
        print(of_mean_field(75, "rates"))
    if table.empty:
        print("nothing is left to recommend: every item has been seen")
    for user, own in table.groupby("user", sort=False):
        print(f"\n{user}")
        print("\n".join("  " + line for line in aligned(own.drop(columns="user"))))
