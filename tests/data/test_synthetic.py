import numpy as np
import pytest
import scipy.stats

from vigamma.data.heldout import PROTOCOLS, HeldOut
from vigamma.data.synthetic import SyntheticFactors, draw_counts

SMALL = {"num_rows": 60, "num_columns": 50, "num_factors": 3, "num_nonzeros": 600}


@pytest.mark.parametrize("events_per_block", [2**21, 1000])
def test_counts_are_poisson_with_the_rates_of_the_factors(monkeypatch, events_per_block):
    monkeypatch.setattr("vigamma.data.synthetic._EVENTS_PER_BLOCK", events_per_block)
    theta = np.array([[0.5, 1.0], [2.0, 0.0], [0.0, 0.1]], np.float32)
    beta = np.array([[1.0, 0.0], [0.2, 0.7], [0.0, 3.0], [0.01, 0.01]], np.float32)
    num = 20_000
    counts = draw_counts(np.tile(theta, (num, 1)), beta, np.random.default_rng(0))
    assert counts.has_canonical_format
    draws = counts.toarray().reshape(num, 3, 4).astype(np.int64)
    rates = theta @ beta.T
    assert (np.abs(draws.mean(axis=0) - rates) <= 4.5 * np.sqrt(rates / num)).all()
    spread = np.sqrt((rates + 2 * rates**2) / num)
    assert (np.abs(draws.var(axis=0) - rates) <= 4.5 * spread + 1e-3).all()
    correlations = np.corrcoef(draws[:, rates > 0].T) - np.eye((rates > 0).sum())
    assert np.abs(correlations).max() < 4.5 / np.sqrt(num)


def test_counts_with_probabilities_are_negative_binomials(monkeypatch):
    monkeypatch.setattr("vigamma.data.synthetic._EVENTS_PER_BLOCK", 1000)
    theta, beta = np.array([[0.5, 1.0], [2.0, 0.3]]), np.array([[1.0, 0.1], [0.2, 0.7], [2.0, 1.0]])
    p = np.array([0.0, 0.3, 0.8])
    num, rates = 20_000, theta @ beta.T
    counts = draw_counts(np.tile(theta, (num, 1)), beta, np.random.default_rng(0), p)
    assert counts.has_canonical_format
    draws = counts.toarray().reshape(num, 2, 3).astype(np.int64)
    expected = [scipy.stats.poisson(rates[:, 0])]
    expected += [scipy.stats.nbinom(rates[:, m] * (1 - p[m]) / p[m], 1 - p[m]) for m in (1, 2)]
    for m, law in enumerate(expected):
        for x in range(5):
            share, near = (draws[:, :, m] == x).mean(axis=0), law.pmf(x)
            assert (np.abs(share - near) <= 4.5 * np.sqrt(near / num)).all()
        error = np.sqrt(law.stats("k") + 2) * law.var() / np.sqrt(num)
        assert (np.abs(draws[:, :, m].var(axis=0) - law.var()) <= 4.5 * error).all()
    wide = draw_counts(theta, beta, np.random.default_rng(0), np.ones(3))
    assert wide.shape == (2, 3)  # none is NaN, and none exceeds int32
    assert wide.data.min(initial=1) > 0
    none = draw_counts(1e-9 * theta, beta, np.random.default_rng(0), p)
    assert none.nnz == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SMALL,
        {"num_nonzeros": 500_000},
        {"num_nonzeros": 500_000, "num_factors": 1},
        {"concentration": 0.05},
        {"row_exponent": 2, "column_exponent": 0},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_there_are_as_many_nonzeros_as_asked_for(changes, seed):
    source = SyntheticFactors(**changes, seed=seed)
    data = source.load()
    occupied = -np.expm1(-data.theta.astype(np.float64) @ data.beta.T.astype(np.float64))
    assert occupied.sum() == pytest.approx(source.num_nonzeros, rel=0.01)
    deviation = np.sqrt((occupied * (1 - occupied)).sum())
    assert abs(data.counts.nnz - occupied.sum()) < 4.5 * deviation


def test_counts_are_canonical_and_the_truth_is_positive():
    counts, parts, _, _, theta, beta = SyntheticFactors(**SMALL).load()
    assert parts is None
    assert counts.has_canonical_format
    assert counts.indices.dtype == np.int32
    assert counts.dtype == np.uint8
    assert counts.shape == (60, 50)
    for factors, size in ((theta, 60), (beta, 50)):
        assert factors.shape == (size, 3)
        assert factors.dtype == np.float32
        assert (factors > 0).all()


def test_row_and_column_sums_follow_the_power_laws():
    nearly_equal = SyntheticFactors(concentration=1e6, row_exponent=1.5, column_exponent=0.5)
    *_, theta, beta = nearly_equal.load()
    for factors, exponent in ((theta, 1.5), (beta, 0.5)):
        found = np.sort(factors[:, 0])[::-1]
        expected = (np.arange(len(found)) + 10.0) ** -exponent
        np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=0.02)
        order = np.corrcoef(np.arange(len(found)), factors[:, 0])[0, 1]
        assert abs(order) < 4.5 / np.sqrt(len(found))


def test_the_gamma_factors_have_their_concentration():
    equal_rows = SyntheticFactors(num_rows=20_000, row_exponent=0, concentration=0.5)
    *_, theta, _ = equal_rows.load()
    relative = theta / theta.mean()
    # Variance 1 / a, and 3 / a² + 6 / a³ is its fourth central moment.
    assert relative.var() == pytest.approx(2, abs=4.5 * np.sqrt((60 - 4) / relative.size))


def test_draws_depend_on_the_seed_and_on_nothing_else():
    first, same, other = (SyntheticFactors(**SMALL, seed=seed).load() for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.counts.toarray(), same.counts.toarray())
    np.testing.assert_array_equal(first.theta, same.theta)
    assert (first.counts.toarray() != other.counts.toarray()).any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_counts_can_be_held_out(protocol):
    data = SyntheticFactors(**SMALL).load()
    split = HeldOut(protocol=protocol).split(data)
    heldout = [part.counts.sum() for part in (split.valid, split.test) if part is not None]
    assert split.train.sum() + sum(heldout) == data.counts.sum()


def test_factors_too_unequal_for_the_nonzeros_are_refused():
    with pytest.raises(ValueError, match=r"num_nonzeros = 500000 needs counts above 50"):
        SyntheticFactors(num_nonzeros=500_000, num_factors=1, concentration=0.01).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rows": 0}, "num_rows must be at least 1"),
        ({"num_nonzeros": 0}, "num_nonzeros must be at least 1"),
        ({"num_nonzeros": 500_001}, "num_nonzeros must be at most a quarter of the 2000 × 1000"),
        ({"concentration": 0.0}, "concentration must be at least 0.01"),
        ({"row_exponent": -1.0}, "row_exponent must be at least 0"),
        ({"column_exponent": float("nan")}, "column_exponent must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_fields_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SyntheticFactors(**changes).load()


def test_column_factors_have_a_mean_of_one_however_unequal_they_are():
    beta = SyntheticFactors(num_columns=20_000, column_exponent=1.0).load().beta
    np.testing.assert_allclose(beta.mean(), 1, rtol=0.3)


def test_factors_too_small_for_float32_are_raised():
    fields = SyntheticFactors(num_factors=3, concentration=0.01)
    factors = fields._factors(200, 0.7, np.random.default_rng(0))
    assert factors.min() == np.float32(1e-30)
