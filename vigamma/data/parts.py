"""Matrices with a published split: finding the files of the parts, and aligning them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from vigamma.counts.names import name_order
from vigamma.counts.sparse import rows_of
from vigamma.data.readers.packed_files import plain_name
from vigamma.data.readers.raw_counts import RawCounts

_BINARY_ENDS = (".npz", ".npy", ".h5ad", ".h5", ".parquet", ".pq", ".feather", ".arrow")
_ENDS = (*_BINARY_ENDS, ".mtx", ".tsv", ".csv", ".txt", ".dat", ".ldac")
_PARTS = {"train": "train", "valid": "valid", "validation": "valid", "test": "test"}


class Parts(NamedTuple):
    """A published split of a matrix: each nonzero is in exactly one part.

    Attributes:
      train: canonical counts of shape (N, M).
      valid: validation counts of the same form, or None.
      test: test counts of the same form.
    """

    train: csr_array
    valid: csr_array | None
    test: csr_array


def find_parts(folder: Path) -> dict[str, Path]:
    """The files of "train", "test" and optionally "valid" in a folder; {} if it has none.

    Raises:
      FileNotFoundError: if some parts exist, but train or test is missing.
      ValueError: for two files of one part.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, _, end = plain_name(path).partition(".")
        if stem in _PARTS and f".{end}" in _ENDS and path.is_file():
            other = found.setdefault(_PARTS[stem], path)
            if other != path:
                raise ValueError(f"{other} and {path} are both there; keep one of them")
    for name in ("train", "test"):
        if found and name not in found:
            end = next(iter(found.values())).name.partition(".")[2]
            raise FileNotFoundError(f"there is no file {folder / name}.{end}")
    return found


def with_common_names(raws: Mapping[Path, RawCounts]) -> dict[Path, RawCounts]:
    """Expands each matrix to the rows and columns of all of them, in `name_order`.

    Matrices without names, or with the same names, are not changed. Where rows are new, labels are
    left out.

    Raises:
      ValueError: if only some have names, and for repeated names.
    """
    aligned = dict(raws)
    for axis, side in enumerate(("row_names", "column_names")):
        names = {path: getattr(raw, side) for path, raw in raws.items()}
        first = next(iter(names.values()))
        if all(n is None for n in names.values()):
            continue
        if any(n is None for n in names.values()):
            raise ValueError(f"all parts must have {side.replace('_', ' ')}, or none of them")
        if all(np.array_equal(n, first) for n in names.values()):
            continue
        union = np.unique(np.concatenate(list(names.values())))
        union = union[name_order(union)]
        place_of = {name: place for place, name in enumerate(union)}
        for path, raw in aligned.items():
            if len(np.unique(names[path])) < len(names[path]):
                raise ValueError(f"{path} has {side.replace('_', ' ')} that come twice")
            places = np.array([place_of[name] for name in names[path]], np.int32)
            matrix = coo_array(raw.matrix)
            coords, shape = list(matrix.coords), list(matrix.shape)
            coords[axis], shape[axis] = places[coords[axis]], len(union)
            matrix = coo_array((matrix.data, tuple(coords)), shape=tuple(shape))
            labels = None if axis == 0 else raw.labels
            aligned[path] = raw._replace(matrix=matrix, labels=labels, **{side: union})
    return aligned


def add_part(total: csr_array, part: csr_array, path: Path) -> csr_array:
    """Adds the canonical counts of a part to the others.

    Args:
      total: the sum of the other parts.
      part: counts of the same shape.
      path: the file of the part, for messages.

    Raises:
      ValueError: if the shapes differ, or a nonzero is in both.
    """
    if part.shape != total.shape:
        raise ValueError(f"{path} has shape {part.shape}, but the other parts {total.shape}")
    shared = total.astype(bool).multiply(part.astype(bool))
    if shared.nnz:
        row, column = rows_of(shared)[0], shared.indices[0]
        raise ValueError(
            f"{path} shares {shared.nnz} nonzeros with the other parts, the first at row {row}, "
            f"column {column}; parts must be disjoint"
        )
    return total + part
