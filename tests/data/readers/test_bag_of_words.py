import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.files import SparseCounts
from vigamma.data.readers import bag_of_words
from vigamma.data.readers.text_files import FormatError


@settings(max_examples=20, deadline=None)
@given(
    counts=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)
    ),
    is_zipped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read(tmp_path_factory, counts, is_zipped, seed):
    folder = tmp_path_factory.mktemp("bags")
    entries = np.argwhere(counts)
    np.random.default_rng(seed).shuffle(entries)
    lines = [*counts.shape, len(entries), *(f"{d + 1} {w + 1} {counts[d, w]}" for d, w in entries)]
    words = [f"word{i}é" for i in range(counts.shape[1])]
    for name, content in (("docword.kos.txt", lines), ("vocab.kos.txt", words)):
        data = "".join(f"{line}\n" for line in content).encode()
        path = folder / f"{name}{'.gz' * is_zipped}"
        path.write_bytes(gzip.compress(data) if is_zipped else data)
    raw = bag_of_words.read(folder / f"docword.kos.txt{'.gz' * is_zipped}")
    np.testing.assert_array_equal(raw.matrix.toarray(), counts)
    assert (raw.row_names, raw.column_names.tolist()) == (None, words)


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_folder_stands_for_the_file_in_it(tmp_path):
    write(tmp_path / "docword.txt", 1, 2, 1, "1 2 5")
    loaded = SparseCounts(path=str(tmp_path)).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), [[0, 5]])
    assert loaded.column_names is None
    assert "words have no names" in loaded.notes[0]


def test_two_files_in_a_folder_are_refused(tmp_path):
    for name in ("docword.a.txt", "docword.b.txt"):
        write(tmp_path / name, 1, 2, 1, "1 2 5")
    with pytest.raises(FileNotFoundError, match=r"nor one docword\*\.txt"):
        SparseCounts(path=str(tmp_path)).load()


def test_a_name_in_capitals_is_known(tmp_path):
    path = write(tmp_path / "DOCWORD.TXT", 1, 2, 1, "1 2 5")
    assert SparseCounts(path=path).load().counts.toarray().tolist() == [[0, 5]]


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    write(tmp_path / "docword.txt", 1, 2, 1, "1 2 5")
    for words in (["one"], ["one", "two", "three"]):
        write(tmp_path / "vocab.txt", *words)
        said = rf"vocab.txt has {len(words)} lines, but .*docword.txt 2 words"
        with pytest.raises(FormatError, match=said):
            bag_of_words.read(tmp_path / "docword.txt")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "line 1: expected the number of documents, but the file ends"),
        ([2, 3], "line 3: expected the number of entries, but the file ends"),
        (["1 1 1"], "line 1: expected the number of documents, below 2\\^31, got '1 1 1'"),
        ([2, 10**18, 0], "line 2: expected the number of words, below 2\\^31, got '1"),
        ([2, 3, 2, "1 1 1"], "line 3: expected 2 entries below, got 1; is the file cut short?"),
        ([2, 3, 1, "1 1 1", "1 2 1"], "line 3: expected 1 entries below, got 2"),
        ([2, 3, 2, "1 1 1", "3 1 1"], "line 5: expected a document from 1 to 2, got '3'"),
        ([2, 3, 2, "1 1 1", "1 0 1"], "line 5: expected a word from 1 to 3, got '0'"),
        ([2, 3, 1, f"{10**30} 1 1"], "line 4: expected a document from 1 to 2, got '1"),
        ([2, 3, 2, "1 1 1", "1 2"], "line 5: expected 'document word count', got '1 2'"),
        ([2, 3, 1, "1 1 1 1 1 1"], "line 4: expected 'document word count', got"),
        ([2, 3, 2, "1 1 1", "1 2 nan"], "line 5: expected a number, got 'nan'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, lines, problem):
    path = write(tmp_path / "docword.txt", *lines)
    with pytest.raises(FormatError, match=f"docword.txt, {problem}"):
        SparseCounts(path=path).load()
