"""Counts from files of many formats: one matrix, or the parts of a published split."""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vigamma.counts.names import numbered, repeated
from vigamma.counts.rules import CountRules, are_stars
from vigamma.counts.sparse import either
from vigamma.counts.words import Labels, Words
from vigamma.data.file_kinds import KINDS, OPTIONS, place_of, reader_of, takes
from vigamma.data.names_files import named_by
from vigamma.data.parts import Parts, add_part, find_parts, with_common_names
from vigamma.data.readers.delimited_fields import check_columns
from vigamma.data.readers.raw_counts import RawCounts, make_counts
from vigamma.data.readers.text_files import check_encoding, shown
from vigamma.typing import PathText, spec

PARTS = "the parts of a matrix"
_ANNOUNCED_BYTES = 2**24  # files of this size take a while to read


class LoadedCounts(NamedTuple):
    """The counts that a data source loads.

    Attributes:
      counts: all counts, canonical; shape (N, M).
      parts: the split that the counts come with, or None.
      row_names: the names of the rows, strings of `StringDType`, shape (N,); None if they have
        none.
      column_names: the names of the columns, likewise; shape (M,).
      notes: remarks for the user, one line each.
      dropped: true at the cells that the data list, but whose numbers are no counts, as those below
        a threshold; shape (N, M), or None. Answers take them for seen.
      row_ids: what the rows are called in the file of counts, where another file gives the names;
        strings of `StringDType`, shape (N,), or None.
      column_ids: likewise; shape (M,).
      words: what rows and columns are called.
      labels: the labels of the rows, or None.
    """

    counts: csr_array
    parts: Parts | None = None
    row_names: np.ndarray | None = None
    column_names: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    dropped: csr_array | None = None
    row_ids: np.ndarray | None = None
    column_ids: np.ndarray | None = None
    words: Words = Words()
    labels: Labels | None = None


@spec
class SparseCounts:
    """Counts from a file or a folder, whose format is recognized by name and first bytes.

    * `.npz`: a matrix of `scipy.sparse.save_npz`; `.npy`: a dense one of `numpy.save`.
    * `.mtx`: a matrix of MatrixMarket.
    * a folder with `matrix.mtx`: single cells from 10x Genomics' Cell Ranger.
    * `.parquet`, `.feather`, `.arrow`: tables with a row, a column and a count per line;
      extra `parquet`.
    * `.h5`: single cells from Cell Ranger, version 2 or later.
    * `.h5ad`: single cells in AnnData; extra `anndata`.
    * `docword*.txt`, and `vocab*.txt` beside it: a bag of words of the UCI repository.
    * "N term:count ..." in the first line: a bag of words of LDA-C.
    * any other text: "row column count" in each line, or "row column", which counts 1; or a matrix
      with column names in a header and row names in the first field.
    * a folder with `train`, `test` and optionally `valid` or `validation`, each in one of the file
      formats, for example `train.tsv`: the parts of one matrix. If they have names, the matrix has
      the rows and columns of all parts.

    Text files `rows.txt` and `columns.txt` (or `vocab.txt`) in the folder of an `.npz` or `.mtx`
    hold names, one per line, and `labels.txt` labels of the rows; `row_names` and `column_names`
    take names from a file of any place, by ids, and answers show them. Text may be compressed:
    `.gz`, `.bz2`, `.xz`, `.zst`, or a `.zip` of one file. The readers in `vigamma.data.readers`
    give details.

    Attributes:
      path: the file or the folder.
      duplicates: how several entries of one cell are merged: "sum", "last" or "max".
      at_least: the threshold below which entries are dropped after that; 0 drops none. Answers and
        rankings take the cells of dropped entries for seen, as they do those of counts.
      rounding: the treatment of fractional numbers: "none" rejects them, "nearest" rounds halves to
        even, and "stochastic" rounds up with a probability equal to the fraction. Numbers within
        1e-6 of a whole one are always rounded to it.
      rounding_seed: the seed of "stochastic".
      binary: whether the remaining nonzeros are replaced by 1.
      layer: for `.h5ad`, a layer or "raw"; for 10x Genomics, a type of features or a genome; "" for
        the default of the reader.
      columns: for delimited text, the fields of row, column and count, by header
        ("user,item,count") or by number from 1 ("1,2,4"); only two if every line counts 1; "all"
        for a matrix; "" to infer them from the first lines, with a note.
      transpose: whether rows and columns are swapped, as for genes × cells.
      encoding: the encoding of text, such as "latin-1" or "utf-16"; "" for UTF-8, or that of a byte
        order mark.
      row_names: a file with an id and a name on each line, such as "users.csv", for the rows that
        the counts call by ids or, without any, by numbers from 0; or with only a name on each, in
        the order of the rows. Swapped rows and columns are named as they are then.
      column_names: likewise for the columns, such as "movies.csv".
      row_word: what a row is called, for example "cell", or "nucleus,nuclei" if the plural is
        irregular; "" for what the format or the header of the file says, or else "row".
      column_word: the same of a column, for example "gene".
      row_label: for `.h5ad`, the column of `obs` with the labels of the rows, by which a report
        groups them; "" for `cell_type`, `celltype`, `leiden` or `louvain`, or else the first
        categorical one.
    """

    path: PathText = PathText()
    duplicates: str = "sum"
    at_least: float = 0.0
    rounding: str = "none"
    rounding_seed: int = 0
    binary: bool = False
    layer: str = ""
    columns: str = ""
    transpose: bool = False
    encoding: str = ""
    row_names: str = ""
    column_names: str = ""
    row_word: str = ""
    column_word: str = ""
    row_label: str = ""

    def __post_init__(self) -> None:
        """Converts a path to text, which flags and JSON files have, too."""
        self.path = os.fspath(self.path)

    @property
    def rules(self) -> CountRules:
        """The conversions of the numbers."""
        return CountRules(**{name: getattr(self, name) for name in CountRules._fields})

    def validate(self) -> None:
        """Raises ValueError for an empty path and for invalid fields."""
        if not self.path:
            raise ValueError(
                "path is not set: name a file or a folder of counts, for example "
                "--config.data.path=counts.npz"
            )
        self.rules.validate()
        check_columns(self.columns)
        check_encoding(self.encoding)

    def load(self) -> LoadedCounts:
        """Reads the file or the folder; a note says how stars are fitted if nothing was chosen.

        Raises the errors of `read`.
        """
        loaded = self.read()
        if self.at_least > 0 or self.binary or not are_stars(loaded.counts):
            return loaded
        note = (
            f"{self.path}: counts are fitted as they are: 5 stars weigh five times as much as 1, "
            "and 1 star counts as a like; --config.data.at_least=4 --config.data.binary=True fits "
            "likes"
        )
        return loaded._replace(notes=(*loaded.notes, note))

    def read(self) -> LoadedCounts:
        """Reads the file or the folder.

        Raises:
          FileNotFoundError: for a file that does not exist.
          ValueError: for fields out of range, for a file that is broken or holds no counts (the
            message is one line and names it), and for parts that differ in shape or share a
            nonzero.
        """
        path = Path(self.path)
        files = find_parts(path) if path.is_dir() else {}
        if files:
            return self._load_parts(files)
        raw = self._read(path)
        counts, notes, dropped = make_counts(raw, self.path, self.rules)
        return self._described(LoadedCounts(counts, notes=notes, dropped=dropped), raw)

    def announcement(self) -> str | None:
        """A message to show before a slow load; None if there is little to read."""
        path = Path(self.path)
        files = [path] if path.is_file() else path.iterdir() if path.is_dir() else []
        size = sum(file.stat().st_size for file in files if file.is_file())
        return f"reading {path} ({size / 1e6:,.0f} MB)" if size >= _ANNOUNCED_BYTES else None

    def _read(self, path: Path) -> RawCounts:
        place = place_of(path)
        read = reader_of(place, self.encoding)
        options = {name: value for name in OPTIONS if (value := getattr(self, name))}
        for name, value in options.items():
            is_of_names = name == "encoding" and bool(self.row_names or self.column_names)
            if not takes(read, name) and not is_of_names:
                raise ValueError(f"{name} is {value!r}, but {path} is {KINDS[read]}, without any")
        raw = read(place, **{n: value for n, value in options.items() if takes(read, n)})
        return raw.transposed(path) if self.transpose else raw

    def _load_parts(self, files: dict[str, Path]) -> LoadedCounts:
        raws = with_common_names({path: self._read(path) for path in files.values()})
        parts, notes, dropped = {}, list[str](), None
        for part, (name, path) in enumerate(files.items()):
            parts[name], said, others = make_counts(raws[path], str(path), self.rules, part)
            notes.extend(said)
            dropped = either(dropped, others)
        total = add_part(parts["train"], parts["test"], files["test"])
        if "valid" in parts:
            total = add_part(total, parts["valid"], files["valid"])
        raw = raws[files["train"]]
        split = Parts(parts["train"], parts.get("valid"), parts["test"])
        loaded = LoadedCounts(total, split, notes=tuple(notes), dropped=dropped)
        return self._described(loaded, raw)

    def _described(self, loaded: LoadedCounts, raw: RawCounts) -> LoadedCounts:
        """The counts with names, also by files of names, words and labels, and notes on these."""
        num_rows, num_columns = loaded.counts.shape
        row_names, row_ids, of_rows = self._side(raw.row_names, self.row_names, "rows", num_rows)
        column_names, column_ids, of_columns = self._side(
            raw.column_names, self.column_names, "columns", num_columns
        )
        return loaded._replace(
            row_names=row_names,
            column_names=column_names,
            notes=loaded.notes + of_rows + of_columns,
            row_ids=row_ids,
            column_ids=column_ids,
            words=raw.words.given(self.row_word, self.column_word),
            labels=raw.labels,
        )

    def _side(
        self, names: np.ndarray | None, path: str, side: str, size: int
    ) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
        """The names of rows or columns, their ids if a file at `path` gives names, and notes."""
        ids: np.ndarray | None = None
        notes: tuple[str, ...] = ()
        if path:
            ids = numbered(size) if names is None else names
            names, notes = named_by(Path(path), ids, side, self.encoding)
        if names is not None and (times := repeated(names)):
            first, most = next(iter(times.items()))
            notes += (
                f"{self.path}: {sum(times.values()):,} {side} share {len(times):,} names, "
                f"{shown(first)} is of {most:,}; by such a name none can be asked for",
            )
        return names, ids, notes


def as_rules_for(path: Path, rules: SparseCounts) -> SparseCounts:
    """A copy of the rules for another file, without labels and options that its kind lacks.

    Nor does it have files of names: the names of a run are those that it has stored.
    """
    parts = find_parts(path) if path.is_dir() else {}
    read = reader_of(place_of(parts.get("train", path)), rules.encoding)
    unknown: dict[str, Any] = {name: "" for name in OPTIONS if not takes(read, name)}
    named: dict[str, Any] = {"row_names": "", "column_names": "", "row_label": ""}
    return dataclasses.replace(rules, **unknown | named | {"path": str(path)})


def kind_of(path: Path, encoding: str = "") -> str:
    """The kind of a file or folder, recognized as by `SparseCounts.load`; raises its errors."""
    if path.is_dir() and find_parts(path):
        return PARTS
    return KINDS[reader_of(place_of(path), encoding)]
