"""Folders of 10x Genomics' Cell Ranger, with a matrix of genes × cells and the names of both."""

from pathlib import Path

from scipy.sparse import csr_array

from vigamma.counts.names import as_names
from vigamma.data.readers.matrix_market_text import read_matrix
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.ten_x_features import GENES, chosen_features, feature_names, words_of
from vigamma.data.readers.text_files import (
    FormatError,
    at_line,
    beside,
    numbered_lines,
    reading,
)


def read(path: Path, layer: str = "") -> RawCounts:
    """Reads `matrix.mtx`, `barcodes.tsv`, and `features.tsv` or the older `genes.tsv`.

    Each may be compressed. Rows are cells, columns are genes. The name of a gene is its symbol or,
    if several share it, symbol and id: "TBCE (ENSG00000285053)". Features of other types than the
    one that is read (antibodies, guides) are dropped, and a note says so.

    Args:
      path: the folder.
      layer: the type of the features, for example "Antibody Capture"; "" for genes or, if there are
        no genes, for all features.

    Raises:
      FileNotFoundError: if a file is missing.
      FormatError: for files that are broken or differ in size, and for a layer that does not exist.
    """
    matrix_path = _file(path, "matrix.mtx")
    barcodes_path = _file(path, "barcodes.tsv")
    features_path = _file(path, "features.tsv", "genes.tsv")
    genes_by_cells = read_matrix(matrix_path)
    cells = as_names(fields[0] for fields in _table(barcodes_path))
    features = _table(features_path)
    for names_path, names, size in (
        (features_path, features, genes_by_cells.shape[0]),
        (barcodes_path, cells, genes_by_cells.shape[1]),
    ):
        if len(names) != size:
            raise FormatError(
                f"{names_path} has {len(names)} lines, but {matrix_path} is of shape "
                f"{genes_by_cells.shape}: features × barcodes"
            )
    kinds = as_names(fields[2] if len(fields) > 2 else GENES for fields in features)
    is_chosen, note = chosen_features(kinds, path, layer)
    matrix = csr_array(genes_by_cells.T)
    matrix = matrix if is_chosen.all() else matrix[:, is_chosen]
    chosen = [fields for fields, is_one in zip(features, is_chosen, strict=True) if is_one]
    ids, symbols = ([fields[min(i, len(fields) - 1)] for fields in chosen] for i in (0, 1))
    notes = (note,) if note else ()
    words = words_of(kinds[is_chosen])
    return RawCounts(matrix, cells, feature_names(ids, symbols), notes, words=words)


def _file(folder: Path, *names: str) -> Path:
    found = beside(folder, *names)
    if found is None:
        raise FileNotFoundError(f"there is no file {folder / names[0]}, nor one that is compressed")
    return found


def _table(path: Path) -> list[list[str]]:
    with reading(path, "a list of names"):
        table = [line.split("\t") for _, line in numbered_lines(path)]
    for number, fields in enumerate(table, 1):
        if not fields[0].strip():
            raise at_line(path, number, "expected a name, the line is empty")
    return table
