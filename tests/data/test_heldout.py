import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from vigamma.counts.sparse import check_sparse_counts
from vigamma.data import heldout
from vigamma.data.files import LoadedCounts, Parts
from vigamma.data.heldout import PROTOCOLS, HeldOut, HeldOutCounts, Split
from vigamma.errors import ConfigError
from vigamma.runs.experiment import check_config


def loaded(dense) -> LoadedCounts:
    return LoadedCounts(check_sparse_counts(dense))


@pytest.fixture
def source() -> LoadedCounts:
    """40 × 30 counts up to 255, a quarter of them nonzero."""
    rng = np.random.default_rng(0)
    return loaded(rng.integers(1, 256, (40, 30)) * (rng.random((40, 30)) < 0.25))


@pytest.fixture
def in_parts(source) -> LoadedCounts:
    train, valid, test = np.zeros((3, 40, 30), np.int64)
    dense = source.counts.toarray()
    for i, part in enumerate((train, valid, test)):
        part[i::3] = dense[i::3]
    return LoadedCounts(source.counts, Parts(*map(check_sparse_counts, (train, valid, test))))


def dense_of(part, shape):
    """The held-out counts as a matrix; every cell is listed once, in order."""
    cells = part.rows.astype(np.int64) * shape[1] + part.columns
    assert (np.diff(cells) > 0).all()
    dense = np.zeros(shape, np.int64)
    dense[part.rows, part.columns] = part.counts
    return dense


def assert_typed(part):
    assert part.rows.dtype == part.columns.dtype == np.int32
    assert part.counts.dtype == np.float32
    assert part.rows.shape == part.columns.shape == part.counts.shape


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fractions", [(0.2, 0.0), (0.3, 0.1), (0.0, 0.5), (0.5, 0.45)])
def test_the_parts_add_up_to_all_counts(source, protocol, fractions):
    test_fraction, valid_fraction = fractions
    before = source.counts.copy()
    split = HeldOut(
        protocol=protocol, test_fraction=test_fraction, valid_fraction=valid_fraction
    ).split(source)
    total = split.train.toarray().astype(np.int64)
    for part, fraction in ((split.valid, valid_fraction), (split.test, test_fraction)):
        assert (part is None) == (fraction == 0)
        if part is not None:
            assert_typed(part)
            total += dense_of(part, total.shape)
    np.testing.assert_array_equal(total, before.toarray())
    np.testing.assert_array_equal(source.counts.toarray(), before.toarray())
    assert split.protocol == protocol
    assert split.train.has_canonical_format
    assert (split.train.data > 0).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_split_depends_on_the_seed_and_on_nothing_else(source, protocol):
    first, same, other = (
        HeldOut(protocol=protocol, seed=seed).split(source).test for seed in (3, 3, 4)
    )
    for name in ("rows", "columns", "counts"):
        np.testing.assert_array_equal(getattr(first, name), getattr(same, name))
    shape = source.counts.shape
    assert (dense_of(first, shape) != dense_of(other, shape)).any()


def test_thinned_counts_have_the_moments_of_a_multinomial():
    x, v, t, size = 20, 0.1, 0.3, (200, 100)
    split = HeldOut(test_fraction=t, valid_fraction=v).split(loaded(np.full(size, x)))
    test, valid = dense_of(split.test, size), dense_of(split.valid, size)
    num = test.size
    for part, p in ((valid, v), (test, t)):
        variance = x * p * (1 - p)
        assert abs(part.mean() - x * p) < 4.5 * np.sqrt(variance / num)
        assert abs(part.var() - variance) < 4.5 * variance * np.sqrt(2.2 / num)
    covariance = np.cov(test.ravel(), valid.ravel())[0, 1]
    assert abs(covariance + x * v * t) < 4.5 * x * np.sqrt(v * t * 1.2 / num)
    assert split.valid.rate_scale == pytest.approx(0.1 / 0.6)
    assert split.test.rate_scale == pytest.approx(0.3 / 0.6)
    assert split.missing is None


def test_thinned_poisson_counts_are_independent_of_their_rest():
    rate, size = 4.0, (200, 100)
    counts = np.random.default_rng(1).poisson(rate, size)
    split = HeldOut(test_fraction=0.25).split(loaded(counts))
    train, test = split.train.toarray(), dense_of(split.test, size)
    correlation = np.corrcoef(train.ravel(), test.ravel())[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(test.size)
    means = (train.mean() * split.test.rate_scale, test.mean())
    assert means[0] == pytest.approx(means[1], abs=4.5 * np.sqrt(1.4 / test.size))


def test_blocks_of_thinning_leave_no_gap(source, monkeypatch):
    monkeypatch.setattr("vigamma.data.heldout._BLOCK", 7)
    split = HeldOut(test_fraction=0.5).split(source)
    total = split.train.toarray() + dense_of(split.test, source.counts.shape)
    np.testing.assert_array_equal(total, source.counts.toarray())


@settings(max_examples=50, deadline=None)
@given(
    test_fraction=st.floats(0.01, 0.6),
    valid_fraction=st.floats(0.01, 0.39),
    seed=st.integers(0, 2**40),
)
def test_cells_are_so_many_disjoint_and_missing(test_fraction, valid_fraction, seed):
    source = loaded(np.arange(600).reshape(20, 30) % 3)
    split = HeldOut(
        protocol="cells", test_fraction=test_fraction, valid_fraction=valid_fraction, seed=seed
    ).split(source)
    assert split.test.rows.size == int(test_fraction * 600)
    assert split.valid.rows.size == int(valid_fraction * 600)
    expected = np.zeros((20, 30))
    for part in (split.test, split.valid):
        expected[part.rows, part.columns] += 1
        np.testing.assert_array_equal(part.counts, source.counts.toarray()[part.rows, part.columns])
        assert part.rate_scale == 1
    np.testing.assert_array_equal(split.missing.toarray(), expected)  # disjoint: no 2
    assert split.missing.dtype == np.uint8
    assert not split.train.multiply(split.missing).nnz


def test_cells_are_zeros_as_often_as_there_are_zeros(source):
    test = HeldOut(protocol="cells", test_fraction=0.5).split(source).test
    zeros = (source.counts.toarray() == 0).mean()
    assert abs((test.counts == 0).mean() - zeros) < 4.5 * np.sqrt(zeros * (1 - zeros) / 600)


def test_every_cell_is_as_likely_as_every_other():
    source, num_seeds = loaded(np.ones((4, 5))), 2000
    hits = np.zeros((4, 5))
    for seed in range(num_seeds):
        test = HeldOut(protocol="cells", test_fraction=0.3, seed=seed).split(source).test
        hits[test.rows, test.columns] += 1
    assert np.abs(hits / num_seeds - 0.3).max() < 4.5 * np.sqrt(0.3 * 0.7 / num_seeds)


def test_few_cells_of_a_huge_matrix_take_little_memory():
    huge = sp.coo_array(([1, 2], ([0, 10**6 - 1], [5, 10**6 - 1])), shape=(10**6, 10**6))
    split = HeldOut(protocol="cells", test_fraction=1e-9).split(loaded(huge))
    assert split.test.rows.size == split.missing.nnz == 1000
    assert split.test.columns.max() > 9 * 10**5


def test_too_many_cells_are_refused():
    huge = sp.coo_array(([1], ([0], [5])), shape=(10**5, 10**5))
    with pytest.raises(ValueError, match=r"2,000,000,000 of 10,000,000,000 .* smaller fraction"):
        HeldOut(protocol="cells", test_fraction=0.2).split(loaded(huge))


def test_entries_are_so_many_nonzeros_with_disjoint_places(source):
    split = HeldOut(protocol="entries", test_fraction=0.3, valid_fraction=0.2).split(source)
    num = source.counts.nnz
    assert split.test.rows.size == int(0.3 * num)
    assert split.valid.rows.size == int(0.2 * num)
    assert split.train.nnz == num - split.test.rows.size - split.valid.rows.size
    assert (split.test.counts > 0).all()
    assert split.missing is None
    assert split.test.rate_scale == split.valid.rate_scale == 1


def test_entries_in_parts_stay_as_they_are(in_parts):
    split = HeldOut(protocol="entries", test_fraction=0.9).split(in_parts)
    parts = in_parts.parts
    assert split.train is parts.train
    for part, expected in ((split.valid, parts.valid), (split.test, parts.test)):
        assert_typed(part)
        np.testing.assert_array_equal(dense_of(part, expected.shape), expected.toarray())
    without = in_parts._replace(parts=parts._replace(valid=None))
    assert HeldOut(protocol="entries", valid_fraction=0.1).split(without).valid is None


@pytest.mark.parametrize("protocol", ["thinning", "cells"])
def test_other_protocols_split_the_sum_of_the_parts(in_parts, protocol):
    split = HeldOut(protocol=protocol).split(in_parts)
    alone = HeldOut(protocol=protocol).split(LoadedCounts(in_parts.counts))
    np.testing.assert_array_equal(split.train.toarray(), alone.train.toarray())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fractions_that_hold_out_nothing_or_everything_are_refused(protocol):
    one = loaded([[0, 0, 1]])
    with pytest.raises(ValueError, match=r"test_fraction = 1e-09 holds out nothing"):
        HeldOut(protocol=protocol, test_fraction=1e-9).split(one)
    with pytest.raises(ValueError, match=r"valid_fraction = 1e-09 holds out nothing"):
        HeldOut(protocol=protocol, test_fraction=0.0, valid_fraction=1e-9).split(one)
    many = loaded([[1] + [0] * 999])
    if protocol != "entries":  # which leaves at least one
        with pytest.raises(ValueError, match="training counts has no nonzero"):
            HeldOut(protocol=protocol, test_fraction=0.999).split(many)


@pytest.mark.parametrize(("test", "valid"), [(0.5, 0.0), (0.0, 0.5), (0.25, 0.25)])
def test_more_cells_than_can_be_listed_are_refused(monkeypatch, test, valid):
    monkeypatch.setattr(heldout, "MOST_CELLS", 49)
    held = HeldOut(protocol="cells", test_fraction=test, valid_fraction=valid)
    with pytest.raises(ValueError, match=r"^50 of 100 cells would be held out, more than 49;"):
        held.split(loaded(np.ones((10, 10), int)))
    monkeypatch.setattr(heldout, "MOST_CELLS", 50)
    assert held.split(loaded(np.ones((10, 10), int))).missing.nnz == 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "rows"}, "protocol must be thinning, cells, entries, got 'rows'"),
        ({"test_fraction": -0.1}, "test_fraction must be at least 0"),
        ({"valid_fraction": float("nan")}, "valid_fraction must be at least 0"),
        ({"test_fraction": 0.5, "valid_fraction": 0.5}, "test_fraction and valid_fraction must"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_fields_out_of_range_are_refused(source, changes, message):
    with pytest.raises(ValueError, match=message):
        HeldOut(**changes).split(source)
    with pytest.raises(ConfigError, match=f"config.heldout.{message}"):
        check_config(HeldOut(**changes), "config.heldout")


@pytest.mark.parametrize(("protocol", "share"), [("entries", 0.05), ("thinning", 0), ("cells", 0)])
def test_entries_are_validated_unless_told_otherwise(protocol, share):
    counts = check_sparse_counts(np.random.default_rng(0).poisson(0.5, (60, 50)))
    heldout = HeldOut(protocol=protocol)
    valid = heldout.split(LoadedCounts(counts)).valid
    assert heldout.holds_out_validation == (share > 0) == (valid is not None)
    if share:
        assert valid.counts.size == int(share * counts.nnz)
    none = HeldOut(protocol=protocol, valid_fraction=0.0)
    assert none.split(LoadedCounts(counts)).valid is None
    tiny = check_sparse_counts(np.eye(5, dtype=int))  # too little to hold out a twentieth of
    assert heldout.split(LoadedCounts(tiny)).valid is None


def test_a_split_does_not_use_the_random_numbers_of_its_source():
    """Sources draw from default_rng(seed), whose uniforms would decide both count and coins."""
    counts = 1 + np.random.default_rng(7).binomial(2, 0.5, (100, 100))
    split = HeldOut(protocol="thinning", test_fraction=0.3, seed=7).split(loaded(counts))
    of_three = (counts - split.train.toarray())[counts == 3]
    assert abs(of_three.mean() - 0.9) < 5 * np.sqrt(3 * 0.3 * 0.7 / of_three.size)


def test_a_cell_is_seen_if_its_row_and_its_column_are():
    train = check_sparse_counts(np.array([[1, 0, 0], [0, 0, 0], [0, 2, 0]]))
    cells = HeldOutCounts(np.repeat(range(3), 3), np.tile(range(3), 3), np.ones(9), 1.0)
    split = Split("entries", train, None, None, cells)
    assert split.is_seen(cells).reshape(3, 3).tolist() == [
        [True, True, False],
        [False, False, False],
        [True, True, False],
    ]
