"""The draws are Gamma draws: known distribution functions, moments and golden values."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

from tests.slow import slow_after
from vigamma.random import gamma, log_gamma
from vigamma.random.rejection import _log_acceptance, _retry

SHAPES = [1e-4, 1e-2, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3, 1e6]


def quantiles(log_z: np.ndarray, a: float) -> np.ndarray:
    """F(z; a) in float64 from log z, also where z underflows."""
    tiny = np.exp(a * np.minimum(log_z, -30) - special.gammaln(a + 1))
    return np.where(log_z < -30, tiny, special.gammainc(a, np.exp(np.maximum(log_z, -30))))


def kolmogorov_smirnov(log_z: np.ndarray, a: float) -> float:
    """The p-value of log z under Gamma(a, 1)."""
    size = log_z.size
    uniform = np.sort(quantiles(log_z, a))
    rank = np.arange(size)
    distance = max((uniform - rank / size).max(), ((rank + 1) / size - uniform).max())
    return float(stats.kstwobign.sf(distance * np.sqrt(size)))


def moment_scores(log_z: np.ndarray, a: float) -> tuple[float, float]:
    """How many standard errors the mean and the variance of log z are from ψ(a) and ψ'(a)."""
    variance, fourth = special.polygamma(1, a), special.polygamma(3, a)
    mean_score = (log_z.mean() - special.digamma(a)) / np.sqrt(variance / log_z.size)
    variance_score = (log_z.var() - variance) / np.sqrt((fourth + 2 * variance**2) / log_z.size)
    return float(mean_score), float(variance_score)


def check(log_z: jax.Array, a: float) -> None:
    log_z = np.asarray(log_z, np.float64)
    assert kolmogorov_smirnov(log_z, a) > 1e-4
    assert np.abs(moment_scores(log_z, a)).max() < 4


@pytest.mark.parametrize("a", SHAPES)
def test_log_gamma_has_the_gamma_distribution(a):
    a = float(np.float32(a))
    check(log_gamma(jax.random.key(0), a, (200_000,)), a)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("a", SHAPES)
def test_a_million_draws_have_the_gamma_distribution(a, seed):
    a = float(np.float32(a))
    check(log_gamma(jax.random.key(seed), a, (1_000_000,)), a)


@pytest.mark.parametrize("a", [0.3, 1.0, 4.0, 1e3])
def test_gamma_has_the_gamma_distribution(a):
    a = float(np.float32(a))
    check(np.log(gamma(jax.random.key(1), a, (200_000,))), a)


@pytest.mark.parametrize("a", [1e-3, 0.5, 1.0, 30.0, 1e6])
def test_float64_draws_have_the_gamma_distribution(a):
    with jax.enable_x64(True):
        draws = log_gamma(jax.random.key(2), a, (100_000,))
        assert draws.dtype == jnp.float64
        check(draws, a)
        assert np.unique(np.asarray(draws)).size == draws.size


@pytest.mark.parametrize("a", [0.2, 1.0, 100.0])
def test_the_checks_reject_a_shape_three_percent_off(a):
    log_z = np.asarray(log_gamma(jax.random.key(0), 1.03 * a, (200_000,)), np.float64)
    assert kolmogorov_smirnov(log_z, a) < 1e-4
    assert np.abs(moment_scores(log_z, a)).max() > 4


@pytest.mark.parametrize("a", [1.0, 1.7, 50.0])
def test_draws_that_were_all_rejected_at_first_are_exact_too(a):
    a = float(np.float32(a))
    keys = jax.random.bits(jax.random.key(3), (101, 2), jnp.uint32)
    rejected = jnp.full((101, 1009), jnp.inf)
    check(np.log(_retry(keys, jnp.full_like(rejected, a), rejected)).ravel(), a)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-4), (np.float64, 1e-11)])
def test_the_probability_to_keep_a_proposal_is_exact_also_where_its_terms_cancel(dtype, rtol):
    y = np.concatenate([-np.geomspace(1e-3, 0.95, 60), np.geomspace(1e-3, 3, 60)]).astype(dtype)
    with jax.enable_x64(dtype == np.float64), mp.workdps(40):
        got = _log_acceptance(jnp.asarray(y), jnp.full_like(y, 7))
        exact = [21 * (mp.log1p(v) - v + v**2 / 2 - v**3 / 3) for v in map(mp.mpf, y.tolist())]
    np.testing.assert_allclose(got, np.array(exact, float), rtol=rtol)


def test_neighboring_draws_and_keys_are_independent():
    keys = jax.random.split(jax.random.key(4), 300)
    draws = np.asarray(jax.vmap(lambda key: log_gamma(key, 2.0, (1000,)))(keys), np.float64)
    score = stats.norm.ppf(quantiles(draws, 2.0))
    for shifted in (
        score[:, 1:] * score[:, :-1],
        score[1:] * score[:-1],
        score[:, 32:] * score[:, :-32],
    ):
        assert abs(shifted.mean()) < 4 / np.sqrt(shifted.size)


def test_draws_are_a_function_of_the_key_and_never_change():
    shapes = jnp.array([1e-3, 0.5, 1.0, 3.0, 300.0, 1e6])
    golden = np.array([-1083.129, -2.942034, 1.369257, 1.403333, 5.730865, 13.81479])
    log_z, z = log_gamma(jax.random.key(42), shapes), gamma(jax.random.key(42), shapes)
    np.testing.assert_allclose(log_z, golden, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.log(z)[1:], golden[1:], rtol=1e-5, atol=1e-5)
    assert np.abs(log_gamma(jax.random.key(43), shapes) - golden).min() > 1e-4


def test_small_shapes_are_positive_and_finite():
    shapes = jnp.full(100_000, 1e-4)
    assert jnp.all(gamma(jax.random.key(0), shapes) > 0)
    assert jnp.all(jnp.isfinite(log_gamma(jax.random.key(0), shapes)))


def test_the_largest_finite_shapes_draw_and_infinity_is_nan():
    shapes = jnp.array([3e38, jnp.inf, 3e38])
    z, log_z = gamma(jax.random.key(0), shapes), log_gamma(jax.random.key(0), shapes)
    np.testing.assert_allclose(z, [3e38, np.nan, 3e38], rtol=1e-6)
    np.testing.assert_allclose(log_z, np.log([3e38, np.nan, 3e38]), rtol=1e-6)


@pytest.mark.parametrize("bad", slow_after(1, [-0.5, 0.0, -3.0, jnp.nan, jnp.inf]))
def test_invalid_shapes_give_nan_and_leave_their_neighbors_alone(bad):
    shapes = jnp.array([0.5, bad, 2.0, bad, 1e5])
    valid = jnp.array([0.5, 1.0, 2.0, 1.0, 1e5])
    for draw in (gamma, log_gamma):

        def total(a, draw=draw):
            z = draw(jax.random.key(0), a)
            return z.sum(), z

        gradient, z = jax.jit(jax.grad(total, has_aux=True))(shapes)
        gradient_valid, z_valid = jax.jit(jax.grad(total, has_aux=True))(valid)
        for got, expected in ((gradient, gradient_valid), (z, z_valid)):
            assert np.all(np.isnan(got[np.array([1, 3])]))
            np.testing.assert_array_equal(got[np.array([0, 2, 4])], expected[np.array([0, 2, 4])])
