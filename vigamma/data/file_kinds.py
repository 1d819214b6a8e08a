"""The kinds of files of counts and their readers, recognized by name and first bytes."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

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
from vigamma.data.readers.packed_files import FormatError, open_bytes, plain_name
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import beside, open_utf8, reading

Reader = Callable[..., RawCounts]

OPTIONS = ("layer", "columns", "encoding", "row_label")
"""The names of the options that only some readers have."""

LDA_C = "a bag of words of LDA-C"
TABLE = "a table with a row, a column and a count a line, or a matrix"
KINDS: dict[Reader, str] = {
    scipy_npz.read: "a matrix of SciPy",
    numpy_npy.read: "a matrix of NumPy",
    matrix_market.read: "a matrix of MatrixMarket",
    h5ad.read: "single cells of AnnData",
    lda_c.read: LDA_C,
    bag_of_words.read: "a bag of words of UCI",
    ten_x.read: "single cells of 10x Genomics",
    ten_x_h5.read: "single cells of Cell Ranger",
    arrow.read: "a table of Parquet or Arrow",
    delimited.read: TABLE,
}
_BINARY_ENDS: dict[str, Reader] = {
    ".npz": scipy_npz.read,
    ".npy": numpy_npy.read,
    ".h5ad": h5ad.read,
    ".parquet": arrow.read,
    ".pq": arrow.read,
    ".feather": arrow.read,
    ".arrow": arrow.read,
}
_TEXT_ENDS: dict[str, Reader] = {
    ".mtx": matrix_market.read,
    ".ldac": lda_c.read,
    ".lda-c": lda_c.read,
}
_BINARY_BEGINNINGS: dict[bytes, Reader] = {
    b"PK\x03\x04": scipy_npz.read,
    b"\x93NUMPY": numpy_npy.read,
    b"\x89HDF": h5ad.read,
}
_MATRIX_MARKET = b"%%MatrixMarket"
_PAIR = re.compile(rb"\d+:[\d.]+")


def takes(read: Reader, option: str) -> bool:
    """Whether a reader has an option of `OPTIONS`."""
    return option in inspect.signature(read).parameters


def place_of(path: Path) -> Path:
    """The file to read, or the folder of a matrix and its names."""
    if path.is_file():
        is_ten_x = plain_name(path) == "matrix.mtx" and beside(path.parent, "barcodes.tsv")
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


def reader_of(place: Path, encoding: str = "") -> Reader:
    """The reader of a file, by its name or first bytes; delimited text if neither is known."""
    if place.is_dir():
        return ten_x.read
    name = plain_name(Path(place.name.lower()))
    if name.startswith("docword"):
        return bag_of_words.read
    end = Path(name).suffix
    if end in _TEXT_ENDS:
        return _TEXT_ENDS[end]
    if end in _BINARY_ENDS:
        if name != place.name.lower():
            raise FormatError(f"{place} is compressed, and {end} is not unpacked: do so first")
        return _BINARY_ENDS[end]
    return _by_beginning(place, encoding)


def _by_beginning(place: Path, encoding: str) -> Reader:
    with reading(place, "a file of counts"), place.open("rb") as stored, open_bytes(place) as file:
        start = file.read(8)
        is_packed = stored.read(8) != start
    for beginning, read in _BINARY_BEGINNINGS.items():
        if start.startswith(beginning):
            if is_packed:
                raise FormatError(f"{place} has {KINDS[read]} in it, compressed: unpack it first")
            return ten_x_h5.read if read is h5ad.read and not h5ad.has_cells(place) else read
    with reading(place, "a file of counts"), open_utf8(place, encoding) as file:
        start = file.read(2**16)
    if start.startswith(_MATRIX_MARKET):
        return matrix_market.read
    return lda_c.read if _is_lda_c(start) else delimited.read


def _is_lda_c(start: bytes) -> bool:
    """Whether the first line with several fields is a number followed by pairs like 12:3."""
    lines = start.splitlines()
    for line in lines:
        size, *pairs = line.split()[:1000] or [b""]
        if pairs:
            is_cut = line is lines[-1] and not start.endswith(b"\n") and len(pairs) > 1
            return size.isdigit() and all(map(_PAIR.fullmatch, pairs[:-1] if is_cut else pairs))
    return False
