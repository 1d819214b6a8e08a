import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.counts.names import as_names
from vigamma.counts.rules import DUPLICATES, CountRules, NotCountsError, one_entry_a_cell
from vigamma.data.readers.raw_counts import RawCounts, make_counts


@settings(max_examples=30, deadline=None)
@given(
    x=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.sampled_from([0.0, 0.5, 1.0, 3.5, 4.0]),
    ).filter(np.any),
    at_least=st.sampled_from([0.0, 0.5, 1.0]),
    form=st.sampled_from([sp.coo_array, sp.csr_array, sp.csc_matrix, np.asarray]),
)
def test_thresholds_and_ones(x, at_least, form):
    x.flat[0] = 1.0
    before = x.copy()
    counts, *_ = make_counts(RawCounts(form(x)), "a", CountRules(at_least=at_least, binary=True))
    np.testing.assert_array_equal(counts.toarray(), (before > 0) & (before >= at_least))
    np.testing.assert_array_equal(x, before)


def test_the_threshold_is_for_sums_and_lets_negative_entries_go():
    entries = ([2, 3, -8, 4, 0], ([0, 0, 0, 1, 1], [0, 0, 1, 1, 0]))
    raw = RawCounts(sp.coo_array(entries, shape=(2, 2)), notes=("from a reader",))
    counts, notes, _ = make_counts(raw, "a", CountRules(at_least=5))
    np.testing.assert_array_equal(counts.toarray(), [[5, 0], [0, 0]])
    summed = "a: entries that repeat a cell, now summed: 1"
    assert notes == ("from a reader", summed, "a: entries below 5, dropped: 3")
    with pytest.raises(ValueError, match="no entry of a is at least 6"):
        make_counts(raw, "a", CountRules(at_least=6))


def test_zeros_that_are_stored_are_said():
    raw = RawCounts(sp.coo_array(([0, 3], ([0, 0], [0, 1]))))
    for binary in (False, True):
        counts, notes, _ = make_counts(raw, "a", CountRules(binary=binary))
        assert (counts.nnz, notes[0]) == (1, "a: entries of 0, which count nothing: 1")
        binary_notes = ("a: entries that count 1 whatever they are (binary): 1",)
        assert notes[1:] == (binary_notes if binary else ())


def test_ones_that_stay_ones_are_not_told():
    raw = RawCounts(np.array([[1, 0], [1, 1]]))
    assert make_counts(raw, "a", CountRules(binary=True))[1] == ()


@pytest.mark.parametrize(
    ("value", "fields", "message"),
    [
        (
            np.nan,
            {"at_least": 3.0, "binary": True},
            "must be finite, but it is nan at row 'r', column 'd'",
        ),
        (-1, {"binary": True}, "must be ≥ 0, but it is -1.0 at row 'r', column 'd'"),
        (0.5, {}, "must be whole .* 0.5 at row 'r', column 'd'.*data.binary=True lets"),
        (2**25, {}, "must be at most .* at row 'r', column 'd'"),
    ],
)
def test_a_value_that_is_no_count_is_named_by_its_cell(value, fields, message):
    raw = RawCounts(sp.csr_array([[1.0, value]]), as_names("r"), as_names("cd"))
    with pytest.raises(ValueError, match=f"counts in a {message}"):
        make_counts(raw, "a", CountRules(**fields))


def test_what_is_not_of_numbers_is_a_value_error():
    with pytest.raises(ValueError, match="counts in a must be numbers, got an array of bool"):
        make_counts(RawCounts(sp.eye_array(2, dtype=bool)), "a")


TWICE = sp.coo_array(([4.5, 1.0, 3.0, 2.0, 9.0], ([1, 0, 1, 1, 0], [0, 1, 0, 0, 0])), shape=(2, 2))
ENDS = (0, 2), (0, 3), (1, 9)
CASES = {"sum": [[9, 1], [9.5, 0]], "last": [[9, 1], [2, 0]], "max": [[9, 1], [4.5, 0]]}


@pytest.mark.parametrize("duplicates", CASES)
@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_several_entries_of_a_cell_become_one_before_the_threshold(duplicates, form):
    arrays = {
        "coo": TWICE,
        "csr": sp.csr_array(([1.0, 9.0, 4.5, 3.0, 2.0], [1, 0, 0, 0, 0], [0, 2, 5])),
        "csc": sp.csc_array(([4.5, 3.0, 2.0, 9.0, 1.0], [1, 1, 1, 0, 0], [0, 4, 5])),
    }
    rules, expected = (
        CountRules(duplicates=duplicates, at_least=3.5, binary=True),
        CASES[duplicates],
    )
    counts, notes, _ = make_counts(RawCounts(arrays[form]), "a", rules)
    np.testing.assert_array_equal(counts.toarray(), np.array(expected) >= 3.5)
    assert notes[0] == f"a: entries that repeat a cell, {DUPLICATES[duplicates]}: 2"


@settings(max_examples=30, deadline=None)
@given(
    entries=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 9)), min_size=1
    ),
    which=st.sampled_from(["last", "max"]),
)
def test_one_entry_a_cell_is_as_of_a_dictionary(entries, which):
    cells: dict[tuple[int, int], int] = {}
    for row, column, value in entries:
        before = cells.get((row, column), 0)
        cells[row, column] = max(before, value) if which == "max" else value
    rows, columns, values = zip(*entries, strict=True)
    found = one_entry_a_cell(sp.coo_array((values, (rows, columns)), shape=(3, 4)), which)
    assert {(r, c): found[r, c] for r, c in zip(*found.nonzero(), strict=True)} == cells
    assert found.has_canonical_format


def test_the_last_of_many_entries_is_found_in_a_matrix_of_more_cells_than_an_int32_counts():
    size = 2**17
    places = np.tile(np.int32([0, size - 1]), 5000)
    entries = sp.coo_array((np.arange(1, 10_001), (places, places)), shape=(size, size))
    last = one_entry_a_cell(entries, "last").tocoo()
    assert list(zip(*last.coords, last.data, strict=True)) == [
        (0, 0, 9999),
        (size - 1, size - 1, 10_000),
    ]


def test_a_matrix_of_many_rows_may_have_few_entries():
    counts, notes, _ = make_counts(RawCounts(sp.coo_array(([3], ([4999], [1])))), "a")
    assert (counts.shape, counts[4999, 1], notes) == ((5000, 2), 3, ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_within_a_millionth_of_whole_ones_are_whole(dtype):
    numbers = np.array([[2.0000001, 1.9999999, 3.0, -1e-9]], dtype)
    counts, notes, _ = make_counts(RawCounts(numbers), "a", CountRules(at_least=0))
    assert counts.toarray().tolist() == [[2, 2, 3, 0]]
    num_near = np.count_nonzero(numbers != np.rint(numbers))
    assert notes[0] == f"a: numbers within 1e-06 of whole ones, now whole: {num_near}"
    counts, *_ = make_counts(RawCounts(numbers), "a", CountRules(at_least=2))
    assert counts.toarray().tolist() == [[2, 2, 3, 0]]
    with pytest.raises(NotCountsError, match=r"whole numbers, but it is 2\.00001"):
        make_counts(RawCounts(np.array([[2.00001, 1.0]], dtype)), "a")


def test_tenths_that_are_summed_to_a_whole_number_are_one():
    cells = np.zeros(10, int), np.zeros(10, int)
    counts, *_ = make_counts(RawCounts(sp.coo_array((np.full(10, 0.1), cells))), "a")
    assert counts.toarray().tolist() == [[1]]


def test_rounding_to_the_nearest_is_said():
    raw = RawCounts(sp.csr_array([[0.37, 0.5, 1.5, 2.0, 2.6]]))
    counts, notes, _ = make_counts(raw, "a", CountRules(rounding="nearest"))
    assert counts.toarray().tolist() == [[0, 0, 2, 2, 3]]
    assert notes == (
        "a: numbers now rounded (nearest): 4; the sum of all was 6.97 and is 7",
        "a: entries of 0, which count nothing: 2",
    )
    counts, *_ = make_counts(raw, "a", CountRules(rounding="nearest", binary=True))
    assert counts.toarray().tolist() == [[0, 0, 1, 1, 1]]
    with pytest.raises(NotCountsError, match=r"must be ≥ 0, but it is -0\.3"):
        make_counts(RawCounts(np.array([[1, -0.3]])), "a", CountRules(rounding="nearest"))


def test_stochastic_rounding_keeps_means_and_is_made_by_its_seed():
    fractions = np.tile([0.37, 3.9, 7.0], (20_000, 1))

    def counts(seed, part=0):
        rules = CountRules(rounding="stochastic", rounding_seed=seed)
        return make_counts(RawCounts(fractions), "a", rules, part)[0].toarray()

    first = counts(0)
    errors = np.sqrt(np.array([0.37 * 0.63, 0.9 * 0.1]) / len(fractions))
    assert (np.abs(first.mean(axis=0)[:2] - [0.37, 3.9]) < 4 * errors).all()
    assert [np.unique(column).tolist() for column in first.T] == [[0, 1], [3, 4], [7]]
    np.testing.assert_array_equal(first, counts(0))
    for others in (counts(1), counts(0, part=1)):
        assert 0.4 < (first[:, 0] == others[:, 0]).mean() < 0.6  # 0.534, if they are independent


def test_the_advice_for_fractions_names_roundings_and_other_matrices():
    raw = RawCounts(np.array([[0.5]]), other_layers=("raw", "n"))
    with pytest.raises(NotCountsError) as error:
        make_counts(raw, "a")
    assert error.value.advice.startswith("--config.data.rounding=nearest rounds them, and stochast")
    assert "--config.data.layer names another matrix (raw, n)" in error.value.advice
    assert "advice" not in error.value.problem
    with pytest.raises(NotCountsError) as error:
        make_counts(RawCounts(np.array([[2.0**25]])), "a")
    assert error.value.advice == ""
    for value, advice in ((2.0**25, "a: taken for times"), (np.nan, "")):
        with pytest.raises(NotCountsError) as error:
            make_counts(RawCounts(np.array([[value]]), notes=("a: taken for times",)), "a")
        assert error.value.advice == advice


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duplicates": "first"}, "duplicates must be sum, last, max, got 'first'"),
        ({"rounding": "floor"}, "rounding must be none, nearest, stochastic, got 'floor'"),
        ({"rounding_seed": -1}, "rounding_seed must be at least 0, got -1"),
    ],
)
def test_rules_that_are_none_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CountRules(**fields).validate()


@pytest.mark.parametrize("form", [sp.coo_array, sp.csc_array])
@pytest.mark.parametrize("binary", [False, True])
def test_entries_that_do_not_count_are_told_by_their_cells(form, binary):
    entries = [4.0, 0.0, 2.0, 5.0, 1.0], ([0, 0, 1, 1, 2], [0, 2, 1, 0, 2])
    raw = RawCounts(form(sp.coo_array(entries, shape=(3, 4))))
    for at_least, expected in ((3, [(0, 2), (1, 1), (2, 2)]), (0.5, [(0, 2)]), (0, [(0, 2)])):
        rules = CountRules(at_least=at_least, binary=binary)
        for found, axes in ((raw, (0, 1)), (raw._replace(matrix=raw.matrix.T), (1, 0))):
            counts, _, dropped = make_counts(found, "a", rules)
            cells = zip(*(dropped.nonzero()[axis].tolist() for axis in axes), strict=True)
            assert sorted(cells) == expected
            assert counts.nnz + dropped.nnz == 5
            assert dropped.dtype == bool


def test_numbers_that_are_rounded_to_zero_are_listed():
    raw = RawCounts(sp.coo_array(([0.3, 0.7], ([0, 1], [0, 1]))))
    for rules in (CountRules(rounding="nearest"), CountRules(rounding="nearest", binary=True)):
        assert make_counts(raw, "a", rules).dropped.nonzero()[0].tolist() == [0]


@pytest.mark.parametrize("at_least", [0, 2])
def test_zeros_of_a_whole_matrix_are_not_listed(at_least):
    """A table of all rows and columns has zeros where there is nothing."""
    dense = np.array([[3.0, 0.0], [0.0, 1.0]])
    cells = np.indices(dense.shape).reshape(2, -1)
    for matrix in (sp.coo_array((dense.ravel(), tuple(cells))), dense):
        dropped = make_counts(RawCounts(matrix), "a", CountRules(at_least=at_least)).dropped
        found = [] if dropped is None else list(zip(*dropped.nonzero(), strict=True))
        assert found == ([(1, 1)] if at_least else [])


def test_nothing_is_kept_where_nothing_is_dropped():
    raw = RawCounts(sp.coo_array(([3, 4], ([0, 1], [0, 1]))))
    for rules in (CountRules(), CountRules(at_least=3), CountRules(binary=True)):
        assert make_counts(raw, "a", rules).dropped is None
