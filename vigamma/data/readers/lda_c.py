"""Bags of words in the form of Blei's LDA-C: a document a line, "N term:count term:count ..."."""

import re
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

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
_LARGEST_TERM = 2**31 - 2


def read(path: Path, encoding: str = "") -> RawCounts:
    """Reads documents in the order of the lines; terms are numbered from 0, in any order.

    The vocabulary, a term a line, has the name of the file with `.vocab` or `.tokens` after it, as
    gensim writes it, or in place of its ending, or is `vocab.txt` or `vocab.dat`; without it terms
    have no names, and a note says so. (Scikit-learn's reader of the like files of SVMlight refuses
    terms that are not sorted, which is common here.)

    Args:
      path: the file.
      encoding: of the texts; "" for UTF-8, or what a byte order mark says.

    Raises:
      FormatError: for a file that is broken; names the line.
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
    return RawCounts(matrix, column_names=names, notes=tuple(notes))


def _read_documents(path: Path, encoding: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms and counts of all entries, and where each document begins and ends."""
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
    # A cheap test first: most lines are digits, blanks and colons in turns.
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
