"""Predictive checks flag what is wrong, and rarely what is right."""

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array

from vigamma import Gamma
from vigamma.counts.sparse import check_sparse_counts
from vigamma.diagnostics.predictive_checks import (
    LEVEL,
    Observed,
    predictive_checks,
    replicate,
    sample_of_rows,
    two_sided_tail,
    upper_tail,
)
from vigamma.diagnostics.residuals import factor_moments, sum_moments
from vigamma.families.beta import Beta

SHAPE = 80, 40


def certain(means: np.ndarray) -> Gamma:
    """Gammas that hardly differ from their means."""
    shape = np.full(means.shape, 1e5, np.float32)
    return Gamma(shape, (shape / means).astype(np.float32))


P = np.linspace(0.01, 0.8, SHAPE[1])
PROBABILITIES = Beta(1e6 * P, 1e6 * (1 - P))


def problem(
    seed: int, kept: float = 1.0, missing: np.ndarray | None = None, are_bursty: bool = False
) -> Observed:
    """Counts of which a share is kept and others set to 0, and a q that knows the mean rates."""
    rng = np.random.default_rng(seed)
    theta, beta = (rng.gamma(0.8, 1.0, (size, 3)) + 0.05 for size in SHAPE)
    exposures = rng.uniform(0.5, 2, SHAPE[0])
    rates = exposures[:, None] * (theta @ beta.T)
    if are_bursty:
        rates = rng.gamma(rates * (1 - P) / P) * P / (1 - P)
    counts = rng.poisson(rates) * (rng.random(SHAPE) < kept)
    if missing is not None:
        counts = counts * (1 - missing)
    return Observed(
        certain(kept * theta),
        certain(beta),
        exposures,
        check_sparse_counts(counts),
        None if missing is None else csr_array(missing.astype(np.uint8)),
        PROBABILITIES if are_bursty else None,
    )


def tails(data: Observed, seed: int = 0) -> dict[str, float]:
    checks = predictive_checks(data, seed, num_replicates=40)
    found = {
        name: test(float(getattr(checks.observed, name)), getattr(checks.replicated, name))
        for name, test in (
            ("zeros", two_sided_tail),
            ("rows_outside", upper_tail),
            ("columns_outside", upper_tail),
            ("dispersion", two_sided_tail),
        )
    }
    return found


@pytest.mark.parametrize(("are_bursty", "num_sets"), [(False, 50), (True, 20)])
def test_false_alarms_are_as_rare_as_promised(are_bursty, num_sets):
    """Each check flags at most 2 of 41 data sets from the model; ties make some flag fewer."""
    flagged = [
        [p < LEVEL for p in tails(problem(seed, are_bursty=are_bursty), seed).values()]
        for seed in range(num_sets)
    ]
    most = stats.binom(num_sets, 2 / 41).ppf(0.999)
    assert (np.sum(flagged, axis=0) <= most).all()
    assert np.sum(flagged) > 0  # the checks can be flagged


def test_twice_the_zeros_are_flagged():
    data = problem(0, kept=0.6)
    plain = problem(0)
    ratio = (1 - data.counts.nnz / 3200) / (1 - plain.counts.nnz / 3200)
    assert ratio > 1.8
    found = tails(data)
    assert found["zeros"] < LEVEL
    assert found["dispersion"] < LEVEL
    checks = predictive_checks(data, 0, num_replicates=40)
    assert checks.observed.zeros > checks.replicated.zeros.max()
    assert min(tails(plain).values()) >= LEVEL


def test_counts_that_vary_more_or_less_than_the_model_are_flagged():
    data = problem(0, are_bursty=True)
    assert min(tails(data).values()) >= LEVEL
    found = tails(data._replace(probabilities=None))
    assert max(found[name] for name in ("zeros", "dispersion", "rows_outside")) < LEVEL
    found = tails(problem(0)._replace(probabilities=PROBABILITIES))
    assert max(found["zeros"], found["dispersion"]) < LEVEL


def test_sums_that_do_not_follow_their_rates_are_flagged():
    data = problem(1)
    shuffled = data._replace(exposures=data.exposures[::-1])
    found = tails(shuffled)
    assert found["rows_outside"] < LEVEL
    assert tails(data)["rows_outside"] >= LEVEL


@pytest.mark.parametrize("probabilities", [None, Beta(20 * P, 20 * (1 - P))])
def test_replicates_have_the_moments_of_q_and_leave_missing_cells_out(probabilities):
    missing = np.random.default_rng(9).random(SHAPE) < 0.3
    data = problem(2, missing=missing)
    wide = Gamma(np.full((40, 3), 2.0), np.full((40, 3), 1.5))
    data = data._replace(columns=wide, probabilities=probabilities)
    rng = np.random.default_rng(0)
    draws = np.stack([replicate(data, rng).toarray() for _ in range(400)])
    assert not draws[:, missing].any()
    sums = draws.sum(axis=2).astype(float)
    columns = factor_moments(wide)
    if probabilities is not None:
        columns = columns._replace(noise=19 / (20 * (1 - P) - 1))  # E[1 / (1 - p)]
    expected = sum_moments(factor_moments(data.rows, data.exposures), columns, data.missing)
    for values, moments in (
        (sums, expected.mean),
        ((sums - expected.mean) ** 2, expected.variance),
    ):
        errors = values.std(axis=0, ddof=1) / np.sqrt(400)
        assert (np.abs(values.mean(axis=0) - moments) < 4.5 * errors).all()


def test_replicates_have_probabilities_that_are_drawn():
    data = problem(2)._replace(probabilities=Beta(np.full(40, 6.0), np.full(40, 3.0)))
    rates = factor_moments(data.rows, data.exposures).mean @ factor_moments(data.columns).mean.T
    rng = np.random.default_rng(0)
    noise = np.mean([(replicate(data, rng).toarray() - rates) ** 2 / rates for _ in range(50)])
    assert noise == pytest.approx(4, abs=0.5)  # E[1 / (1 - p)], and 1 / (1 - E[p]) is 3


def test_tail_probabilities_count_the_data_itself():
    replicates = np.arange(49.0)
    assert upper_tail(100, replicates) == 1 / 50
    assert upper_tail(-1, replicates) == 1
    assert two_sided_tail(100, replicates) == two_sided_tail(-1, replicates) == 2 / 50
    assert two_sided_tail(24, replicates) == 1


def test_summaries_are_those_of_dense_arrays():
    data = problem(3)
    found = predictive_checks(data, 0, num_replicates=40)
    counts = data.counts.toarray()
    assert found.observed.zeros == pytest.approx((counts == 0).mean())
    means = factor_moments(data.rows, data.exposures).mean @ factor_moments(data.columns).mean.T
    common = means.sum(axis=0) >= 1
    ratio = counts.var(axis=0, ddof=1) / means.mean(axis=0)
    assert found.observed.dispersion == pytest.approx(ratio[common].mean())
    assert found.observed.row_sums.sum() == SHAPE[0]
    assert found.observed.column_sums.sum() == SHAPE[1]
    assert (found.replicated.row_sums.sum(axis=1) == SHAPE[0]).all()
    assert found.bins.means.shape == found.observed.variances.shape


def test_many_rows_are_sampled(monkeypatch):
    data = problem(4)
    assert sample_of_rows(data, 0) is data
    monkeypatch.setattr("vigamma.diagnostics.predictive_checks.MOST_ROWS", 20)
    sample = sample_of_rows(data, 0)
    assert sample.counts.shape == (20, 40)
    position = int(np.flatnonzero(data.exposures == sample.exposures[7])[0])
    np.testing.assert_array_equal(sample.counts[[7]].toarray(), data.counts[[position]].toarray())
    np.testing.assert_array_equal(sample.rows.rate[7], data.rows.rate[position])


def test_hardly_any_counts_are_enough():
    factors = [certain(np.full((size, 2), 0.05)) for size in (6, 5)]
    counts = check_sparse_counts(np.eye(6, 5, dtype=int))
    found = predictive_checks(Observed(*factors, np.ones(6), counts, None), 0)
    assert found.replicated.zeros.min() > 0.8
    assert np.isfinite(found.replicated.dispersion).all()


def test_too_few_replicates_are_refused():
    with pytest.raises(ValueError, match="at least 40, got 20"):
        predictive_checks(problem(0), 0, num_replicates=20)


def test_summaries_leave_out_what_was_not_observed():
    """Column 1 was seen in 2 of 8 rows, in which it has more than column 2; but less in all."""
    missing = np.zeros((8, 3))
    missing[2:, 1] = 1
    data = Observed(
        certain(np.ones((8, 1))),
        certain(np.array([[4.0], [0.4], [0.2]])),
        np.ones(8),
        check_sparse_counts(np.array([[4, 0, 0], [4, 1, 1], *[[4, 0, 1]] * 6])),
        csr_array(missing.astype(np.uint8)),
    )
    found = predictive_checks(data, 0, num_replicates=40)
    assert found.observed.zeros == pytest.approx(2 / 18)
    np.testing.assert_allclose(found.bins.means, [0.2, 4.0], rtol=1e-4)
    np.testing.assert_allclose(found.observed.variances, [np.var([0] + [1] * 7, ddof=1), 0])
