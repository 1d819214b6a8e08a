"""Evidence by importance weights, against closed forms and numerical integration."""

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from scipy.sparse import csr_array

from tests.factors import make_model, to_numpy
from vigamma import Gamma, check_rates, check_rows
from vigamma.models.gamma_poisson import CountStatistics, GammaPoisson

COUNTS = np.array([[3, 0, 5], [1, 0, 40], [0, 0, 33]])
PRIOR = Gamma(np.array([0.5, 2.0, 30.0]), np.array([1.0, 3.0, 2.0]))


def check_of(q: Gamma):
    model, batch = GammaPoisson(PRIOR), CountStatistics.of(COUNTS)
    return check_rates(model, batch, q, jax.random.key(0)), model, batch


def exact() -> Gamma:
    return Gamma(PRIOR.concentration + COUNTS.sum(axis=0), PRIOR.rate + 3.0)


def test_the_exact_posterior_of_rates_has_equal_weights():
    check, model, batch = check_of(exact())
    assert np.ptp(check.log_evidence - check.elbo) < 1e-10
    estimate = check.log_evidence.sum() + batch.log_multinomial
    assert estimate == pytest.approx(float(model.log_evidence(batch)), abs=1e-9)
    assert check.is_good.all()


def test_a_posterior_that_is_a_little_wide_is_corrected():
    q = exact()
    check, model, batch = check_of(
        q.replace(concentration=0.8 * q.concentration, rate=0.8 * q.rate)
    )
    expected = float(model.log_evidence(batch))
    assert check.log_evidence.sum() + batch.log_multinomial == pytest.approx(expected, abs=0.02)
    assert check.elbo.sum() + batch.log_multinomial < expected - 0.02
    assert check.is_good.all()


def test_a_posterior_that_is_much_too_narrow_is_not():
    q = exact()
    check, *_ = check_of(q.replace(concentration=20 * q.concentration, rate=20 * q.rate))
    assert not check.is_good.any()


EXPOSURES = np.array([2.0, 0.5, 1.0])
ROWS = csr_array(np.array([[3, 0, 9], [0, 0, 0], [1, 0, 0]], np.int32))


def test_rows_with_one_factor_of_fixed_rate_are_exact():
    model, beta = make_model("flat"), np.array([[0.5], [2.0], [1.5]])
    check = check_rows(model, beta, ROWS, EXPOSURES, key=jax.random.key(0))
    a, b = (float(to_numpy(leaf)) for leaf in (model.row_prior.concentration, model.row_prior.rate))
    counts = ROWS.toarray()
    for n, exposure in enumerate(EXPOSURES):
        # Row sums are negative binomial, and their split among columns is multinomial.
        of_sum = scipy.stats.nbinom(a, b / (b + exposure * beta.sum())).logpmf(counts[n].sum())
        split = scipy.stats.multinomial(counts[n].sum(), beta[:, 0] / beta.sum()).logpmf(counts[n])
        assert check.log_evidence[n] == pytest.approx(of_sum + split, abs=2e-3)
        assert check.elbo[n] == pytest.approx(of_sum + split, abs=2e-3)


@pytest.mark.slow
def test_the_evidence_of_rows_with_two_factors_is_that_of_integration():
    model, beta = make_model("flat"), np.array([[0.5, 1.0], [2.0, 0.3], [0.1, 1.5]])
    check = check_rows(model, beta, ROWS, EXPOSURES, key=jax.random.key(1))
    prior = scipy.stats.gamma(
        float(to_numpy(model.row_prior.concentration)),
        scale=1 / float(to_numpy(model.row_prior.rate)),
    )
    counts = ROWS.toarray()

    def joint(second, first, n):
        theta = prior.ppf([first, second])  # uniform under the prior
        return np.exp(scipy.stats.poisson(EXPOSURES[n] * (beta @ theta)).logpmf(counts[n]).sum())

    integrals = [
        scipy.integrate.dblquad(joint, 0, 1, 0, 1, args=(n,), epsrel=1e-3)[0] for n in range(3)
    ]
    np.testing.assert_allclose(check.log_evidence[:2], np.log(integrals[:2]), atol=0.01)
    # The single count of the last row may be of either factor: q, of one mode, misses a part.
    np.testing.assert_array_equal(check.is_good, [True, True, False])
    assert check.elbo[2] + 0.1 < check.log_evidence[2] < np.log(integrals[2]) - 0.01


@pytest.mark.slow
def test_rows_with_random_rates_are_checked_with_them():
    model, beta = make_model("hierarchical"), np.array([[0.5], [2.0], [1.5]])
    check = check_rows(model, beta, ROWS, EXPOSURES, key=jax.random.key(2))
    prior = model.row_prior
    shape, a, b = (
        float(to_numpy(leaf))
        for leaf in (prior.concentration, prior.rate.concentration, prior.rate.rate)
    )
    counts = ROWS.toarray()
    for n, exposure in enumerate(EXPOSURES):

        def joint(quantile, n=n, exposure=exposure):
            rate = scipy.stats.gamma(a, scale=1 / b).ppf(quantile)
            of_sum = scipy.stats.nbinom(shape, rate / (rate + exposure * beta.sum()))
            return of_sum.pmf(counts[n].sum())

        integral, _ = scipy.integrate.quad(joint, 0, 1, limit=200)
        split = scipy.stats.multinomial(counts[n].sum(), beta[:, 0] / beta.sum()).logpmf(counts[n])
        assert check.log_evidence[n] == pytest.approx(np.log(integral) + split, abs=0.05)
