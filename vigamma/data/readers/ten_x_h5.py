"""Files of 10x Genomics' Cell Ranger in HDF5: `filtered_feature_bc_matrix.h5` and the like."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from vigamma.counts.names import as_names
from vigamma.counts.words import CELLS
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.ten_x_features import chosen_features, feature_names, words_of
from vigamma.data.readers.text_files import FormatError, reading
from vigamma.terminal.invocation import pip_install


def read(path: Path, layer: str = "") -> RawCounts:
    """Reads cells × features of Cell Ranger 3 and later, or cells × genes of version 2.

    Args:
      path: the file.
      layer: for version 3, the type of the features, for example "Antibody Capture"; "" for genes.
        For version 2, the genome; "" if there is only one.

    Raises:
      ValueError: if h5py is not installed.
      FormatError: for any other file, and for a layer that does not exist.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path} needs h5py: {pip_install('anndata')}") from error
    with reading(path, "a matrix of Cell Ranger"), h5py.File(path, "r") as file:
        groups = {name: item for name, item in file.items() if isinstance(item, h5py.Group)}
        found = {name: group for name, group in groups.items() if "barcodes" in group}
        if "matrix" in found and "features" in found["matrix"]:
            return _read_features(found["matrix"], path, layer)
        genomes = {name: group for name, group in found.items() if "genes" in group}
        if not genomes:
            raise FormatError(
                f"{path} is HDF5, but neither AnnData (obs, var) nor a matrix of Cell Ranger: it "
                f"has {', '.join(file) or 'nothing'}"
            )
        chosen = layer or next(iter(genomes))
        if chosen not in genomes or (len(genomes) > 1 and not layer):
            what = f"no {layer}" if layer else "several genomes"
            raise FormatError(f"{path} has {what}; data.layer is to name one: {', '.join(genomes)}")
        group = genomes[chosen]
        names = feature_names(_texts(group["genes"]), _texts(group["gene_names"]))
        cells = as_names(_texts(group["barcodes"]))
        return RawCounts(_matrix(group), cells, names, words=CELLS)


def _read_features(group: Any, path: Path, layer: str) -> RawCounts:
    features = group["features"]
    kinds = as_names(_texts(features["feature_type"]))
    is_chosen, note = chosen_features(kinds, path, layer)
    ids, symbols = (as_names(_texts(features[key]))[is_chosen] for key in ("id", "name"))
    matrix = _matrix(group)
    matrix = matrix if is_chosen.all() else matrix[:, is_chosen]
    cells = as_names(_texts(group["barcodes"]))
    names = feature_names(ids.tolist(), symbols.tolist())
    notes = (note,) if note else ()
    return RawCounts(matrix, cells, names, notes, words=words_of(kinds[is_chosen]))


def _matrix(group: Any) -> csr_array:
    """Reads cells × features; the file stores the transpose by columns."""
    num_features, num_cells = group["shape"][:]
    arrays = tuple(np.asarray(group[key][:]) for key in ("data", "indices", "indptr"))
    matrix = csr_array(arrays, shape=(num_cells, num_features))
    matrix.check_format(full_check=True)
    return matrix


def _texts(dataset: Any) -> list[str]:
    return dataset.asstr()[:].tolist()
