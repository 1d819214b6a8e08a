"""Matrices in the exchange format of MatrixMarket, with validation of every line.

SciPy's reader truncates "2.9" to 2 in a file of integers, ignores unexpected text in a line, and
terminates the process at a file without a banner.

Boisvert, Pozo & Remington 1996, The Matrix Market exchange formats: initial design, NISTIR 5935.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array

from vigamma.data.readers.numbered_entries import (
    Body,
    Field,
    checked_size,
    line_of_entry,
    read_entries,
)
from vigamma.data.readers.text_files import at_line, numbered_lines, reading, shown

_BANNER = "%%MatrixMarket matrix coordinate integer general"
_MEANINGS = {
    "coordinate": ("the number of rows", "the number of columns", "the number of entries"),
    "array": ("the number of rows", "the number of columns"),
}
_FIELDS = ("real", "double", "integer", "unsigned-integer", "pattern")
_SYMMETRIES = ("general", "symmetric", "skew-symmetric")


class _Head(NamedTuple):
    """The header, above the values.

    Attributes:
      form: "coordinate" or "array".
      field: one of `_FIELDS`.
      symmetry: one of `_SYMMETRIES`.
      sizes: the numbers of rows, columns and, for coordinates, entries.
      num_lines: the number of header lines, the last of which has the sizes.
    """

    form: str
    field: str
    symmetry: str
    sizes: tuple[int, ...]
    num_lines: int

    @property
    def value(self) -> Field:
        """The requirements on a value."""
        return Field("value", is_whole="integer" in self.field)


def read_matrix(path: Path) -> coo_array:
    """Reads a matrix of numbers, in coordinate or array form; the file may be compressed.

    The half of a symmetric matrix that is not in the file is filled in.

    Raises:
      FormatError: for a file that is broken; the message gives the line and what was expected.
    """
    with reading(path, "a MatrixMarket file"):
        head = _read_head(path)
        return _read_array(path, head) if head.form == "array" else _read_coordinates(path, head)


def _read_coordinates(path: Path, head: _Head) -> coo_array:
    num_rows, num_columns, num_entries = head.sizes
    fields = [Field("row", num_rows), Field("column", num_columns), head.value]
    body = Body(num_entries, head.num_lines)
    if head.field == "pattern":
        rows, columns = read_entries(path, body, fields[:2])
        values = np.ones(len(rows), np.uint8)
    else:
        rows, columns, values = read_entries(path, body, fields)
    is_outside = rows < columns + (head.symmetry == "skew-symmetric")
    if head.symmetry != "general" and is_outside.any():
        number = line_of_entry(path, body, int(is_outside.argmax()))
        problem = f"expected an entry below the diagonal, as the matrix is {head.symmetry}"
        raise at_line(path, number, problem)
    return _filled(coo_array((values, (rows, columns)), shape=head.sizes[:2]), head.symmetry)


def _read_array(path: Path, head: _Head) -> coo_array:
    """Reads one value per line, column by column; only the lower half of a symmetric matrix."""
    size, num_columns = head.sizes
    above = int(head.symmetry == "skew-symmetric")  # the first stored diagonal
    is_general = head.symmetry == "general"
    num_values = size * num_columns if is_general else size * (size + 1) // 2 - size * above
    (values,) = read_entries(path, Body(num_values, head.num_lines), [head.value])
    if is_general:
        return coo_array(values.reshape(head.sizes, order="F"))
    dense = np.zeros(head.sizes)
    dense[np.triu_indices(size, above)] = values
    return _filled(coo_array(dense.T), head.symmetry)


def _filled(matrix: coo_array, symmetry: str) -> coo_array:
    """The matrix with the missing half filled in by symmetry."""
    if symmetry == "general":
        return matrix
    rows, columns = matrix.coords
    is_off = rows != columns
    sign = -1.0 if symmetry == "skew-symmetric" else 1
    values = np.concatenate([matrix.data, sign * matrix.data[is_off]])
    coords = (np.append(rows, columns[is_off]), np.append(columns, rows[is_off]))
    return coo_array((values, coords), shape=matrix.shape)


def _read_head(path: Path) -> _Head:
    lines = numbered_lines(path)
    kinds = _checked_banner(path, next(lines, (1, ""))[1])
    number, line = next(
        ((n, text) for n, text in lines if text.strip() and not text.startswith("%")), (0, "")
    )
    texts, meanings = line.split(), _MEANINGS[kinds[0]]
    if not number:
        raise at_line(path, 1, f"expected {', '.join(meanings)} below, but the file ends")
    if len(texts) != len(meanings):
        raise at_line(path, number, f"expected {', '.join(meanings)}, got {shown(line)}")
    sizes = tuple(
        checked_size(path, number, text, meaning, bits)
        for text, meaning, bits in zip(texts, meanings, (31, 31, 63), strict=False)
    )
    if kinds[2] != "general" and sizes[0] != sizes[1]:
        problem = f"expected as many rows as columns, as it is {kinds[2]}, got {shown(line)}"
        raise at_line(path, number, problem)
    form, field, symmetry = kinds
    return _Head(form, field, symmetry, sizes, number)


def _checked_banner(path: Path, line: str) -> list[str]:
    """Form, field and symmetry, in lower case."""
    words = line.lower().split()
    if len(words) != 5 or words[:2] != _BANNER.lower().split()[:2]:
        raise at_line(path, 1, f"expected a banner like '{_BANNER}', got {shown(line)}")
    for word, known in zip(words[2:], (tuple(_MEANINGS), _FIELDS, _SYMMETRIES), strict=True):
        if word not in known or words[2:4] == ["array", "pattern"]:
            problem = f"cannot read {shown(' '.join(words[2:]))}; expected one of"
            raise at_line(path, 1, f"{problem} {', '.join(known)} for {word!r}")
    return words[2:]
