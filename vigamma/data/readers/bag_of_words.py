"""Bags of words in the format of the UCI repository: `docword*.txt` and `vocab*.txt`."""

from pathlib import Path

from scipy.sparse import coo_array

from vigamma.counts.words import DOCUMENTS
from vigamma.data.readers.numbered_entries import Body, Field, checked_size, read_entries
from vigamma.data.readers.packed_files import plain_name
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import (
    FormatError,
    at_line,
    beside,
    numbered_lines,
    read_names,
    reading,
)

_HEADER = ("the number of documents", "the number of words", "the number of entries")


def read(path: Path, encoding: str = "") -> RawCounts:
    """Reads lines of "document word count", numbered from 1, below three lines of sizes.

    Rows are documents, columns are words. The vocabulary, one word per line, is in the same folder,
    in the file with "vocab" instead of "docword" in its name. Without it words have no names, and a
    note says so.

    Args:
      path: the file.
      encoding: the encoding of the texts; "" for UTF-8, or that of a byte order mark.

    Raises:
      FormatError: for a file that is broken; the message names the line.
    """
    with reading(path, "a bag of words"):
        *shape, num_entries = _sizes(path, encoding)
        fields = (Field("document", shape[0]), Field("word", shape[1]), Field("count"))
        body = Body(num_entries, lines_before=len(_HEADER))
        rows, columns, counts = read_entries(path, body, fields, encoding)
    matrix = coo_array((counts, (rows, columns)), shape=shape)
    vocabulary = beside(path.parent, plain_name(path).replace("docword", "vocab"))
    if vocabulary is None or vocabulary == path:
        note = f"{path}: words have no names without a vocab file"
        return RawCounts(matrix, notes=(note,), words=DOCUMENTS)
    words = read_names(vocabulary, encoding)
    if len(words) != shape[1]:
        raise FormatError(f"{vocabulary} has {len(words)} lines, but {path} {shape[1]} words")
    return RawCounts(matrix, column_names=words, words=DOCUMENTS)


def _sizes(path: Path, encoding: str) -> list[int]:
    sizes = []
    for (number, line), meaning in zip(numbered_lines(path, encoding), _HEADER, strict=False):
        sizes.append(checked_size(path, number, line.strip(), meaning))
    if len(sizes) < len(_HEADER):
        raise at_line(path, len(sizes) + 1, f"expected {_HEADER[len(sizes)]}, but the file ends")
    return sizes
