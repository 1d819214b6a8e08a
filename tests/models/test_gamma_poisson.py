import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats

from vigamma import CountStatistics, Digits, DomainKnowledge, Gamma, GammaPoisson
from vigamma.data.digits import KnowledgeAndCounts


def test_log_joint_equals_the_sum_over_all_rows(data, problem):
    model, batch = problem
    theta = np.array([1e-3, 0.2, 1.1, 2.5, 4.0, 8.0, 15.0])
    a, b = (np.asarray(x, np.float64) for x in (model.prior.concentration, model.prior.rate))
    expected = scipy.stats.gamma(a, scale=1 / b).logpdf(theta).sum()
    expected += scipy.stats.poisson(theta).logpmf(data.counts).sum()
    got = model.log_joint(jnp.log(jnp.asarray(theta, float)), batch)
    chex.assert_shape(got, ())
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_evidence_of_the_178_zeros_is_the_known_number():
    zeros = np.concatenate([Digits(num_knowledge_images=1).load().counts, first_zero()])
    for shape, rate, known in ((1.0, 1.0, -20057.4395), (0.1, 0.1, -19869.3675)):
        model = GammaPoisson(Gamma(np.full(64, shape), np.full(64, rate)))
        with jax.enable_x64(True):
            got = model.log_evidence(CountStatistics.of(zeros))
        np.testing.assert_allclose(got, known, atol=1e-4)


def first_zero() -> np.ndarray:
    return Digits(num_knowledge_images=1).load().knowledge[None]


def test_evidence_is_the_product_of_the_predictive_probabilities(data, exact_problem):
    model, batch = exact_problem
    total = 0.0
    with jax.enable_x64(True):
        for n, row in enumerate(data.counts):
            seen = CountStatistics(data.counts[:n].sum(axis=0), np.float64(n), np.float64(0))
            predictive = model.posterior_predictive(model.exact_posterior(seen))
            total += predictive.log_prob(row).sum()
        np.testing.assert_allclose(model.log_evidence(batch), total, rtol=1e-12)


def test_large_counts_of_many_rows_keep_their_evidence():
    rng = np.random.default_rng(0)
    mean = np.array([1.0, 40.0, 2000.0, 9000.0])
    batch = CountStatistics.of(rng.poisson(mean, (5000, 4)).astype(float))
    model = GammaPoisson(Gamma(2 * mean, np.full(4, 2.0)))
    exact = float(_evidence_by_mpmath(model, batch))
    in_float64 = model.log_evidence(batch)
    assert in_float64.dtype == np.float64
    np.testing.assert_allclose(in_float64, exact, rtol=1e-9)
    small_model, small_batch = jax.tree.map(jnp.float32, (model, batch))
    posterior = small_model.exact_posterior(small_batch)
    elbo = small_model.expected_log_likelihood(posterior, small_batch)
    elbo -= posterior.kl_divergence(small_model.prior).sum()
    for value in (small_model.log_evidence(small_batch), elbo):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, exact, rtol=3e-7)


def _evidence_by_mpmath(model, batch):
    total = mpmath.mpf(float(batch.log_multinomial))
    with mpmath.workdps(40):
        n = mpmath.mpf(float(batch.num_rows))
        columns = (batch.column_sums, model.prior.concentration, model.prior.rate)
        for s, a, b in zip(*columns, strict=True):
            s, a, b = map(mpmath.mpf, map(float, (s, a, b)))
            total += mpmath.loggamma(a + s) - mpmath.loggamma(a) - mpmath.loggamma(s + 1)
            total += a * mpmath.log(b / (b + n)) + s * mpmath.log(n / (b + n))
    return total


def test_expected_log_likelihood_is_the_mean_over_samples(problem, away_from_optimum):
    model, batch = problem
    exact = model.expected_log_likelihood(away_from_optimum, batch)
    log_theta = away_from_optimum.log_sample(jax.random.key(0), (20_000,))
    log_prior = jax.vmap(lambda t: model.prior.log_prob_from_log(t).sum())(log_theta)
    samples = jax.vmap(lambda t: model.log_joint(t, batch))(log_theta) - log_prior
    assert abs(samples.mean() - exact) < 4 * samples.std() / np.sqrt(20_000)


@pytest.mark.slow
def test_generated_rows_have_the_predictive_moments(problem):
    model, batch = problem
    posterior = model.exact_posterior(batch)
    theta, counts = model.generate(jax.random.key(0), posterior, 20_000)
    chex.assert_shape([theta, counts], (20_000, 7))
    predictive = model.posterior_predictive(posterior)
    errors = np.sqrt(predictive.variance / 20_000)
    counts = np.asarray(counts)
    assert (np.abs(counts.mean(axis=0) - predictive.mean) < 4 * errors).all()


def test_the_prior_weighs_as_many_rows_as_it_says_and_is_floored(data, exact_problem):
    model, _ = exact_problem
    np.testing.assert_allclose(model.prior.mean, np.maximum(data.knowledge, 0.1))
    np.testing.assert_allclose(model.prior.rate, 2.0)


@pytest.mark.parametrize(
    "bad", [{"weight": 0.0}, {"weight": np.nan}, {"floor": -1.0}, {"floor": np.inf}]
)
def test_bad_hyperparameters_are_refused(bad, data):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be positive and finite"):
        DomainKnowledge(**bad).build(data)


def test_nan_is_caught_in_the_data_and_in_the_prior(data):
    knowledge, counts = data.knowledge.copy(), data.counts.copy()
    knowledge[3] = np.nan
    with pytest.raises(ValueError, match=r"prior\.concentration must be positive.*index \(3,\)"):
        DomainKnowledge().build(KnowledgeAndCounts(knowledge, data.counts))
    counts[4, 2] = np.nan
    with pytest.raises(ValueError, match="nan at row 4, column 2"):
        DomainKnowledge().build(KnowledgeAndCounts(data.knowledge, counts))
