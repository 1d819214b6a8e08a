import gzip

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import ten_x
from vigamma.data.readers.text_files import FormatError

CELLS_BY_GENES = np.array([[1, 0, 4], [0, 300, 0]])
CELLS = ["AAAC-1", "AAAG-1"]
FEATURES = [
    ("ENSG1", "MT-ND1", "Gene Expression"),
    ("ENSG2", "TBCE", "Gene Expression"),
    ("ENSG3", "TBCE", "Gene Expression"),
]
NAMES = ["MT-ND1", "TBCE (ENSG2)", "TBCE (ENSG3)"]


def write(folder, features=FEATURES, features_name="features.tsv", is_zipped=False):
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_array(CELLS_BY_GENES.T))
    lines = ["\t".join(fields) for fields in features]
    (folder / features_name).write_text("\n".join(lines) + "\n")
    (folder / "barcodes.tsv").write_text("\n".join(CELLS) + "\n")
    if is_zipped:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


@pytest.mark.parametrize("is_zipped", [False, True])
def test_rows_are_cells_and_columns_are_genes(tmp_path, is_zipped):
    write(tmp_path, is_zipped=is_zipped)
    for path in (tmp_path, tmp_path / f"matrix.mtx{'.gz' * is_zipped}"):
        counts, _, rows, columns, notes, *_ = SparseCounts(path=str(path)).load()
        np.testing.assert_array_equal(counts.toarray(), CELLS_BY_GENES)
        assert (rows.tolist(), columns.tolist(), notes) == (CELLS, NAMES, ())


def test_the_older_file_of_genes_is_read(tmp_path):
    write(tmp_path, [fields[:2] for fields in FEATURES], "genes.tsv")
    assert ten_x.read(tmp_path).column_names.tolist() == NAMES


def test_features_without_symbols_are_called_by_their_ids(tmp_path):
    write(tmp_path, [fields[:1] for fields in FEATURES])
    assert ten_x.read(tmp_path).column_names.tolist() == ["ENSG1", "ENSG2", "ENSG3"]


def test_features_that_are_no_genes_are_left_out_and_said(tmp_path):
    write(tmp_path, [FEATURES[0], ("CD4", "CD4", "Antibody Capture"), FEATURES[2]])
    raw = ten_x.read(tmp_path)
    np.testing.assert_array_equal(raw.matrix.toarray(), CELLS_BY_GENES[:, [0, 2]])
    assert raw.column_names.tolist() == ["MT-ND1", "TBCE"]
    assert "left out 1 features of Antibody Capture; data.layer" in raw.notes[0]
    loaded = SparseCounts(path=str(tmp_path), layer="Antibody Capture").load()
    np.testing.assert_array_equal(loaded.counts.toarray(), CELLS_BY_GENES[:, [1]])
    assert loaded.column_names.tolist() == ["CD4"]
    with pytest.raises(FormatError, match="has no CRISPR, but Gene Expression, Antibody Capture"):
        ten_x.read(tmp_path, layer="CRISPR")


def test_the_third_field_is_the_type_also_where_places_follow(tmp_path):
    """As Cell Ranger ARC writes it."""
    kinds = "Gene Expression", "Peaks", "Gene Expression"
    fields = [(f"id{i}", f"name{i}", kind, "chr1", "5", "9") for i, kind in enumerate(kinds)]
    write(tmp_path, fields)
    raw = ten_x.read(tmp_path)
    assert raw.column_names.tolist() == ["name0", "name2"]
    assert "left out 1 features of Peaks" in raw.notes[0]


@pytest.mark.parametrize("missing", ["features.tsv", "barcodes.tsv"])
def test_a_missing_file_is_named(tmp_path, missing):
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{missing}"):
        SparseCounts(path=str(tmp_path)).load()


def test_names_of_another_size_are_refused(tmp_path):
    write(tmp_path, FEATURES[:2])
    with pytest.raises(FormatError, match=r"features.tsv has 2 lines, but .*of shape \(3, 2\)"):
        ten_x.read(tmp_path)


def test_names_in_another_encoding_are_refused_with_their_line(tmp_path):
    write(tmp_path)
    (tmp_path / "barcodes.tsv").write_bytes(b"AAAC-1\nAAAG\xe9\n")
    with pytest.raises(FormatError, match=r"barcodes.tsv, line 2: expected UTF-8 text"):
        ten_x.read(tmp_path)


def test_a_gene_without_a_name_is_refused_with_its_line(tmp_path):
    write(tmp_path, [*FEATURES[:2], ("", "TBCE")])
    with pytest.raises(FormatError, match=r"features.tsv, line 3: expected a name, the line is"):
        ten_x.read(tmp_path)
