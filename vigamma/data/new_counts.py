"""Reading counts of rows that were not in a run, in the columns of the run."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, eye_array

from vigamma.counts.names import as_names, numbered, places_in_file, repeated
from vigamma.counts.rules import NotCountsError
from vigamma.counts.sparse import canonical_numbers, with_dropped
from vigamma.data.counts_list import is_list, name_of, read_listed_counts, shown
from vigamma.data.file_kinds import LDA_C, TABLE
from vigamma.data.files import LoadedCounts, SparseCounts, as_rules_for, kind_of
from vigamma.data.readers.text_files import FormatError, numbered_lines
from vigamma.errors import ConfigError


class NewCounts(NamedTuple):
    """The counts of new rows.

    Attributes:
      counts: canonical, of shape (U, M); rows may be empty.
      row_names: strings of `StringDType`, shape (U,); numbers from "0" if the file has no names.
      is_list: whether the file lists the counts of a single row.
      notes: remarks for the user, one line each.
      dropped: true at the cells that the file lists, but whose numbers are no counts, as those
        below a threshold; shape (U, M), or None.
    """

    counts: csr_array
    row_names: np.ndarray
    is_list: bool
    notes: tuple[str, ...]
    dropped: csr_array | None = None

    @property
    def seen(self) -> csr_array:
        """True at all cells that the file lists, whether their numbers are counts or not."""
        return with_dropped(self.counts, self.dropped)


def read_new_counts(
    path: Path,
    column_names: np.ndarray,
    rules: SparseCounts,
    column_ids: np.ndarray | None = None,
) -> NewCounts:
    """Reads a list of the counts of one row, or any format of `SparseCounts`.

    Columns are matched to those of the run by id, if it has ids, or name or, if the file has no
    names, by number. Columns that the run does not have are skipped.

    Args:
      path: a file or a folder.
      column_names: the column names of the run; shape (M,).
      rules: the options by which the counts of the run were read; the path is ignored.
      column_ids: the ids of the columns, if a file of names gave them other names; shape (M,).

    Raises:
      FileNotFoundError: if there is no such file.
      ConfigError: for a file that is broken, that has no column of the run, whose column names are
        ambiguous, or that has no names and another number of columns than the run.
    """
    try:
        rules = dataclasses.replace(rules, encoding=_encoding_of(path, rules))
        kind = kind_of(path, rules.encoding)
        layout = rules.encoding, rules.columns, rules.transpose
        if kind == TABLE and is_list(path, column_names, *layout, column_ids):
            return _read_list(path, column_names, rules, column_ids)
        loaded = as_rules_for(path, rules).read()
    except NotCountsError as error:
        held = f"the rules of the run hold for new counts, too: {rules.rules}"
        raise ConfigError(f"{error.problem}; {held}") from error
    except ValueError as error:
        held = "; options of data are those of the run" if "--config.data" in str(error) else ""
        raise ConfigError(f"{error}{held}") from error
    unknown: list[str] = []
    if loaded.column_names is None:
        width = loaded.counts.shape[1]
        chosen = _by_number(width, path, len(column_names), may_lack_last=kind == LDA_C)
    else:
        chosen, unknown = _by_name(loaded.column_names, path, column_names, column_ids)
    return _in_columns(path, kind, loaded, chosen, unknown)


def _in_columns(
    path: Path, kind: str, loaded: LoadedCounts, chosen: csr_array, unknown: list[str]
) -> NewCounts:
    """The counts in the columns of the run; `chosen` has a one where a column of the file is it."""
    counts = canonical_numbers(loaded.counts @ chosen)
    dropped = None if loaded.dropped is None else (loaded.dropped @ chosen).astype(bool)
    lost = loaded.counts.nnz - counts.nnz
    notes = [f"passed over: {shown(unknown)}; {lost:,} entries"] if unknown else []
    num_rows, num_empty = counts.shape[0], int((np.diff(counts.indptr) == 0).sum())
    by = "numbers" if loaded.column_names is None else "names"
    taken = f"{path} is taken for {kind}: {num_rows:,} rows, columns by their {by}"
    if num_empty:
        notes.append(f"rows without a count of the columns of the run: {num_empty:,}")
    names = numbered(num_rows) if loaded.row_names is None else loaded.row_names
    return NewCounts(counts, names, False, (taken, *loaded.notes, *notes), dropped)


def _encoding_of(path: Path, rules: SparseCounts) -> str:
    """The encoding of the run, or "" (UTF-8) if a text can be decoded as UTF-8."""
    if not rules.encoding or not path.is_file():
        return rules.encoding
    try:
        for _ in numbered_lines(path):
            pass
    except FormatError:
        return rules.encoding
    return ""


def _read_list(
    path: Path, column_names: np.ndarray, rules: SparseCounts, column_ids: np.ndarray | None
) -> NewCounts:
    listed = read_listed_counts(path, column_names, rules.rules, rules.encoding, column_ids)
    taken = f"{path} is taken for a list of the counts of one row"
    passed_over = (f"passed over: {shown(listed.unknown)}",) if listed.unknown else ()
    notes = (taken, *passed_over, *listed.notes)
    return NewCounts(listed.counts, as_names([name_of(path)]), True, notes, listed.dropped)


def _by_number(width: int, path: Path, num_columns: int, may_lack_last: bool) -> csr_array:
    """Ones where a column of the file is that of the run; shape (`width`, `num_columns`).

    Raises ConfigError if the numbers of columns differ, unless the file may lack the last ones.
    """
    if width > num_columns or (width < num_columns and not may_lack_last):
        raise ConfigError(
            f"{path} has {width:,} columns without names, but the run has {num_columns:,}"
        )
    return csr_array(eye_array(width, num_columns, dtype=np.int32))


def _by_name(
    loaded_names: np.ndarray,
    path: Path,
    column_names: np.ndarray,
    column_ids: np.ndarray | None,
) -> tuple[csr_array, list[str]]:
    """Ones where a column of the file is that of the run, and the names of those skipped."""
    if np.array_equal(loaded_names, column_names if column_ids is None else column_ids):
        return csr_array(eye_array(len(column_names), dtype=np.int32)), []
    names, places = loaded_names.tolist(), places_in_file(column_names, column_ids)
    distinct = dict.fromkeys(names)
    several = repeated(loaded_names) | repeated(column_names)
    ambiguous = [name for name in distinct if name in places and name in several]
    if ambiguous:
        raise ConfigError(
            f"{path}: {len(ambiguous):,} names are of several columns, there or in the run: "
            + ", ".join(map(repr, ambiguous[:5]))
        )
    unknown = [name for name in distinct if name not in places]
    known = [i for i, name in enumerate(names) if name in places]
    if not known:
        raise ConfigError(f"{path} has no column that is a column of the run; {shown(unknown)}")
    columns = [places[names[i]] for i in known]
    shape = len(names), len(column_names)
    return csr_array((np.ones(len(known), np.int32), (known, columns)), shape=shape), unknown
