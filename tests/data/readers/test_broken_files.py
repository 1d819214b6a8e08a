"""What every reader has in common: a file that is broken is one line with its path."""

import gzip
import io

import anndata
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from vigamma.data.files import SparseCounts

COUNTS = np.random.default_rng(0).poisson(2.0, (40, 30)) + 1  # no zeros: all formats have all cells


def as_matrix_market(x):
    file = io.BytesIO()
    scipy.io.mmwrite(file, sp.coo_array(x), precision=9)
    return file.getvalue()


def as_lines(x):
    return "".join(f"{r}\t{c}\t{v:g}\n" for (r, c), v in np.ndenumerate(x)).encode()


def as_bag(x):
    entries = "".join(f"{r + 1} {c + 1} {v:g}\n" for (r, c), v in np.ndenumerate(x))
    return "{}\n{}\n{}\n{}".format(*x.shape, x.size, entries).encode()


def as_lda_c(x):
    return "".join(
        f"{len(row)} " + " ".join(f"{c}:{v:g}" for c, v in enumerate(row)) + "\n" for row in x
    ).encode()


def as_npz(x):
    file = io.BytesIO()
    sp.save_npz(file, sp.csr_array(x))
    return file.getvalue()


TEXTS = {
    "counts.mtx": as_matrix_market,
    "counts.tsv": as_lines,
    "docword.txt": as_bag,
    "documents.ldac": as_lda_c,
}
NAMES = [*TEXTS, "counts.npz", "cells.h5ad"]


def write(path, x):
    if path.suffix == ".h5ad":
        x = sp.csr_matrix(x.astype(np.float32))
        cells = anndata.AnnData(x)
        cells.write_h5ad(path)
    else:
        path.write_bytes((TEXTS | {"counts.npz": as_npz})[path.name](x))
    return str(path)


def problem_of(path, **fields) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        SparseCounts(path=str(path), **fields).load()
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_these_tests_are_well_formed(tmp_path, name):
    loaded = SparseCounts(path=write(tmp_path / name, COUNTS)).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), COUNTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(tmp_path, name):
    assert problem_of(tmp_path / name).startswith("there is no file")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"\n", b"\0\1\2\xff" * 100, "counts".encode("utf-16")])
def test_an_empty_file_and_junk(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    problem_of(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_in_its_middle(tmp_path, name):
    write(tmp_path / name, COUNTS)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2 - 2])
    problem_of(tmp_path / name)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_gzipped_file_cut_somewhere(tmp_path, name, share):
    content = gzip.compress(TEXTS[name](COUNTS))
    (tmp_path / f"{name}.gz").write_bytes(content[: int(share * len(content))])
    problem = problem_of(tmp_path / f"{name}.gz")
    assert "is cut short or damaged" in problem


@pytest.mark.parametrize("name", TEXTS)
def test_bytes_that_are_no_text(tmp_path, name):
    lines = TEXTS[name](COUNTS).splitlines(keepends=True)
    lines[30] = b"\xe9" + lines[30]
    (tmp_path / name).write_bytes(b"".join(lines))
    assert "line 31: " in problem_of(tmp_path / name).lower()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "rule"), [(-1, "≥ 0"), (2.5, "whole numbers"), (np.nan, ""), (2**25, "at most")]
)
def test_values_that_are_no_counts(tmp_path, name, value, rule):
    x = COUNTS.astype(float)
    x[7, 5] = value
    assert rule in problem_of(write(tmp_path / name, x))
    if value == 2.5:
        loaded = SparseCounts(path=str(tmp_path / name), at_least=3, binary=True).load()
        np.testing.assert_array_equal(loaded.counts.toarray(), x >= 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_a_file_without_any(tmp_path, name):
    write(tmp_path / name, COUNTS)
    assert "spliced" in problem_of(tmp_path / name, layer="spliced")
