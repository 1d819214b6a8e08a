import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from vigamma import Gamma

N = 400


def mp_kl(a, b, c, d):
    return (
        (a - c) * mpmath.digamma(a) - mpmath.loggamma(a) + mpmath.loggamma(c)
        + c * (mpmath.log(b) - mpmath.log(d)) + a * (d - b) / b
    )  # fmt: skip


def mp_values(function, *arrays) -> np.ndarray:
    with mpmath.workdps(40):
        rows = zip(*arrays, strict=True)
        return np.array([float(function(*(mpmath.mpf(float(x)) for x in row))) for row in rows])


def clip(values) -> np.ndarray:
    return np.clip(values, 1e-4, 1e6).astype(np.float32)


def random_parameters(seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, clip(10 ** rng.uniform(-4, 6, N)), clip(10 ** rng.uniform(-4, 6, N))


def gamma(a, b) -> Gamma:
    return Gamma(jnp.asarray(a), jnp.asarray(b))


OTHERS = {
    "independent": lambda rng, a, b: (10 ** rng.uniform(-4, 6, N), 10 ** rng.uniform(-4, 6, N)),
    "a tenth apart": lambda rng, a, b: (
        a * (1 + 0.1 * rng.normal(size=N)),
        b * (1 + 0.1 * rng.normal(size=N)),
    ),
    "a thousandth apart": lambda rng, a, b: (a * (1 + 1e-3 * rng.normal(size=N)), b),
    "the same mean": lambda rng, a, b: ((c := 10 ** rng.uniform(-4, 6, N)), b * c / a),
}


@pytest.mark.parametrize("others", OTHERS)
def test_kl_divergence_matches_mpmath(others):
    rng, a, b = random_parameters(1)
    c, d = map(clip, OTHERS[others](rng, a, b))
    got = gamma(a, b).kl_divergence(gamma(c, d))
    chex.assert_shape(got, (N,))
    np.testing.assert_allclose(got, mp_values(mp_kl, a, b, c, d), rtol=1e-4, atol=0)


def test_kl_divergence_keeps_tiny_differences_at_huge_shapes():
    # gammaln and digamma in float32 give 0.125 here, where 0.05 is right.
    a, c = np.float32([1e5, 1e6]), np.float32([1e5 * (1 + 1e-3), 1e6 * (1 + 3e-4)])
    b = np.float32([1, 1])
    got = gamma(a, b).kl_divergence(gamma(c, b))
    np.testing.assert_allclose(got, mp_values(mp_kl, a, b, c, b), rtol=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(2**-13, 1e6, width=32), min_size=4, max_size=4))
def test_kl_divergence_is_never_negative_and_zero_to_itself(values):
    a, b, c, d = np.float32(values)
    assert gamma(a, b).kl_divergence(gamma(c, d)) >= 0
    assert gamma(a, b).kl_divergence(gamma(a, b)) == 0


def test_moments_and_entropy_match_mpmath():
    _, a, b = random_parameters(2)
    q = gamma(a, b)
    np.testing.assert_allclose(q.mean, a.astype(np.float64) / b, rtol=1e-6)
    np.testing.assert_allclose(
        q.variance, a.astype(np.float64) / b.astype(np.float64) ** 2, rtol=1e-6
    )
    mean_log = mp_values(lambda x, y: mpmath.digamma(x) - mpmath.log(y), a, b)
    np.testing.assert_allclose(q.mean_log, mean_log, rtol=1e-5, atol=1e-6)
    entropy = mp_values(
        lambda x, y: x - mpmath.log(y) + mpmath.loggamma(x) + (1 - x) * mpmath.digamma(x), a, b
    )
    np.testing.assert_allclose(q.entropy, entropy, rtol=1e-4, atol=1e-5)


def test_log_prob_matches_mpmath():
    rng, a, b = random_parameters(3)
    x = np.asarray(gamma(a, b).quantile(jnp.float32(rng.uniform(0.001, 0.999, N))))
    a, b, x = (values[x > 1e-30] for values in (a, b, x))
    exact = mp_values(
        lambda a, b, x: (a - 1) * mpmath.log(x) + a * mpmath.log(b) - b * x - mpmath.loggamma(a),
        a, b, x,
    )  # fmt: skip
    np.testing.assert_allclose(gamma(a, b).log_prob(jnp.asarray(x)), exact, rtol=1e-4, atol=1e-4)


def test_log_prob_from_log_holds_where_x_underflows():
    log_x = np.float32([-5000, -200, -1, 0.5])
    a, b = np.float32([1e-3, 0.01, 2, 3]), np.float32([2, 0.5, 1, 4])
    exact = mp_values(
        lambda a, b, t: (a - 1) * t + a * mpmath.log(b) - b * mpmath.exp(t) - mpmath.loggamma(a),
        a, b, log_x,
    )  # fmt: skip
    np.testing.assert_allclose(gamma(a, b).log_prob_from_log(jnp.asarray(log_x)), exact, rtol=1e-5)


def test_log_prob_outside_and_on_the_edge_of_the_support():
    q = gamma(np.float32([0.5, 1, 2, 2, 2, 2, 2]), np.full(7, 3, np.float32))
    x = jnp.float32([0, 0, 0, -1, jnp.inf, -jnp.inf, jnp.nan])
    expected = [np.inf, np.log(3), -np.inf, -np.inf, -np.inf, -np.inf, np.nan]
    np.testing.assert_allclose(q.log_prob(x), expected, rtol=1e-6)
    from_log = q.log_prob_from_log(jnp.log(x))
    np.testing.assert_allclose(
        from_log, [*expected[:3], np.nan, -np.inf, np.nan, np.nan], rtol=1e-6
    )
    slopes = jax.grad(lambda q: jnp.where(jnp.isfinite(x), 0, q.log_prob(x)).sum())(q)
    assert np.isfinite(slopes.concentration[:6]).all()


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1), (1, np.nan), (-1, 1), (0, 1), (2, 0), (np.inf, 1), (2, np.inf)]
)
def test_bad_parameters_have_nan_densities_and_quantiles_everywhere(a, b):
    q = gamma(np.float32(a), np.float32(b))
    values = [q.log_prob(1.0), q.log_prob(-1.0), q.log_prob_from_log(0.0), q.quantile(0.5)]
    assert np.isnan(values).all()


def test_log_prob_keeps_its_digits_near_the_mode_of_a_huge_shape():
    a, b = np.float32([1e8, 3e10, 2e14, 1e6, 1e6]), np.float32([3.7, 0.013, 911, 1e-3, 1e3])
    x = ((a + np.float32([1, -2, 0.5, 7, 300]) * np.sqrt(a)) / b).astype(np.float32)
    expected = mp_values(
        lambda a, b, x: (a - 1) * mpmath.log(x) + a * mpmath.log(b) - b * x - mpmath.loggamma(a),
        a, b, x,
    )  # fmt: skip
    np.testing.assert_allclose(gamma(a, b).log_prob(jnp.asarray(x)), expected, rtol=1e-5)


def test_quantile_matches_scipy_under_jit_and_vmap():
    a, b = np.float32([0.5, 3, 1e6]), np.float32([2, 0.1, 50])
    p = np.float32([0.05, 0.5, 0.95])
    exact = scipy.stats.gamma(a.astype(np.float64), scale=1 / b.astype(np.float64)).ppf(p[:, None])
    quantiles = jax.jit(jax.vmap(gamma(a, b).quantile))(jnp.asarray(p))
    chex.assert_shape(quantiles, (3, 3))
    np.testing.assert_allclose(quantiles, exact, rtol=1e-6)


def test_kl_gradient_is_the_closed_form():
    # ∂KL/∂a = (a - c) ψ'(a) + d / b - 1, ∂KL/∂b = c / b - a d / b².
    a, b, c, d = (
        np.float32([[0.3, 20, 5e4], [2, 3, 10], [0.9, 23, 5.1e4], [1, 4, 10.3]]).T.reshape(3, 4).T
    )
    by_a, by_b = jax.grad(lambda a, b: gamma(a, b).kl_divergence(gamma(c, d)).sum(), (0, 1))(
        jnp.asarray(a), jnp.asarray(b)
    )
    exact_a = mp_values(lambda a, b, c, d: (a - c) * mpmath.psi(1, a) + d / b - 1, a, b, c, d)
    exact_b = mp_values(lambda a, b, c, d: c / b - a * d / b**2, a, b, c, d)
    np.testing.assert_allclose(by_a, exact_a, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(by_b, exact_b, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5)])
def test_samples_have_the_distribution_and_the_shapes(shape):
    q = Gamma(jnp.full(shape, 3.0), jnp.full(shape, 2.0))
    draws = q.sample(jax.random.key(0), (2000,))
    log_draws = q.log_sample(jax.random.key(1), (2000,))
    chex.assert_shape([draws, log_draws], (2000, *shape))
    for values in (draws, jnp.exp(log_draws)):
        assert scipy.stats.kstest(np.ravel(values)[:2000], "gamma", (3, 0, 1 / 2)).pvalue > 1e-3


def test_samples_carry_the_derivatives_of_the_mean():
    # E[x] = a / b, so its derivatives are 1 / b and -a / b².
    def mean(a, b):
        return Gamma(a, b).sample(jax.random.key(0), (20_000,)).mean()

    by_a, by_b = jax.grad(mean, (0, 1))(jnp.float32(4), jnp.float32(2))
    np.testing.assert_allclose([by_a, by_b], [0.5, -1.0], rtol=0.02)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("field", ["concentration", "rate"])
def test_validate_names_the_parameter_and_the_index(bad, field):
    values = {"concentration": np.ones(3), "rate": np.ones(3)}
    values[field][1] = bad
    with pytest.raises(ValueError, match=rf"prior\.{field} must be positive.*index \(1,\)"):
        Gamma(**values).validate("prior")


def test_what_is_known_under_jit_is_validated():
    @jax.jit
    def validated(concentration):
        Gamma(concentration, np.float32(-3)).validate("q")

    with pytest.raises(ValueError, match=r"q\.rate must be positive and finite, but it is -3\.0"):
        validated(jnp.ones(()))
