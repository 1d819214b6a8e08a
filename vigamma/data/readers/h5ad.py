"""Single cells in AnnData files: `.h5ad`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from vigamma.counts.names import as_names
from vigamma.counts.words import CELLS, Labels
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import FormatError, reading
from vigamma.terminal.invocation import pip_install

_CELLS_AT_ONCE = 2**24  # bounds the memory for a dense matrix
_USUAL_LABELS = ("cell_type", "celltype", "leiden", "louvain")


def read(path: Path, layer: str = "", row_label: str = "") -> RawCounts:
    """Reads one matrix, the names of rows and columns, and one column of labels of the rows.

    Args:
      path: the file.
      layer: a layer; "raw" for `.raw.X` with its own columns, unless a layer is named so; "" for X.
      row_label: the column of `obs` with the labels of the rows; "" for `cell_type`, `celltype`,
        `leiden` or `louvain`, the first that is there, or else the first categorical column.

    Raises:
      ValueError: if anndata is not installed.
      FormatError: for a file that is broken, and for a layer or labels that do not exist.
    """
    try:
        import h5py  # takes 1 s with anndata; only for these data
        from anndata.io import read_elem
    except ImportError as error:
        raise ValueError(f"{path} needs anndata: {pip_install('anndata')}") from error

    with reading(path, "an AnnData file"), h5py.File(path, "r") as file:
        if "obs" not in file or "var" not in file:
            raise FormatError(f"{path} is HDF5, but no AnnData file: it has no obs and var")
        places = _places(file)
        chosen = layer or "X"
        if chosen not in places:
            raise FormatError(f"{path} has no {chosen}, but {', '.join(places) or 'no matrix'}")
        stored = file[places.pop(chosen)]
        matrix = _in_pieces(stored) if isinstance(stored, h5py.Dataset) else read_elem(stored)
        columns = file["raw/var" if stored.name == "/raw/X" else "var"]
        row_names, column_names = (
            as_names(read_elem(table[table.attrs["_index"]])) for table in (file["obs"], columns)
        )
        labels = _labels(file["obs"], row_label, path, read_elem)
    if matrix.shape != (len(row_names), len(column_names)):
        raise FormatError(
            f"{path} has {chosen} of shape {matrix.shape}, but {len(row_names)} names of rows and "
            f"{len(column_names)} of columns"
        )
    return RawCounts(
        matrix, row_names, column_names, other_layers=tuple(places), words=CELLS, labels=labels
    )


def _labels(obs: Any, wanted: str, path: Path, read_elem: Callable[[Any], Any]) -> Labels | None:
    import pandas as pd

    titles = obs.attrs.get("column-order", ())
    kinds = {title: obs[title].attrs.get("encoding-type") for title in titles if title in obs}
    if wanted and wanted not in kinds:
        raise FormatError(
            f"{path} has no column {wanted} in obs, but {', '.join(kinds) or 'none'}: "
            "--config.data.row_label names one"
        )
    usual = [t for t in _USUAL_LABELS if kinds.get(t) in ("categorical", "string-array")]
    found = [*usual, *(title for title, kind in kinds.items() if kind == "categorical")]
    if not (wanted or found):
        return None
    title = wanted or found[0]
    labels = pd.Series(read_elem(obs[title])).astype("category").cat.remove_unused_categories().cat
    return Labels(title, labels.codes.to_numpy().astype(int), list(map(str, labels.categories)))


def has_cells(path: Path) -> bool:
    """Whether an HDF5 file has the tables of AnnData; True if h5py is not installed."""
    try:
        import h5py
    except ImportError:
        return True
    with reading(path, "a file of HDF5"), h5py.File(path, "r") as file:
        return "obs" in file and "var" in file


def _places(file: Any) -> dict[str, str]:
    """The HDF5 paths of the matrices, by the names of layers; "X" for X."""
    layers = {name: f"layers/{name}" for name in file.get("layers", ())}
    places = {"raw": "raw/X", **layers, "X": "X"}
    return {
        name: place
        for name, place in places.items()
        if place in file and file[place].attrs.get("encoding-type") != "null"
    }


def _in_pieces(dense: Any) -> scipy.sparse.csr_array:
    """Reads a dense matrix in blocks of rows as a sparse one."""
    rows_at_once = max(1, _CELLS_AT_ONCE // max(1, dense.shape[1]))
    starts = range(0, dense.shape[0], rows_at_once)
    pieces = [scipy.sparse.csr_array(dense[first : first + rows_at_once]) for first in starts]
    return scipy.sparse.vstack(pieces or [np.zeros(dense.shape)], format="csr")
