"""Bags of words in the format of LDA-C (Blei), with lines "N term:count term:count ..."."""

import re
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from vigamma.counts.words import DOCUMENTS
from vigamma.data.readers.packed_files import plain_name
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import (
    FormatError,
    at_line,
    beside,
    numbered_lines,
    read_names,
    reading,
    shown,
)

_LINE = re.compile(r"\s*\d+(\s+\d+:[^\s:_]+)*\s*")
_DIGITS = str.maketrans("", "", "0123456789")
_VOCABULARIES = "vocab", "tokens"
_LARGEST_TERM = 2**31 - 2  # so that the number of terms is below 2^31


def read(path: Path, encoding: str = "") -> RawCounts:
    """Reads one document per line; its terms are numbered from 0 and may be in any order.

    The vocabulary has one term per line. Its name is that of the file with `.vocab` or `.tokens`
    appended, as gensim writes it, or in place of the suffix, or else `vocab.txt` or `vocab.dat`.
    Without it terms have no names, and a note says so. (Scikit-learn's reader of the similar
    SVMlight format rejects unsorted terms, which are common here.)

    Args:
      path: the file.
      encoding: the encoding of the texts; "" for UTF-8, or that of a byte order mark.

    Raises:
      FormatError: for a file that is broken; the message names the line.
    """
    with reading(path, "a file of LDA-C"):
        terms, counts, ends = _read_documents(path, encoding)
    num_terms = int(terms.max(initial=-1)) + 1
    name = plain_name(path)
    own = (f"{stem}.{end}" for stem in (name, name.rpartition(".")[0]) for end in _VOCABULARIES)
    vocabulary = beside(path.parent, *own, "vocab.txt", "vocab.dat")
    names, notes = None, [f"{path}: terms have no names without a vocab.txt"]
    if vocabulary is not None:
        names, notes = read_names(vocabulary, encoding), []
        if len(names) < num_terms:
            raise FormatError(
                f"{vocabulary} has {len(names)} lines, but {path} has term {num_terms - 1} (from 0)"
            )
        num_terms = len(names)
    matrix = csr_array((counts, terms, ends), shape=(len(ends) - 1, num_terms))
    return RawCounts(matrix, column_names=names, notes=tuple(notes), words=DOCUMENTS)


def _read_documents(path: Path, encoding: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms and counts of all entries, and the boundaries of the documents."""
    terms, counts, ends = [np.empty(0, np.int32)], [np.empty(0)], [0]
    for number, line in numbered_lines(path, encoding):
        try:
            entries = _entries(line)
        except ValueError as error:
            problem = f"expected 'N term:count term:count ...', {error}"
            raise at_line(path, number, problem) from error
        terms.append(entries[0].astype(np.int32))
        counts.append(entries[1].copy())
        ends.append(ends[-1] + entries.shape[1])
    if len(ends) == 1:
        raise FormatError(f"{path} is empty; expected lines of 'N term:count term:count ...'")
    return np.concatenate(terms), np.concatenate(counts), np.array(ends)


def _entries(line: str) -> np.ndarray:
    """The terms and the counts of a line; float64 of shape (2, N)."""
    size = line.count(":")
    # A cheap test first: most lines consist of digits, blanks and colons.
    if line.translate(_DIGITS) != " :" * size and not _LINE.fullmatch(line):
        raise ValueError(f"got {shown(line)}")
    numbers = np.array(line.replace(":", " ").split(), np.float64)
    if len(numbers) != 2 * size + 1:
        raise ValueError(f"got {shown(line)}")
    if numbers[0] != size:
        raise ValueError(f"got N = {numbers[0]:.0f} with {size} terms")
    if not np.isfinite(numbers).all() or numbers[1::2].max(initial=0) > _LARGEST_TERM:
        raise ValueError("got a number that is not finite, or a term above 2^31")
    return numbers[1:].reshape(size, 2).T
