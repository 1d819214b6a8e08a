"""Files of Cell Ranger in HDF5."""

import re
import sys

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import ten_x_h5
from vigamma.data.readers.text_files import FormatError
from vigamma.terminal.invocation import pip_install

COUNTS = np.array([[1, 0, 4], [0, 300, 0]])
KINDS = ["Gene Expression", "Antibody Capture", "Gene Expression"]


def write_matrix(group):
    by_cell = sp.csc_array(COUNTS.T)
    group["data"], group["indices"], group["indptr"] = by_cell.data, by_cell.indices, by_cell.indptr
    group["shape"], group["barcodes"] = by_cell.shape, np.array(["AAAC-1", "AAAG-1"], "S")


def write_version_3(path, kinds=KINDS):
    with h5py.File(path, "w") as file:
        write_matrix(file.create_group("matrix"))
        features = file.create_group("matrix/features")
        features["id"] = np.array(["E1", "E2", "E3"], "S")
        features["name"] = np.array(["TBCE", "CD4", "TBCE"], "S")
        features["feature_type"] = np.array(kinds, "S")
    return str(path)


def test_only_genes_are_read_unless_told_and_the_others_are_counted(tmp_path):
    path = write_version_3(tmp_path / "a.h5")
    loaded = SparseCounts(path=path).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS[:, [0, 2]])
    assert loaded.column_names.tolist() == ["TBCE (E1)", "TBCE (E3)"]
    assert loaded.row_names.tolist() == ["AAAC-1", "AAAG-1"]
    assert "left out 1 features of Antibody Capture; data.layer" in loaded.notes[0]
    loaded = SparseCounts(path=path, layer="Antibody Capture").load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS[:, [1]])
    assert "left out 2 features of Gene Expression" in loaded.notes[0]
    with pytest.raises(FormatError, match="has no CRISPR, but Gene Expression, Antibody Capture"):
        SparseCounts(path=path, layer="CRISPR").load()


def test_an_index_outside_of_the_matrix_is_refused_before_features_are_chosen(tmp_path):
    path = write_version_3(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["matrix/indices"][1] = 9
    with pytest.raises(FormatError, match=r"a\.h5 is not a matrix of Cell Ranger: "):
        SparseCounts(path=path).load()


def test_all_features_are_read_where_none_is_a_gene(tmp_path):
    loaded = SparseCounts(path=write_version_3(tmp_path / "a.h5", ["Custom"] * 3)).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS)
    assert loaded.notes == ()


def test_a_genome_of_version_2_is_read_and_of_several_one_is_to_be_named(tmp_path):
    path = tmp_path / "a.h5"
    for number, genome in enumerate(["hg19", "mm10"]):
        with h5py.File(path, "a") as file:
            write_matrix(group := file.create_group(genome))
            group["genes"] = np.array(["E1", "E2", "E3"], "S")
            group["gene_names"] = np.array([f"{genome}_{i}" for i in range(3)], "S")
        loaded = SparseCounts(path=str(path), layer=genome).load()
        np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS)
        assert loaded.column_names.tolist()[0] == f"{genome}_0"
        if number == 0:
            assert SparseCounts(path=str(path)).load().column_names[2] == "hg19_2"
    with pytest.raises(FormatError, match=r"has several genomes; data.layer is .* hg19, mm10"):
        SparseCounts(path=str(path)).load()


def test_a_file_of_loom_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"], file["row_attrs/Gene"] = COUNTS, [1]
    with pytest.raises(FormatError, match=r"neither AnnData .* it has matrix, row_attrs"):
        SparseCounts(path=str(tmp_path / "a.loom")).load()


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    path = write_version_3(tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    hint = re.escape(pip_install("anndata"))
    with pytest.raises(ValueError, match=f"a.h5 needs .*: {hint}$"):
        SparseCounts(path=path).load()
    with pytest.raises(ValueError, match=f"needs h5py: {hint}$"):
        ten_x_h5.read(tmp_path / "a.h5")
