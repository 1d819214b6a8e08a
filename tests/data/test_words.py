"""What rows and columns are called, and the labels of rows, by the format of their file."""

import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from vigamma import DigitCounts, SparseCounts
from vigamma.counts.names import as_names
from vigamma.counts.words import CELLS, DOCUMENTS, IMAGES, Labels, Words, plural
from vigamma.data.files import LoadedCounts, as_rules_for
from vigamma.data.heldout import HeldOut
from vigamma.data.parts import with_common_names
from vigamma.data.readers.delimited_fields import words_of
from vigamma.data.readers.raw_counts import RawCounts
from vigamma.data.readers.text_files import FormatError
from vigamma.data.split_data import SplitData

COUNTS = sp.csr_matrix(np.array([[1, 0, 4], [0, 3, 0], [2, 0, 0]]))


def loaded(path, **options) -> LoadedCounts:
    return SparseCounts(path=str(path), **options).load()


def ten_x(folder, kind="Gene Expression"):
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_array(COUNTS.T))
    (folder / "barcodes.tsv").write_text("a\nb\nc\n")
    (folder / "features.tsv").write_text("".join(f"E{i}\tG{i}\t{kind}\n" for i in range(3)))
    return folder


def text(folder, content, name="counts.csv"):
    (folder / name).write_text(content)
    return folder / name


def h5ad(folder, **obs):
    table = pd.DataFrame(obs, index=["a", "b", "c"])
    var = pd.DataFrame(index=["x", "y", "z"])
    anndata.AnnData(COUNTS.astype(np.float32), table, var).write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("cell", "cells"), ("category", "categories"), ("survey", "surveys"), ("class", "classes"),
        ("box", "boxes"), ("match", "matches"), ("y", "ies"),
    ],
)  # fmt: skip
def test_plurals_are_regular(noun, many):
    assert plural(noun) == many
    words = Words.of(noun, "gene")
    assert words == (noun, "gene", many, "genes")
    assert words.swapped == ("gene", noun, "genes", many)
    assert Words.of("nucleus,nuclei", "") == ("nucleus", "column", "nuclei", "columns")


def test_single_cells_are_cells_and_genes(tmp_path):
    assert loaded(ten_x(tmp_path)).words == CELLS
    assert loaded(h5ad(tmp_path)).words == CELLS
    assert loaded(ten_x(tmp_path, "Antibody Capture")).words == Words.of("cell", "feature")


def test_bags_of_words_are_documents_and_words(tmp_path):
    assert loaded(text(tmp_path, "1\n2\n1\n1 2 5\n", "docword.txt")).words == DOCUMENTS
    assert loaded(text(tmp_path, "2 0:1 2:4\n1 1:3\n", "a.ldac")).words == DOCUMENTS
    sp.save_npz(tmp_path / "counts.npz", COUNTS)
    assert loaded(tmp_path / "counts.npz").words == Words()
    (tmp_path / "vocab.txt").write_text("u\nv\nw\n")
    assert loaded(tmp_path / "counts.npz").words == DOCUMENTS


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        (("userId", "movieId"), Words.of("user", "movie")),
        (("user_id", "items"), Words.of("user", "item")),
        (("USERNAME", "Book ids"), Words.of("user", "book")),
        (("doc", "term"), Words.of("document", "term")),
        (("barcode", "gene_name"), CELLS),
        (("row", "column"), Words()),
        (("id", "movie"), Words.of("row", "movie")),
        (("timestamp", "userland"), Words()),
    ],
)
def test_titles_say_what_is_in_their_fields(titles, words):
    assert words_of(*titles) == words


def test_the_header_of_a_text_says_what_rows_and_columns_are(tmp_path):
    body = "1,7,3,90\n2,8,4,91\n1,8,5,92\n"
    path = text(tmp_path, f"userId,movieId,rating,timestamp\n{body}")
    assert loaded(path).words == Words.of("user", "movie")
    assert loaded(path, columns="movieId,userId,rating").words == Words.of("movie", "user")
    assert loaded(path, transpose=True).words == Words.of("movie", "user")
    assert loaded(text(tmp_path, "1,7,3\n2,8,4\n")).words == Words()


def test_the_columns_of_a_table_say_what_rows_and_columns_are(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"listener": ["a", "b"], "artist": ["x", "y"], "plays": [1, 2]})
    parquet.write_table(table, tmp_path / "plays.parquet")
    assert loaded(tmp_path / "plays.parquet").words == Words.of("row", "artist")


def test_a_config_may_say_otherwise(tmp_path):
    path = text(tmp_path, "user,movie,rating\n1,7,3\n2,8,4\n1,8,4\n")
    assert loaded(path, row_word="reader", column_word="novel").words == Words.of("reader", "novel")
    assert loaded(path, column_word="film").words == Words.of("user", "film")
    assert loaded(path, row_word="mouse,mice").words == Words("mouse", "movie", "mice", "movies")


def test_images_have_pixels_and_are_labeled_by_their_digits():
    found = DigitCounts(digit=-1).load()
    assert found.words == IMAGES
    assert found.labels.names[found.labels.codes[7]] == "7"
    assert len(found.labels.codes) == found.counts.shape[0]
    assert DigitCounts(digit=0).load().labels is None


def test_the_labels_of_cells_are_the_usual_ones_or_those_that_are_named(tmp_path):
    kinds = {"size": [3, 4, 5], "donor": pd.Categorical(["s", "t", "s"])}
    labels = loaded(h5ad(tmp_path, **kinds)).labels
    assert (labels.title, labels.codes.tolist(), labels.names) == ("donor", [0, 1, 0], ["s", "t"])
    path = h5ad(tmp_path, **kinds, leiden=["1", "0", "1"], cell_type=pd.Categorical(list("TBT")))
    assert loaded(path).labels.title == "cell_type"
    labels = loaded(path, row_label="leiden").labels
    assert (labels.codes.tolist(), labels.names) == ([1, 0, 1], ["0", "1"])
    assert loaded(path, row_label="size").labels.names == ["3", "4", "5"]
    with pytest.raises(FormatError, match=r"no column clusters in obs, but size, donor, leiden"):
        loaded(path, row_label="clusters")


def test_cells_may_have_no_label_and_files_none_at_all(tmp_path):
    categories = ["z", "never", "a"]
    of_cells = pd.Categorical(["a", None, "z"], categories=categories)
    labels = loaded(h5ad(tmp_path, cell_type=of_cells)).labels
    assert (labels.codes.tolist(), labels.names) == ([1, -1, 0], ["z", "a"])
    assert loaded(h5ad(tmp_path)).labels is None
    assert loaded(h5ad(tmp_path, size=[1, 2, 3])).labels is None
    assert loaded(h5ad(tmp_path, cell_type=list("abc")), transpose=True).labels is None


def test_only_files_with_labels_take_their_name(tmp_path):
    with pytest.raises(ValueError, match=r"row_label is 'x', but .* is a table .*, without any"):
        loaded(text(tmp_path, "1,7,3\n2,8,4\n"), row_label="x")


def test_labels_of_a_run_are_not_asked_of_new_counts(tmp_path):
    rules = SparseCounts(path="old.h5ad", row_label="leiden", row_word="nucleus")
    expected = dataclasses.replace(rules, path=str(h5ad(tmp_path)), row_label="")
    assert as_rules_for(tmp_path / "cells.h5ad", rules) == expected


def test_labels_may_lie_beside_a_matrix(tmp_path):
    sp.save_npz(tmp_path / "counts.npz", COUNTS)
    (tmp_path / "labels.txt").write_text("sci\nrec\nsci\n")
    labels = loaded(tmp_path / "counts.npz").labels
    assert (labels.codes.tolist(), labels.names) == ([1, 0, 1], ["rec", "sci"])
    for lines in (2, 4):
        (tmp_path / "labels.txt").write_text("sci\n" * lines)
        found = loaded(tmp_path / "counts.npz")
        assert found.labels is None
        assert f"labels.txt has {lines} lines, not one for each row" in found.notes[0]


def test_parts_keep_labels_unless_rows_are_added(tmp_path):
    labels = Labels("kind", np.array([0]), ["a"])
    for rows, columns, kept in (("r", "c", labels), ("r", "d", labels), ("s", "c", None)):
        raws = {
            tmp_path / "a": RawCounts(sp.csr_array([[1]]), as_names("r"), as_names("c")),
            tmp_path / "b": RawCounts(sp.csr_array([[1]]), as_names(rows), as_names(columns)),
        }
        raws = {path: raw._replace(labels=labels) for path, raw in raws.items()}
        assert all(raw.labels is kept for raw in with_common_names(raws).values())


def test_split_data_have_the_words_and_labels_of_their_source(tmp_path):
    path = h5ad(tmp_path, cell_type=list("TBT"))
    data = SplitData(loaded(path), HeldOut(protocol="cells", test_fraction=0.3), False)
    assert (data.words, data.labels.title) == (CELLS, "cell_type")

    class Bare:
        counts, parts, row_names, column_names = COUNTS, None, None, None

    data = SplitData(Bare(), None, False)
    assert (data.words, data.labels) == (Words(), None)
