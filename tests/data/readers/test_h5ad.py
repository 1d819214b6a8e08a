import re
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import h5ad
from vigamma.data.readers.text_files import FormatError
from vigamma.terminal.invocation import pip_install

COUNTS = np.array([[1, 0, 4], [0, 300, 0]])


def write(path, x=COUNTS, **fields):
    x = sp.csr_matrix(x) if x is COUNTS else x
    rows, columns = COUNTS.shape
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(rows)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(columns)])
    anndata.AnnData(x, obs, var, **fields).write_h5ad(path)
    return str(path)


@settings(max_examples=10, deadline=None)
@given(
    counts=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)
    ),
    form=st.sampled_from([sp.csr_matrix, sp.csc_matrix, np.asarray]),
    data=st.data(),
)
def test_what_is_written_is_read(tmp_path_factory, counts, form, data):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    names = [
        data.draw(
            st.lists(
                st.text(
                    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
                ),
                min_size=size,
                max_size=size,
                unique=True,
            )
        )
        for size in counts.shape
    ]
    obs, var = (pd.DataFrame(index=side) for side in names)
    anndata.AnnData(form(counts.astype(np.float32)), obs, var).write_h5ad(path)
    raw = h5ad.read(path)
    np.testing.assert_array_equal(raw.matrix.toarray(), counts)
    assert [raw.row_names.tolist(), raw.column_names.tolist()] == names


def test_layers_and_the_raw_matrix_are_chosen_by_name(tmp_path):
    raw = anndata.AnnData(sp.csr_matrix([[9, 8, 7, 6]] * 2), var=pd.DataFrame(index=list("abcd")))
    raw.obs_names = ["cell0", "cell1"]
    path = write(
        tmp_path / "a.h5ad", np.log1p(COUNTS), layers={"n": sp.csr_matrix(COUNTS)}, raw=raw
    )
    with pytest.raises(ValueError, match=r"whole numbers.* row 'cell0', .*layer .*\(raw, n\)"):
        SparseCounts(path=path).load()
    loaded = SparseCounts(path=path, layer="n").load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS)
    loaded = SparseCounts(path=path, layer="raw").load()
    np.testing.assert_array_equal(loaded.counts.toarray(), [[9, 8, 7, 6]] * 2)
    assert loaded.column_names.tolist() == list("abcd")
    with pytest.raises(FormatError, match="has no spliced, but raw, n, X"):
        SparseCounts(path=path, layer="spliced").load()


def test_names_that_are_all_equal_are_said(tmp_path):
    cells = anndata.AnnData(sp.csr_matrix(COUNTS), pd.DataFrame(index=list("ab")))
    cells.obs_names, cells.var_names = ["x", "x"], ["y", "z", "y"]
    cells.write_h5ad(tmp_path / "a.h5ad")
    loaded = SparseCounts(path=str(tmp_path / "a.h5ad")).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS)
    ends = ("2 rows share 1 names, 'x' is of 2", "2 columns share 1 names, 'y' is of 2")
    said = "by such a name none can be asked for"
    assert loaded.notes == tuple(f"{tmp_path / 'a.h5ad'}: {end}; {said}" for end in ends)


def test_a_large_dense_matrix_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(h5ad, "_CELLS_AT_ONCE", 3)
    path = write(tmp_path / "a.h5ad", COUNTS.astype(np.float32))
    np.testing.assert_array_equal(SparseCounts(path=path).load().counts.toarray(), COUNTS)


def test_a_file_without_a_matrix_is_refused(tmp_path):
    with pytest.raises(FormatError, match="has no X, but no matrix"):
        SparseCounts(path=write(tmp_path / "a.h5ad", None)).load()


def test_a_matrix_that_does_not_fit_its_names_is_refused(tmp_path):
    path = write(tmp_path / "a.h5ad", COUNTS.astype(float))
    with h5py.File(path, "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = np.ones((2, 4))
        file["X"].attrs.update(attributes)
    with pytest.raises(FormatError, match=r"X of shape \(2, 4\), but 2 names of rows and 3 of col"):
        SparseCounts(path=path).load()


def test_a_file_of_another_name_is_known_by_its_tables(tmp_path):
    path = write(tmp_path / "a.h5")
    np.testing.assert_array_equal(SparseCounts(path=path).load().counts.toarray(), COUNTS)


def test_other_files_of_hdf5_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["matrix"] = np.ones(3)
    with pytest.raises(FormatError, match=r"a.h5 is HDF5, but neither AnnData .* it has matrix"):
        SparseCounts(path=str(tmp_path / "a.h5")).load()
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["obs"] = np.ones(3)  # and no var
    with pytest.raises(FormatError, match=r"neither AnnData .* it has matrix, obs"):
        SparseCounts(path=str(tmp_path / "a.h5")).load()
    path = (tmp_path / "a.h5").rename(tmp_path / "a.h5ad")
    with pytest.raises(FormatError, match=r"a.h5ad is HDF5, but no AnnData file: it has no obs"):
        SparseCounts(path=str(path)).load()


def test_without_anndata_it_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5ad")
    monkeypatch.setitem(sys.modules, "anndata.io", None)
    with pytest.raises(ValueError, match=f"needs anndata: {re.escape(pip_install('anndata'))}$"):
        SparseCounts(path=path).load()
