"""What all estimators share: they estimate one ELBO and one gradient."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.slow import slow_after
from vigamma import (
    AnalyticElbo,
    Gamma,
    MeanFieldGamma,
    PathwiseElbo,
    ScoreFunctionElbo,
)
from vigamma.devices.mesh import in_default_float
from vigamma.families.joint import log_mean, log_prob

BATCHES, BATCH = 100, 100  # 10,000 samples
ESTIMATORS = {
    "pathwise": PathwiseElbo(num_samples=BATCH, sticking_the_landing=False),
    "sticking the landing": PathwiseElbo(num_samples=BATCH, sticking_the_landing=True),
    "score function": ScoreFunctionElbo(num_samples=BATCH),
}


@functools.partial(jax.jit, static_argnames=("estimator", "num_batches"))
def estimate(estimator, problem, q: Gamma, num_batches: int = BATCHES):
    """(ELBO, {leaf: gradient}) of many independent batches, with a leading axis of batches."""
    model, batch = problem

    def one(key):
        keys = jax.random.split(key, max(estimator.num_samples, 1))
        elbo, gradient = estimator.estimate(model, MeanFieldGamma(q), batch, keys)
        return elbo, nnx.to_pure_dict(gradient)

    return jax.vmap(one)(jax.random.split(jax.random.key(0), num_batches))


def random_point(problem, seed: int) -> Gamma:
    model, _ = problem
    perturbation = jnp.exp(0.5 * jax.random.normal(jax.random.key(seed), (2, 7)))
    return Gamma(model.prior.concentration * perturbation[0], model.prior.rate * perturbation[1])


@pytest.mark.parametrize("seed", slow_after(1, range(5)))
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradients_and_values_agree_with_the_closed_form(name, seed, problem):
    q = random_point(problem, seed)
    exact = jax.tree.map(lambda leaf: leaf[0], estimate(AnalyticElbo(), problem, q, 1))
    batches = estimate(ESTIMATORS[name], problem, q)
    for mean, error, truth in zip(
        *(
            jax.tree.leaves(tree)
            for tree in (
                jax.tree.map(lambda x: np.mean(x, axis=0), batches),
                jax.tree.map(lambda x: np.std(x, axis=0, ddof=1) / np.sqrt(BATCHES), batches),
                exact,
            )
        ),
        strict=True,
    ):
        rounding = 1e-6 * np.abs(truth) + 1e-5
        assert (np.abs(mean - truth) < 4 * error + rounding).all()


@pytest.mark.slow
def test_sticking_the_landing_has_no_noise_at_the_exact_posterior(problem):
    model, batch = problem
    exact = model.exact_posterior(batch)
    noise = {}
    for name in ("pathwise", "sticking the landing"):
        estimator = PathwiseElbo(
            num_samples=1, sticking_the_landing=ESTIMATORS[name].sticking_the_landing
        )
        _, gradient = estimate(estimator, problem, exact, 1000)
        noise[name] = max(np.var(leaf, axis=0).max() for leaf in jax.tree.leaves(gradient))
    assert noise["sticking the landing"] < 1e-6
    assert noise["pathwise"] > 1


def test_the_elbo_is_at_most_the_evidence_and_equal_at_the_exact_posterior(
    problem, away_from_optimum
):
    model, batch = problem
    elbo = [
        float(estimate(AnalyticElbo(), problem, q, 1)[0][0])
        for q in (away_from_optimum, model.exact_posterior(batch))
    ]
    evidence = float(model.log_evidence(batch))
    assert elbo[0] < evidence - 1
    np.testing.assert_allclose(elbo[1], evidence, rtol=1e-6)


def test_the_gap_is_the_divergence_to_the_exact_posterior(problem, away_from_optimum):
    model, batch = problem
    elbo, _ = estimate(AnalyticElbo(), problem, away_from_optimum, 1)
    gap = away_from_optimum.kl_divergence(model.exact_posterior(batch)).sum()
    np.testing.assert_allclose(model.log_evidence(batch) - elbo[0], gap, rtol=1e-4)


@pytest.mark.slow
def test_the_score_function_estimate_is_the_leave_one_out_one(problem, away_from_optimum):
    model, batch = problem
    estimator = ScoreFunctionElbo(num_samples=5)
    keys = jax.random.split(jax.random.key(3), 5)
    q = MeanFieldGamma(away_from_optimum)
    _, gradient = estimator.estimate(model, q, batch, keys)

    log_theta = jax.vmap(q.distribution().log_sample)(keys)
    f = [model.log_joint(t, batch) - log_prob(q.distribution(), t) for t in log_theta]
    f = np.array(f, np.float64)
    score = nnx.grad(lambda q, t: log_prob(q.distribution(), t))
    scores = [nnx.to_pure_dict(score(q, t)) for t in log_theta]
    for name, leaf in nnx.to_pure_dict(gradient).items():
        expected = np.mean(
            [(f[s] - np.delete(f, s).mean()) * np.asarray(scores[s][name]) for s in range(5)],
            axis=0,
        )
        np.testing.assert_allclose(leaf, expected, rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_the_score_function_takes_its_means_about_the_value_at_the_mean(problem, away_from_optimum):
    model, batch = problem
    far = batch.replace(log_multinomial=batch.log_multinomial - 1e6)  # which float32 would feel

    @jax.jit
    def moments(q: Gamma):
        q, keys = MeanFieldGamma(q), jax.random.split(jax.random.key(3), 64)
        mean = log_mean(q.distribution())
        at_mean = model.log_joint(mean, far) - log_prob(q.distribution(), mean)
        center, mean_f, _, product = ScoreFunctionElbo(num_samples=64).moments(model, q, far, keys)
        return at_mean, center, mean_f, nnx.to_pure_dict(product)

    at_mean, center, mean_f, mean_product = moments(away_from_optimum)
    np.testing.assert_allclose(center, at_mean, rtol=1e-6)
    assert abs(mean_f) < 1e-3 * abs(center)
    assert all(np.abs(leaf).max() < 1e5 for leaf in mean_product.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_shapes_and_finiteness_from_one_pixel_on(name):
    from vigamma import CountStatistics, GammaPoisson

    for size in (1, 13):
        model = GammaPoisson(Gamma(jnp.full((size,), 0.02), jnp.full((size,), 2.0)))
        batch = CountStatistics(jnp.zeros(size), *in_default_float((168, 0)))
        elbo, gradient = estimate(ESTIMATORS[name], (model, batch), model.prior, 2)
        chex.assert_shape(elbo, (2,))
        chex.assert_shape(jax.tree.leaves(gradient), (2, size))
        chex.assert_tree_all_finite((elbo, gradient))


@pytest.mark.parametrize("bad", [PathwiseElbo(num_samples=0), ScoreFunctionElbo(num_samples=1)])
def test_too_few_samples_are_refused(bad):
    with pytest.raises(ValueError, match="num_samples must be at least"):
        bad.validate()
