"""Counts of every bad or extreme kind: a clear error, or the right answer, and nothing silent."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import gammaln

from tests.factors import Problem, dense_elbo
from vigamma import (
    ConfigError,
    CoordinateAscent,
    CountStatistics,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    HeldOut,
    NaturalGradient,
    PathwiseElbo,
    PoissonFactorization,
    PoissonFactorizer,
    SparseCounts,
    check_counts,
    check_sparse_counts,
    run_experiment,
)
from vigamma.data.digits import Digits, KnowledgeAndCounts
from vigamma.data.layout.count_rows import lay_out_rows

PLAIN = np.array([[1, 2, 0], [0, 3, 4]])


def with_value(value, dtype) -> np.ndarray:
    """Counts of which one, in row 1 and column 1, is this."""
    counts = PLAIN.astype(dtype)
    counts[1, 1] = value
    return counts


CELL = r" at row 1, column 1 \(1 of \d such values\)"
LARGEST = "must be at most 16777216, but it is "

BAD_VALUES = {
    "-1": (with_value(-1, np.int8), "must be ≥ 0, but it is -1" + CELL),
    "-0.5": (with_value(-0.5, np.float32), r"must be ≥ 0, but it is -0\.5" + CELL),
    "the least int64": (
        with_value(-(2**63), np.int64),
        "must be ≥ 0, but it is -9223372036854775808" + CELL,
    ),
    "NaN": (with_value(np.nan, np.float64), "must be finite, but it is nan" + CELL),
    "∞": (with_value(np.inf, np.float64), "must be finite, but it is inf" + CELL),
    "-∞": (with_value(-np.inf, np.float32), "must be finite, but it is -inf" + CELL),
    "1.5": (with_value(1.5, np.float64), r"must be whole numbers, but it is 1\.5" + CELL),
    "a denormal": (
        with_value(5e-324, np.float64),
        "must be whole numbers, but it is 5e-324" + CELL,
    ),
    "2^24 + 1": (with_value(2**24 + 1, np.int32), LARGEST + "16777217" + CELL),
    "10^9": (with_value(10**9, np.float64), LARGEST + r"1000000000\.0" + CELL),
    "2^31 + 5": (with_value(2**31 + 5, np.int64), LARGEST + "2147483653" + CELL),
    "2^32 + 3": (with_value(2**32 + 3, np.int64), LARGEST + "4294967299" + CELL),
    "2^63 + 5": (with_value(2**63 + 5, np.uint64), LARGEST + "9223372036854775813" + CELL),
}

BAD_TYPES = {
    "booleans": (PLAIN.astype(bool), "must be numbers, got an array of bool"),
    "objects": (PLAIN.astype(object), "must be numbers, got an array of object"),
    "None": (np.array([[None, 1]]), "must be numbers, got an array of object"),
    "2^70": ([[2**70, 1]], "must be numbers, got an array of object"),
    "texts": (PLAIN.astype(str), "must be numbers, got an array of <U"),
    "times": (PLAIN.astype("M8[s]"), r"must be numbers, got an array of datetime64\[s\]"),
    "durations": (PLAIN.astype("m8[s]"), r"must be numbers, got an array of timedelta64\[s\]"),
    "complex": (PLAIN + 0j, "must be real numbers, got an array of complex128"),
    "masked": (np.ma.array(PLAIN, mask=PLAIN == 3), "must be numbers, got a masked array"),
}

BAD_SHAPES = {
    "no rows": (np.zeros((0, 3)), r"must be a matrix with entries, got shape \(0, 3\)"),
    "no columns": (np.zeros((3, 0)), r"must be a matrix with entries, got shape \(3, 0\)"),
    "a vector": (np.ones(3), r"must be a matrix with entries, got shape \(3,\)"),
    "a number": (3, r"must be a matrix with entries, got shape \(\)"),
    "a cube": (np.ones((2, 2, 2)), r"must be a matrix with entries, got shape \(2, 2, 2\)"),
    "nothing": ([], r"must be a matrix with entries, got shape \(0,\)"),
}

BAD = [
    *((case, counts, ValueError, said) for case, (counts, said) in BAD_VALUES.items()),
    *((case, counts, TypeError, said) for case, (counts, said) in BAD_TYPES.items()),
    *((case, counts, ValueError, said) for case, (counts, said) in BAD_SHAPES.items()),
]
bad = pytest.mark.parametrize(
    ("counts", "error", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)


@bad
def test_dense_counts_are_refused(counts, error, said):
    for check in (check_counts, CountStatistics.of):
        with pytest.raises(error, match=f"^counts {said}"):
            check(counts)


@bad
def test_dense_counts_that_become_sparse_are_refused(counts, error, said):
    with pytest.raises(error, match=f"^counts {said}"):
        check_sparse_counts(counts)


FORMS = ("csr", "csc", "coo", "bsr", "lil", "dok", "dia")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [*BAD_VALUES, "booleans", "complex", "no rows", "no columns"])
def test_sparse_counts_are_refused(case, form):
    if form in ("bsr", "dia") and case in ("no rows", "no columns"):
        pytest.skip("SciPy has no such matrices")
    counts, error, said = next(found[1:] for found in BAD if found[0] == case)
    stored = getattr(sp, f"{form}_array")(counts)
    if form not in ("csr", "csc") and case in BAD_VALUES:  # entries of a cell are summed as floats
        value = counts[1, 1]
        said = said.replace(f"is {value}{CELL}", f"is {re.escape(str(float(value)))}{CELL}")
    with pytest.raises(error, match=f"^counts {said}"):
        check_sparse_counts(stored)


NOT_WHOLE_IN_FILES = sorted(BAD_VALUES.keys() - {"a denormal"})
"""In files what is within 1e-6 of a whole number is taken for it."""


@pytest.mark.parametrize(
    "case", [*NOT_WHOLE_IN_FILES, "booleans", "complex", "no rows", "no columns"]
)
def test_a_file_of_counts_is_refused(tmp_path, case):
    counts, _, said = next(found[1:] for found in BAD if found[0] == case)
    path = tmp_path / "counts.npz"
    sp.save_npz(path, sp.csr_array(counts))
    with pytest.raises(ValueError, match=f"^counts in {re.escape(str(path))} {said}") as error:
        SparseCounts(path=str(path)).load()
    assert "\n" not in str(error.value)


def test_a_denormal_in_a_file_is_zero_with_a_note(tmp_path):
    counts, _ = BAD_VALUES["a denormal"]
    sp.save_npz(tmp_path / "counts.npz", sp.csr_array(counts))
    found = SparseCounts(path=str(tmp_path / "counts.npz")).load()
    np.testing.assert_array_equal(found.counts.toarray(), np.rint(counts))
    assert "numbers within 1e-06 of whole ones, now whole: 1" in found.notes[0]


TEXTS = {
    "-1": "must be ≥ 0, but it is -1.0 at row 'b', column 'y'",
    "1.5": "must be whole numbers, but it is 1.5 at row 'b', column 'y'",
    "16777217": "must be at most 16777216, but it is 16777217.0 at row 'b', column 'y'",
    "1e9": "must be at most 16777216, but it is 1000000000.0 at row 'b', column 'y'",
    "2147483653": "must be at most 16777216, but it is 2147483653.0 at row 'b', column 'y'",
    "123456789012345678901234567890": "must be at most 16777216, but it is 1.2345678901234568e+29",
    "nan": "line 3: expected a number, got 'nan'",
    "inf": "line 3: expected a number, got 'inf'",
    "-inf": "line 3: expected a number, got '-inf'",
    "1e400": "line 3: expected a number, got '1e400'",
    "": "line 3: expected a number, got ''",
    "True": "line 3: expected a number, got 'True'",
    "0x10": "line 3: expected a number, got '0x10'",
    "1_000": "line 3: expected a number, got '1_000'",
    "many": "line 3: expected a number, got 'many'",
}


@pytest.mark.parametrize("value", TEXTS)
def test_a_text_of_counts_is_refused(tmp_path, value):
    path = tmp_path / "counts.tsv"
    path.write_text(f"a\tx\t1\na\ty\t2\nb\ty\t{value}\nb\tz\t4\n")
    with pytest.raises(ValueError, match=re.escape(TEXTS[value])) as error:
        SparseCounts(path=str(path)).load()
    assert str(path) in str(error.value)


FITS = {
    "-1": (ValueError, "Negative values in data"),
    "-0.5": (ValueError, "Negative values in data"),
    "the least int64": (ValueError, "Negative values in data"),
    "NaN": (ValueError, "Input X contains NaN"),
    "∞": (ValueError, "Input X contains infinity"),
    "-∞": (ValueError, "Input X contains infinity"),
    "None": (ValueError, "Input X contains NaN"),
    "times": (TypeError, r"X must be numbers, got an array of datetime64\[s\]"),
    "durations": (TypeError, r"X must be numbers, got an array of timedelta64\[s\]"),
    "complex": (ValueError, "Complex data not supported"),
    "masked": (TypeError, "X must be numbers, got a masked array"),
    "no rows": (ValueError, r"Found array with 0 sample\(s\)"),
    "no columns": (ValueError, r"Found array with 0 feature\(s\)"),
    "a vector": (ValueError, "Expected 2D array, got 1D array"),
    "a number": (ValueError, "Expected 2D array, got scalar"),
    "a cube": (ValueError, "Found array with dim 3"),
    "nothing": (ValueError, "Expected 2D array, got 1D array"),
}


@pytest.mark.parametrize("case", FITS)
def test_a_fit_is_refused(case):
    counts = next(found[1] for found in BAD if found[0] == case)
    error, said = FITS[case]
    with pytest.raises(error, match=said):
        PoissonFactorizer(1).fit(counts)
    if np.ndim(counts) == 2 and case in BAD_VALUES:
        for table in (sp.csr_array(counts), sp.coo_matrix(counts), pd.DataFrame(counts)):
            with pytest.raises(error, match=said):
                PoissonFactorizer(1).fit(table)


def test_all_zeros_have_nothing_to_factorize_but_are_counts():
    zeros = np.zeros((4, 3), np.uint8)
    with pytest.raises(ValueError, match="the matrix of counts has no nonzero"):
        check_sparse_counts(zeros)
    with pytest.raises(ValueError, match="X has no nonzero: there is nothing to factorize"):
        PoissonFactorizer(1).fit(zeros)
    model, batch = DomainKnowledge().build(KnowledgeAndCounts(np.ones(3), zeros))
    posterior = model.exact_posterior(batch)
    np.testing.assert_array_equal(posterior.concentration, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(posterior.rate, [6.0, 6.0, 6.0])


@pytest.mark.parametrize(
    ("knowledge", "said"),
    [
        ([1.0, -1.0, 2.0], "knowledge must be ≥ 0, but it is -1.0 at column 1"),
        ([1.0, np.nan, 2.0], "prior.concentration must be positive"),
        ([1.0, np.inf, 2.0], "prior.concentration must be positive"),
        ([1.0], r"knowledge must have a number for each column, \(3,\), got \(1,\)"),
        ([[1.0, 1.0, 1.0]], r"knowledge must have a number for each column, \(3,\), got \(1, 3\)"),
    ],
)
def test_knowledge_that_no_row_could_be_is_refused(knowledge, said):
    with pytest.raises(ValueError, match=said):
        DomainKnowledge().build(KnowledgeAndCounts(np.array(knowledge), PLAIN))


def random_counts(dtype, largest: int) -> np.ndarray:
    """Counts up to `largest`, one of which it is, with an empty row and an empty column."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, largest, (9, 7), endpoint=True).astype(dtype)
    counts[2, 3] = largest
    counts[4], counts[:, 5] = 0, 0
    return counts


GOOD = {
    "uint8 whose sums wrap": (np.uint8, 255),
    "int8 whose sums wrap": (np.int8, 127),
    "uint16 whose sums wrap": (np.uint16, 2**16 - 1),
    "the largest": (np.int32, 2**24),
    "the largest in float32": (np.float32, 2**24),
    "the largest in int64": (np.int64, 2**24),
    "float16": (np.float16, 2048),
    "float64": (np.float64, 40),
}
good = pytest.mark.parametrize(("dtype", "largest"), GOOD.values(), ids=GOOD)


def python_sums(counts: np.ndarray) -> tuple[list[int], list[int]]:
    """The sums of rows and columns in integers of Python, which have no end."""
    cells = [[int(x) for x in row] for row in counts]
    return [sum(row) for row in cells], [sum(column) for column in zip(*cells, strict=True)]


@good
def test_the_conjugate_posterior_of_extreme_counts_is_exact(dtype, largest):
    counts = random_counts(dtype, largest)
    batch = CountStatistics.of(counts)
    _, column_sums = python_sums(counts)
    assert batch.column_sums.tolist() == column_sums
    assert batch.num_rows == 9
    of_counts = sum(float(gammaln(int(x) + 1.0)) for x in counts.ravel())
    of_sums = sum(float(gammaln(total + 1.0)) - total * np.log(9) for total in column_sums)
    np.testing.assert_allclose(batch.log_multinomial, of_sums - of_counts, atol=1e-14 * of_counts)
    model, batch = DomainKnowledge().build(KnowledgeAndCounts(np.ones(7), counts))
    posterior = model.exact_posterior(batch)
    assert posterior.concentration.tolist() == [2 + x for x in column_sums]
    assert posterior.rate.tolist() == [2.0 + 9] * 7


@good
@pytest.mark.parametrize("form", ["dense", "csr", "coo"])
def test_the_rows_of_extreme_counts_are_exact(dtype, largest, form):
    counts = random_counts(dtype, largest)
    if form != "dense" and dtype == np.float16:
        pytest.skip("SciPy has no such matrices")
    given = counts if form == "dense" else getattr(sp, f"{form}_array")(counts)
    canonical = check_sparse_counts(given)
    assert canonical.toarray().tolist() == counts.astype(int).tolist()
    row_sums, _ = python_sums(counts)
    rows = lay_out_rows(canonical, np.ones(9), None, num_shards=1, block_slots=64)
    np.testing.assert_array_equal(rows.row_sums[:9], np.float32(row_sums))
    x = counts.astype(np.float64)
    constants = np.where(x > 0, x * np.log(np.maximum(x, 1)), 0) - gammaln(x + 1)
    np.testing.assert_allclose(rows.log_constants[:9], constants.sum(axis=1), rtol=2e-7)


def test_entries_of_a_cell_are_summed_without_wrapping(tmp_path):
    values, cells = np.full(300, 255, np.uint8), (np.zeros(300, int), np.ones(300, int))
    stored = sp.coo_array((values, cells), shape=(2, 3))
    sp.save_npz(tmp_path / "counts.npz", stored)
    loaded = SparseCounts(path=str(tmp_path / "counts.npz")).load()
    for counts in (check_sparse_counts(stored), loaded.counts):
        assert counts.toarray().tolist() == [[0, 300 * 255, 0], [0, 0, 0]]
    assert "299" in loaded.notes[0]
    for form in ("coo", "csr", "bsr"):
        table = stored if form == "coo" else unsummed(stored, form)
        shape = fitted(table).posterior_["rows"].concentration[0, 0]
        np.testing.assert_allclose(shape, 0.5 + 300 * 255, rtol=1e-6)


def unsummed(stored: sp.coo_array, form: str):
    """The same entries of the first row in another format, in which SciPy leaves them alone."""
    columns, ends = stored.coords[1], np.array([0, stored.nnz, stored.nnz])
    if form == "csr":
        return sp.csr_array((stored.data, columns, ends), shape=stored.shape)
    return sp.bsr_array((stored.data[:, None, None], columns, ends), shape=stored.shape)


def fitted(counts) -> PoissonFactorizer:
    """One component: the posterior has shapes in closed form, of the sums of rows and columns."""
    options = {"hierarchical": False, "tol": 0, "max_iter": 6, "random_state": 0}
    return PoissonFactorizer(1, row_shape=0.5, column_shape=0.25, **options).fit(counts)


def check_fit(counts: np.ndarray, table, elbo_too: bool = True) -> None:
    """The shapes are the prior's and the exact sums; the ELBO is that of NumPy in float64.

    In float32: terms as large as Σ x log x, rounded, make what is left of the ELBO.
    """
    found = fitted(table)
    for side, shape, sums in zip(
        ("rows", "columns"), (0.5, 0.25), python_sums(counts), strict=True
    ):
        concentration = found.posterior_[side].concentration[:, 0]
        np.testing.assert_allclose(concentration, shape + np.array(sums, float), rtol=1e-6)
    x = counts.astype(np.float64)
    problem = Problem(x, np.ones(len(x)), np.zeros(x.shape, bool))
    expected = dense_elbo(found.model_, found.posterior_, problem)
    largest_term = (x * np.log(np.maximum(x, 2))).sum()
    assert abs(found.elbo_ - expected) < 1e-3 + 4 * np.finfo(np.float32).eps * largest_term


@good
def test_a_fit_of_extreme_counts_has_exact_sums(dtype, largest):
    counts = random_counts(dtype, largest)
    check_fit(counts, counts)
    if dtype != np.float16:
        check_fit(counts, sp.csr_array(counts))


@pytest.mark.parametrize("value", [2**24 + 1, 10**9, 2**31 + 5])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, pd.DataFrame])
def test_a_fit_takes_numbers_that_are_too_large_for_counts(value, dtype, make):
    counts = with_value(value, dtype)
    check_fit(counts, make(counts))


@pytest.mark.parametrize(
    ("table", "counts"),
    [
        (PLAIN.astype(bool), PLAIN.astype(bool)),
        (PLAIN.astype(object), PLAIN),
        (PLAIN.astype(str), PLAIN),
        (pd.DataFrame(PLAIN).astype("Int64"), PLAIN),
        (PLAIN.tolist(), PLAIN),
    ],
)
def test_a_fit_takes_what_scikit_learn_takes_for_numbers(table, counts):
    np.testing.assert_array_equal(fitted(table).components_, fitted(1 * counts).components_)


def test_empty_rows_and_columns_stay_at_their_prior():
    counts = random_counts(np.uint8, 9)
    found = fitted(counts)
    rows, columns = found.posterior_["rows"], found.posterior_["columns"]
    assert rows.concentration[4, 0] == np.float32(0.5)
    assert columns.concentration[5, 0] == np.float32(0.25)
    assert rows.mean.argmin() == 4
    assert columns.mean.argmin() == 5
    assert found.transform(counts).argmin() == 4


def test_bad_counts_stop_a_run_before_anything_is_written(tmp_path, monkeypatch):
    """On the digit zero and on a factorization alike."""
    zero = Experiment(
        data=Digits(),
        model=DomainKnowledge(),
        inference=GradientAscent(estimator=PathwiseElbo(), optimizer=NaturalGradient()),
        num_steps=2,
    )
    factors = dataclasses.replace(
        zero,
        data=SparseCounts(path=str(tmp_path / "counts.npz")),
        heldout=HeldOut(),
        model=PoissonFactorization(num_factors=2),
        inference=CoordinateAscent(),
    )
    for case, (counts, said) in BAD_VALUES.items():
        data = KnowledgeAndCounts(np.ones(3), counts)
        monkeypatch.setattr(Digits, "load", lambda self, data=data: data)
        sp.save_npz(tmp_path / "counts.npz", sp.csr_array(counts))
        for config in (zero, factors) if case in NOT_WHOLE_IN_FILES else (zero,):
            with pytest.raises(ConfigError, match=said):
                run_experiment(config, tmp_path / "run")
            assert not (tmp_path / "run").exists()
