import gzip
import io

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.readers import matrix_market
from vigamma.data.text_files import FormatError

HEADER = "%%MatrixMarket matrix coordinate integer general\n"


@settings(max_examples=15, deadline=None)
@given(
    counts=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)
    ),
    form=st.sampled_from([sp.coo_array, np.asarray]),
    is_zipped=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, counts, form, is_zipped):
    path = tmp_path_factory.mktemp("matrix") / f"counts.mtx{'.gz' * is_zipped}"
    written = io.BytesIO()
    scipy.io.mmwrite(written, form(counts))
    path.write_bytes(gzip.compress(written.getvalue()) if is_zipped else written.getvalue())
    matrix = matrix_market.read(path).matrix
    np.testing.assert_array_equal(matrix.toarray() if sp.issparse(matrix) else matrix, counts)


def test_patterns_count_one_and_symmetric_matrices_are_filled(tmp_path):
    path = tmp_path / "counts.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n1 1\n2 1\n")
    np.testing.assert_array_equal(matrix_market.read(path).matrix.toarray(), [[1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no banner\n", "Line 1: Not a Matrix Market file"),
        (f"{HEADER}2 2 1\n3 1 1\n", "Line 3: Row index out of bounds"),
        (f"{HEADER}2 2 2\n1 1 1\n", "Truncated file"),
        (f"{HEADER}2 2 1\n1 1 {10**30}\n", "Line 3: Integer out of range"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, problem):
    path = tmp_path / "counts.mtx"
    path.write_text(text)
    with pytest.raises(FormatError, match=f"counts.mtx is not a MatrixMarket file: {problem}"):
        matrix_market.read(path)
