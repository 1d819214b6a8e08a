import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.file_kinds import LDA_C, TABLE
from vigamma.data.files import SparseCounts, kind_of
from vigamma.data.readers import lda_c
from vigamma.data.readers.text_files import FormatError


@settings(max_examples=20, deadline=None)
@given(
    counts=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9)
    ),
    is_zipped=st.booleans(),
    seed=st.integers(0, 99),
    blank=st.sampled_from([" ", "  ", "\t"]),
)
def test_what_is_written_is_read(tmp_path_factory, counts, is_zipped, seed, blank):
    folder = tmp_path_factory.mktemp("documents")
    rng = np.random.default_rng(seed)
    lines = []
    for row in counts:
        terms = rng.permutation(np.flatnonzero(row))
        lines.append(blank.join([str(len(terms)), *(f"{term}:{row[term]}" for term in terms)]))
    text = "".join(f"{line}\n" for line in lines).encode()
    path = folder / "ap.dat"
    path.write_bytes(gzip.compress(text) if is_zipped else text)
    terms = [f"term{i}é" for i in range(counts.shape[1])]
    (folder / "vocab.txt").write_text("\n".join(terms))
    raw = lda_c.read(path)
    np.testing.assert_array_equal(raw.matrix.toarray(), counts)
    assert (raw.row_names, raw.column_names.tolist()) == (None, terms)


@pytest.mark.parametrize("name", ["ap.dat", "mult.txt", "reuters.ldac"])
def test_the_format_is_known_by_its_lines(tmp_path, name):
    (tmp_path / name).write_text("0\n3 4:1 0:2 1:1\n1 2:300\n")
    loaded = SparseCounts(path=str(tmp_path / name)).load()
    np.testing.assert_array_equal(
        loaded.counts.toarray(), [[0] * 5, [2, 1, 0, 0, 1], [0, 0, 300, 0, 0]]
    )
    assert "terms have no names" in loaded.notes[0]


@pytest.mark.parametrize(
    ("text", "kind"), [("2 0:1.5 3:0.25\n", LDA_C), ("ann 12:30\nbob 13:45\n", TABLE)]
)
def test_weights_may_be_fractions_and_times_are_no_weights(tmp_path, text, kind):
    (tmp_path / "a.txt").write_text(text)
    assert kind_of(tmp_path / "a.txt") == kind


def test_a_line_longer_than_what_is_looked_at_is_known_too(tmp_path):
    terms = range(20_000)
    text = " ".join([str(len(terms)), *(f"{t}:1" for t in terms)])
    (tmp_path / "a.dat").write_text(text)
    assert SparseCounts(path=str(tmp_path / "a.dat")).load().counts.sum() == len(terms)


def test_a_line_at_the_end_of_what_is_looked_at_may_be_cut(tmp_path):
    empty = (2**16 - len("2 0:3 14")) // 2
    (tmp_path / "a.dat").write_text("0\n" * empty + "2 0:3 14:1\n")
    assert kind_of(tmp_path / "a.dat") == LDA_C


def test_the_vocabulary_of_gensim_is_found_before_that_of_others(tmp_path):
    (tmp_path / "x.lda-c").write_text("1 2:1\n")
    (tmp_path / "x.lda-c.vocab").write_text("one\ntwo\nthree\n")
    for name in ("vocab.txt", "x.vocab"):
        (tmp_path / name).write_text("a\nb\nc\nd\n")
    loaded = SparseCounts(path=str(tmp_path / "x.lda-c")).load()
    assert loaded.column_names.tolist() == ["one", "two", "three"]


def test_a_short_vocabulary_is_refused(tmp_path):
    (tmp_path / "a.ldac").write_text("1 2:1\n")
    (tmp_path / "a.tokens").write_text("one\ntwo\n")
    with pytest.raises(FormatError, match=r"a.tokens has 2 lines, but .*a.ldac has term 2"):
        lda_c.read(tmp_path / "a.ldac")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2 0:1", "got N = 2 with 1 terms"),
        ("", "got ''"),
        ("2 0:1 1", "got '2 0:1 1'"),
        ("1 :1 1", "got '1 :1 1'"),
        ("1 0:x", "could not convert"),
        ("1 0:1_0", "got '1 0:1_0'"),
        ("1 0:nan", "got a number that is not finite"),
        ("1 -1:1", "got '1 -1:1'"),
        (f"1 {10**18}:1", "got a number that is not finite, or a term above"),
        (f"1 {2**31 - 1}:1", "got a number that is not finite, or a term above"),
        ("1 0:é", "could not convert"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, problem):
    path = tmp_path / "a.ldac"
    path.write_text(f"1 0:1\n{line}\n1 0:1\n")
    with pytest.raises(FormatError, match=f"a.ldac, line 2: expected 'N term:count .*, {problem}"):
        lda_c.read(path)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "a.ldac"
    path.write_bytes(b"1 0:1\n1 0:1" + b" " * 2**26)
    with pytest.raises(FormatError, match=r"a\.ldac, line 2: expected at most 64 MB in a line"):
        lda_c.read(path)
