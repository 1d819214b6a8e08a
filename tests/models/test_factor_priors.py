"""The priors of factors, against SciPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.factors import (
    KINDS,
    dense_kl,
    expected_log_density,
    in_default_precision,
    largest,
    log_gradient,
    make_model,
    random_posterior,
    to_numpy,
)
from tests.slow import slow_after
from vigamma import Gamma
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior

SIDES = ("rows", "columns")


def prior_and_posterior(kind: str, side: str, seed: int = 0, **sizes):
    """A prior, the factors and their rates (or None)."""
    model = make_model(kind)
    q = random_posterior(model, seed, **sizes)
    prior = model.row_prior if side == "rows" else model.column_prior
    return prior, q[side], q.get(side[:-1] + "_rates")


def in_numpy(tree):
    return jax.tree.map(to_numpy, tree)


@pytest.mark.parametrize("side", slow_after(1, SIDES))
@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_is_that_of_scipy(kind, side):
    prior, factors, rates = prior_and_posterior(kind, side)
    expected = dense_kl(prior, in_numpy(factors), in_numpy(rates))
    np.testing.assert_allclose(prior.kl_divergence(factors, rates).sum(), expected, rtol=1e-5)
    with jax.enable_x64(True):
        prior, factors, rates = in_default_precision((prior, factors, rates))
        of_rows = prior.kl_divergence(factors, rates)
        assert of_rows.shape == (64,)
        np.testing.assert_allclose(of_rows.sum(), expected, rtol=1e-12)


def test_the_divergence_of_a_fixed_rate_is_that_of_gammas():
    """From shapes of 1e-3 to 1e5, in float32."""
    shapes = np.geomspace(1e-3, 1e5, 9).astype(np.float32)
    a, b = (x.reshape(-1, 1) for x in np.meshgrid(shapes, np.float32([0.02, 1.0, 30.0])))
    for concentration in np.float32([0.01, 0.3, 2.0]):
        prior = FixedRatePrior(jnp.asarray(concentration), jnp.float32(0.7))
        got = prior.kl_divergence(Gamma(jnp.asarray(a), jnp.asarray(b)), None)
        with jax.enable_x64(True):
            ours, theirs = in_default_precision(
                (Gamma(to_numpy(a), to_numpy(b)), Gamma(*map(to_numpy, jax.tree.leaves(prior))))
            )
            exact = ours.kl_divergence(jax.tree.map(lambda x: jnp.full(a.shape, x), theirs))[:, 0]
        np.testing.assert_allclose(got, exact, rtol=2e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_that_of_scipy(kind, side):
    prior, factors, rates = prior_and_posterior(kind, side)
    theta = np.random.default_rng(3).gamma(1.0, 2.0, factors.rate.shape)
    if rates is None:
        rate, expected, log_xi = float(prior.rate), 0.0, None
    else:
        xi = np.random.default_rng(4).gamma(2.0, 1.0, len(theta))
        a, b = float(prior.rate.concentration), float(prior.rate.rate)
        rate, expected = xi[:, None], scipy.stats.gamma(a, scale=1 / b).logpdf(xi)
        log_xi = jnp.log(jnp.asarray(xi))
    of_factors = scipy.stats.gamma(float(prior.concentration), scale=1 / rate).logpdf(theta)
    got = prior.log_prob(jnp.log(jnp.asarray(theta)), log_xi)
    np.testing.assert_allclose(got, expected + of_factors.sum(axis=1), rtol=1e-5, atol=1e-5)


def assert_has_moments(draws: np.ndarray, mean: float, variance: float):
    """Within four standard errors, estimated from the draws themselves."""
    for values, truth in ((draws, mean), ((draws - mean) ** 2, variance)):
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(values.size)


def test_draws_with_a_fixed_rate_have_its_moments():
    prior = FixedRatePrior(jnp.float32(0.6), jnp.float32(1.7))
    draws = np.exp(prior.generate(jax.random.key(0), 40_000, 2)).astype(np.float64)
    for column in draws.T:
        assert_has_moments(column, 0.6 / 1.7, 0.6 / 1.7**2)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.02


def test_draws_with_a_random_rate_have_its_moments_and_share_it_in_a_row():
    c, a, b = 0.6, 12.0, 1.7
    prior = RandomRatePrior(*(jnp.float32(c), Gamma(jnp.float32(a), jnp.float32(b))))
    draws = np.exp(prior.generate(jax.random.key(0), 100_000, 2)).astype(np.float64)
    inverse, square = b / (a - 1), b**2 / ((a - 1) * (a - 2))  # of 1/ξ
    mean = c * inverse
    for column in draws.T:
        assert_has_moments(column, mean, c * (c + 1) * square - mean**2)
    product = (draws - mean).prod(axis=1)
    covariance = c**2 * (square - inverse**2)
    error = product.std() / np.sqrt(len(product))
    assert covariance > 10 * error
    assert abs(product.mean() - covariance) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_the_initial_posterior_has_the_means_of_the_prior(kind):
    prior = make_model(kind).row_prior
    factors, rates = prior.initial(5, 3)
    mean_rate = prior.rate if kind == "flat" else prior.rate.mean
    assert factors.concentration.shape == factors.rate.shape == (5, 3)
    np.testing.assert_allclose(factors.mean, np.full((5, 3), prior.concentration / mean_rate))
    if kind == "flat":
        assert rates is None
        np.testing.assert_allclose(prior.kl_divergence(factors, rates), 0, atol=1e-6)
    else:
        np.testing.assert_allclose(rates.mean, np.full(5, mean_rate), rtol=1e-6)
        np.testing.assert_allclose(rates.concentration, np.full(5, 1.2 + 3 * 0.3), rtol=1e-6)


def shares_and_exposure(factors: Gamma):
    rng = np.random.default_rng(8)
    shape = factors.rate.shape
    return in_default_precision((rng.gamma(0.5, 4.0, shape), rng.gamma(2.0, 1.0, shape)))


@pytest.mark.usefixtures("x64")
def test_the_conditional_at_a_fixed_rate_is_conjugate():
    prior, factors, _ = prior_and_posterior("flat", "rows")
    shares, exposure = shares_and_exposure(factors)
    got, rates = prior.conditional(shares, exposure, None)
    assert rates is None
    np.testing.assert_allclose(got.concentration, 0.3 + np.asarray(shares), rtol=1e-14)
    np.testing.assert_allclose(got.rate, 0.7 + np.asarray(exposure), rtol=1e-14)
    one_rate, _ = prior.conditional(shares, exposure[:1, :1], None)
    np.testing.assert_allclose(one_rate.rate, np.full(shares.shape, 0.7 + exposure[0, 0]))


@pytest.mark.usefixtures("x64")
def test_the_conditionals_with_a_random_rate_are_the_closed_forms_factors_first():
    prior, factors, rates = prior_and_posterior("hierarchical", "rows")
    shares, exposure = shares_and_exposure(factors)
    got, got_rates = prior.conditional(shares, exposure, rates)
    concentration = 0.3 + np.asarray(shares)
    rate = np.asarray(rates.mean)[:, None] + np.asarray(exposure)
    rate_of_rates = 0.8 + (concentration / rate).sum(axis=1)
    np.testing.assert_allclose(got.concentration, concentration, rtol=1e-14)
    np.testing.assert_allclose(got.rate, rate, rtol=1e-14)
    np.testing.assert_allclose(got_rates.concentration, np.full(64, 1.2 + 3 * 0.3), rtol=1e-14)
    np.testing.assert_allclose(got_rates.rate, rate_of_rates, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_repeated_conditionals_reach_the_best_factors_and_rates_together():
    prior, factors, rates = prior_and_posterior("hierarchical", "rows", num_rows=6)
    shares, exposure = (to_numpy(x) for x in shares_and_exposure(factors))
    plain = in_numpy(prior)

    def objective(pair) -> float:
        of_shares = expected_log_density(1 + shares, exposure, 0.0, pair[0])  # up to a constant
        return of_shares - dense_kl(plain, *pair)

    pair, values = (factors, rates), []
    assert largest(log_gradient(objective, in_numpy(pair))) > 1
    for _ in range(60):
        values.append(objective(in_numpy(pair)))
        pair = prior.conditional(*in_default_precision((shares, exposure)), pair[1])
    assert largest(log_gradient(objective, in_numpy(pair))) < 1e-5
    assert values[1] > values[0] + 1
    assert (np.diff(values) > -1e-12 * abs(values[0])).all()


IS_ROW = np.arange(64) < 12


def learn(prior, factors, rates):
    return prior.learned(prior.statistics(factors, rates, jnp.asarray(IS_ROW)))


def divergence(factors, rates):
    """KL(q ‖ prior) over the rows that count, as a function of the prior."""
    factors, rates = (jax.tree.map(lambda x: to_numpy(x)[IS_ROW], g) for g in (factors, rates))
    return lambda prior: dense_kl(prior, factors, rates)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_learned_priors_are_better_and_each_parameter_best_in_turn(kind, side):
    prior, factors, rates = prior_and_posterior(kind, side)
    better = learn(prior, factors, rates)
    cost = divergence(factors, rates)
    gradient = log_gradient(cost, in_numpy(prior))
    assert cost(better) < cost(prior) - 1
    assert min(abs(leaf) for leaf in jax.tree.leaves(gradient)) > 0.1
    if kind == "flat":
        halfway = better.replace(rate=prior.rate)
        at_shapes = [log_gradient(cost, in_numpy(halfway)).concentration]
        at_rate = log_gradient(cost, in_numpy(better)).rate
    else:
        halfway = better.replace(rate=better.rate.replace(rate=prior.rate.rate))
        slopes = log_gradient(cost, in_numpy(halfway))
        at_shapes = [slopes.concentration, slopes.rate.concentration]
        at_rate = log_gradient(cost, in_numpy(better)).rate.rate
    assert largest([*at_shapes, at_rate]) < 1e-5


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_learning_again_and_again_finds_the_best_prior(kind):
    prior, factors, rates = prior_and_posterior(kind, "rows")
    cost = divergence(factors, rates)
    statistics = prior.statistics(factors, rates, jnp.asarray(IS_ROW))

    @jax.jit
    def again(prior, statistics, factors, rates):
        def once(_, prior):
            return prior.learned(prior.statistics(factors, rates, jnp.asarray(IS_ROW)))

        return jax.lax.fori_loop(0, 300, once, prior)

    best = again(prior, statistics, factors, rates)
    assert largest(log_gradient(cost, in_numpy(prior))) > 1
    assert largest(log_gradient(cost, in_numpy(best))) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_only_pad_teach_nothing(kind):
    prior, factors, rates = prior_and_posterior(kind, "rows")
    _, other_factors, other_rates = prior_and_posterior(kind, "rows", seed=1)

    def mixed(one, other):
        shape = (64,) + (1,) * (one.ndim - 1)
        return jnp.where(IS_ROW.reshape(shape), one, other)

    padded = jax.tree.map(mixed, (factors, rates), (other_factors, other_rates))
    for got, wanted in zip(
        *(jax.tree.leaves(learn(prior, *pair)) for pair in (padded, (factors, rates))), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    assert float(prior.statistics(*padded, jnp.asarray(IS_ROW)).num_latents) == 12 * 3
