"""Counts from files of many formats: one matrix, or one in parts that somebody else has split."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vigamma.data.count_rules import CountRules
from vigamma.data.names import repeated
from vigamma.data.parts import Parts, add_part, find_parts, with_common_names
from vigamma.data.raw_counts import RawCounts, make_counts
from vigamma.data.readers import (
    arrow,
    bag_of_words,
    delimited,
    h5ad,
    lda_c,
    matrix_market,
    numpy_npy,
    scipy_npz,
    ten_x,
    ten_x_h5,
)
from vigamma.data.text_files import FormatError, beside, open_bytes, reading, shown
from vigamma.typing import spec

Reader = Callable[[Path], RawCounts]

_ENDS: dict[str, Reader] = {
    ".npz": scipy_npz.read,
    ".npy": numpy_npy.read,
    ".mtx": matrix_market.read,
    ".h5ad": h5ad.read,
    ".ldac": lda_c.read,
    ".lda-c": lda_c.read,
    ".parquet": arrow.read,
    ".pq": arrow.read,
    ".feather": arrow.read,
    ".arrow": arrow.read,
}
_BEGINNINGS: dict[bytes, Reader] = {
    b"PK\x03\x04": scipy_npz.read,
    b"\x93NUMPY": numpy_npy.read,
    b"%%MatrixMarket": matrix_market.read,
    b"\x89HDF": h5ad.read,
}
_BINARY = (".npz", ".npy", ".h5ad", ".parquet", ".pq", ".feather", ".arrow")
PARTS = "the parts of a matrix"
CELL_RANGER = "single cells of Cell Ranger"
ANNDATA = "single cells of AnnData"
LDA_C = "a bag of words of LDA-C"
TABLE = "a table with a row, a column and a count a line"
_KINDS: dict[Reader, str] = {
    scipy_npz.read: "a matrix of SciPy",
    numpy_npy.read: "a matrix of NumPy",
    matrix_market.read: "a matrix of MatrixMarket",
    h5ad.read: ANNDATA,
    lda_c.read: LDA_C,
    bag_of_words.read: "a bag of words of UCI",
    ten_x.read: "single cells of 10x Genomics",
    ten_x_h5.read: CELL_RANGER,
    arrow.read: "a table of Parquet or Arrow",
    delimited.read: TABLE,
}
_PAIR = re.compile(rb"\d+:[\d.]+")
_ANNOUNCED_BYTES = 2**24


class LoadedCounts(NamedTuple):
    """What a source of counts loads.

    Attributes:
      counts: all counts, canonical, of shape (N, M).
      parts: their split, if they came in one.
      row_names: what the rows are called, strings of `StringDType`, shape (N,); None if nothing is
        known but their numbers.
      column_names: the same of the columns, shape (M,).
      notes: what whoever loads them should know, a line each.
    """

    counts: csr_array
    parts: Parts | None = None
    row_names: np.ndarray | None = None
    column_names: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@spec
class SparseCounts:
    """Counts from a file or a folder, told apart by names and first bytes.

    * `.npz`: a matrix of `scipy.sparse.save_npz`; `.npy`: a dense one of `numpy.save`.
    * `.mtx`, `.mtx.gz`: a matrix of MatrixMarket.
    * a folder with `matrix.mtx`: single cells from 10x Genomics' Cell Ranger.
    * `.parquet`, `.feather`, `.arrow`: tables of a row, a column and a count a line;
      `pip install 'vigamma[parquet]'`.
    * `.h5`: single cells from Cell Ranger, version 2 or later.
    * `.h5ad`: single cells in AnnData; `pip install 'vigamma[anndata]'`.
    * `docword*.txt`, and `vocab*.txt` beside it: a bag of words of the UCI repository.
    * "N term:count ..." in the first line: a bag of words of LDA-C.
    * any other text: "row column count" in each line, or "row column", which counts 1.
    * a folder with `train`, `test` and, if there is one, `valid` or `validation`, of one of the
      formats for files, for example `train.tsv`: the parts of one matrix. If they have names, the
      rows and columns are those of all parts together.

    Beside `.npz` and `.mtx` there may be `rows.txt` and `columns.txt` (or `vocab.txt`) with names,
    one a line. Text may be gzipped. Each reader in `vigamma.data.readers` says more. Entries of one
    cell are summed, and a note says how many.

    Attributes:
      path: the file or the folder.
      duplicates: which of several entries of one cell counts: their "sum", the "last" or the "max".
      at_least: entries below it are then dropped; 0 drops none.
      rounding: of numbers that are not whole: "none" refuses them, "nearest" rounds halves to even,
        and "stochastic" rounds up with the probability of the fraction. What is within 1e-6 of a
        whole number is taken for it.
      rounding_seed: of "stochastic".
      binary: whether all that is left, and is not 0, counts 1.
      layer: of `.h5ad`, the layer to read, or "raw"; "" for X. Of Cell Ranger's `.h5` the type of
        the features, "" for genes, or of version 2 the genome.
    """

    path: str = ""
    duplicates: str = "sum"
    at_least: float = 0.0
    rounding: str = "none"
    rounding_seed: int = 0
    binary: bool = False
    layer: str = ""

    @property
    def rules(self) -> CountRules:
        """What becomes of the numbers."""
        return CountRules(**{name: getattr(self, name) for name in CountRules._fields})

    def validate(self) -> None:
        """Raises ValueError for an empty path, and for a rule that is none."""
        if not self.path:
            raise ValueError(
                "path is not set: name a file or a folder of counts, for example "
                "--config.data.path=counts.npz"
            )
        self.rules.validate()

    def load(self) -> LoadedCounts:
        """Reads the file or the folder.

        Raises:
          FileNotFoundError: for a file that does not exist.
          ValueError: for fields out of range, for a file that is broken or holds no counts (one
            line, which names it), and for parts that differ in shape or share a nonzero.
        """
        self.validate()
        path = Path(self.path)
        files = find_parts(path) if path.is_dir() else {}
        if files:
            return self._load_parts(files)
        raw = self._read(path)
        counts, notes = make_counts(raw, self.path, self.rules)
        return LoadedCounts(counts, None, *_named(raw, self.path, notes))

    def announcement(self) -> str | None:
        """What to say before a load that takes a while; None if there is nothing to read."""
        path = Path(self.path)
        files = [path] if path.is_file() else path.iterdir() if path.is_dir() else []
        size = sum(file.stat().st_size for file in files if file.is_file())
        return f"reading {path} ({size / 1e6:,.0f} MB)" if size >= _ANNOUNCED_BYTES else None

    def _read(self, path: Path) -> RawCounts:
        place = _place(path)
        read = _reader_of(place)
        if not self.layer:
            return read(place)
        if read not in (h5ad.read, ten_x_h5.read):
            raise ValueError(f"layer is {self.layer!r}, but {path} is no .h5ad or .h5 file")
        return read(place, self.layer)

    def _load_parts(self, files: dict[str, Path]) -> LoadedCounts:
        raws = with_common_names({path: self._read(path) for path in files.values()})
        parts, notes = {}, ()
        for part, (name, path) in enumerate(files.items()):
            parts[name], said = make_counts(raws[path], str(path), self.rules, part)
            notes += said
        total = add_part(parts["train"], parts["test"], files["test"])
        if "valid" in parts:
            total = add_part(total, parts["valid"], files["valid"])
        raw = raws[files["train"]]
        split = Parts(parts["train"], parts.get("valid"), parts["test"])
        return LoadedCounts(total, split, *_named(raw, self.path, notes))


def _named(
    raw: RawCounts, path: str, notes: tuple[str, ...]
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """The names of rows and columns, and the notes with one for names that are not unique."""
    sides = {"rows": raw.row_names, "columns": raw.column_names}
    for side, names in sides.items():
        if names is not None and (times := repeated(names)):
            first, most = next(iter(times.items()))
            notes += (
                f"{path}: {sum(times.values()):,} {side} share {len(times):,} names, "
                f"{shown(first)} is of {most:,}; by such a name none can be asked for",
            )
    return raw.row_names, raw.column_names, notes


def kind_of(path: Path) -> str:
    """What `SparseCounts` takes a file or a folder for, in words; raises as its `load`."""
    if path.is_dir() and find_parts(path):
        return PARTS
    return _KINDS[_reader_of(_place(path))]


def _place(path: Path) -> Path:
    """What there is to read: a file, or the folder of a matrix and its names."""
    if path.is_file():
        name = path.name.removesuffix(".gz")
        is_ten_x = name == "matrix.mtx" and beside(path.parent, "barcodes.tsv") is not None
        return path.parent if is_ten_x else path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file {path}")
    if beside(path, "matrix.mtx") is not None:
        return path
    bags = sorted(path.glob("docword*.txt*"))
    if len(bags) != 1:
        raise FileNotFoundError(
            f"there is no file {path / 'train.npz'} (or .tsv, .csv, ...), nor a matrix.mtx, nor "
            f"one docword*.txt"
        )
    return bags[0]


def _reader_of(place: Path) -> Reader:
    """By the name, or else by what a file begins with; any other file is delimited text."""
    if place.is_dir():
        return ten_x.read
    name = place.name.lower().removesuffix(".gz")
    if name.startswith("docword"):
        return bag_of_words.read
    if (end := Path(name).suffix) in _ENDS:
        if end in _BINARY and place.suffix.lower() == ".gz":
            raise FormatError(f"{place} is gzipped, which {end} is not read from: gunzip it first")
        return _ENDS[end]
    with reading(place, "a file of counts"), open_bytes(place) as file:
        start = file.read(2**16)
    for beginning, read in _BEGINNINGS.items():
        if start.startswith(beginning):
            return ten_x_h5.read if read is h5ad.read and not h5ad.has_cells(place) else read
    return lda_c.read if _is_lda_c(start) else delimited.read


def _is_lda_c(start: bytes) -> bool:
    """Whether all but the first field, in the first line with more of them, are like 12:3."""
    lines = start.splitlines()
    for line in lines:
        size, *pairs = line.split()[:1000] or [b""]
        if pairs:
            is_cut = line is lines[-1] and not start.endswith(b"\n") and len(pairs) > 1
            return size.isdigit() and all(map(_PAIR.fullmatch, pairs[:-1] if is_cut else pairs))
    return False
