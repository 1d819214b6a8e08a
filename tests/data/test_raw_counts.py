import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vigamma.data.names import as_names
from vigamma.data.raw_counts import RawCounts, make_counts


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
    counts, _ = make_counts(RawCounts(form(x)), "a", at_least, True)
    np.testing.assert_array_equal(counts.toarray(), (before > 0) & (before >= at_least))
    np.testing.assert_array_equal(x, before)


def test_the_threshold_is_for_sums_and_lets_negative_entries_go():
    entries = ([2, 3, -8, 4, 0], ([0, 0, 0, 1, 1], [0, 0, 1, 1, 0]))
    raw = RawCounts(sp.coo_array(entries, shape=(2, 2)), notes=("from a reader",))
    counts, notes = make_counts(raw, "a", 5, False)
    np.testing.assert_array_equal(counts.toarray(), [[5, 0], [0, 0]])
    summed = "a: entries that repeat a cell, now summed: 1"
    assert notes == ("from a reader", summed, "a: entries below 5, dropped: 3")
    with pytest.raises(ValueError, match="no entry of a is at least 6"):
        make_counts(raw, "a", 6, False)


def test_zeros_that_are_stored_are_said():
    raw = RawCounts(sp.coo_array(([0, 3], ([0, 0], [0, 1]))))
    for binary in (False, True):
        counts, notes = make_counts(raw, "a", 0, binary)
        assert (counts.nnz, notes) == (1, ("a: entries of 0, which count nothing: 1",))


@pytest.mark.parametrize(
    ("value", "fields", "message"),
    [
        (np.nan, (3.0, True), "must be finite, but it is nan at row 'r', column 'd'"),
        (-1, (0.0, True), "must be ≥ 0, but it is -1.0 at row 'r', column 'd'"),
        (0.5, (0.0, False), "must be whole .* 0.5 at row 'r', column 'd'.*data.binary=True lets"),
        (2**25, (0.0, False), "must be at most .* at row 'r', column 'd'"),
    ],
)
def test_a_value_that_is_no_count_is_named_by_its_cell(value, fields, message):
    raw = RawCounts(sp.csr_array([[1.0, value]]), as_names("r"), as_names("cd"))
    with pytest.raises(ValueError, match=f"counts in a {message}"):
        make_counts(raw, "a", *fields)


def test_what_is_not_of_numbers_is_a_value_error():
    with pytest.raises(ValueError, match="counts in a must be numbers, got an array of bool"):
        make_counts(RawCounts(sp.eye_array(2, dtype=bool)), "a", 0, True)
