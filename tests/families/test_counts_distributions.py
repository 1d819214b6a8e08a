"""Poisson and negative binomial: densities at any size, their derivatives, edges and draws."""

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats

from tests.slow import slow_after
from vigamma import Gamma, NegativeBinomial, Poisson
from vigamma.families.poisson import _large_counts

COUNTS = np.float32([0, 1, 2, 7, 30])
KEY = jax.random.key(0)


def exact_poisson(x, rate):
    """log p(x) and its derivative in the rate."""
    return x * mpmath.log(rate) - rate - mpmath.loggamma(x + 1), (x - rate) / rate


def exact_negative_binomial(x, a, b):
    """log p(x) and its derivatives in a and b."""
    log_choose = mpmath.loggamma(a + x) - mpmath.loggamma(a) - mpmath.loggamma(x + 1)
    return (
        log_choose - a * mpmath.log1p(1 / b) - x * mpmath.log1p(b),
        mpmath.digamma(a + x) - mpmath.digamma(a) - mpmath.log1p(1 / b),
        (a / b - x) / (1 + b),
    )


def exact(function, *arrays) -> np.ndarray:
    with mpmath.workdps(120):
        rows = zip(*arrays, strict=True)
        return np.array(
            [[float(v) for v in function(*(mpmath.mpf(float(x)) for x in row))] for row in rows]
        ).T


def counts_like(mean: np.ndarray, deviation: np.ndarray, dtype: type) -> np.ndarray:
    """Whole numbers up to 1e30: most within a few deviations of the mean, some of any size."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 10, mean.size)
    counts = np.where(
        kind < 6,
        mean + 3 * deviation * rng.normal(size=mean.size),
        np.where(kind < 8, rng.integers(0, 4, mean.size), 10 ** rng.uniform(0, 30, mean.size)),
    )
    return np.round(np.clip(counts, 0, 1e30).astype(dtype))


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == np.float64):
        yield request.param


def assert_close(got, expected, dtype, size=0.0):
    """Within 100 roundings, or 10 of what it is a difference of, where the float can hold it."""
    limits = np.finfo(dtype)
    held = (np.abs(expected) < limits.max) & (np.abs(expected) > limits.tiny)
    error = np.abs(np.asarray(got, float) - expected)[held]
    assert (error <= limits.eps * np.maximum(100 * np.abs(expected), 10 * size)[held]).all()


def test_poisson_matches_mpmath_at_any_size(dtype):
    rng = np.random.default_rng(0)
    rate = (10 ** rng.uniform(-30, 30, 200)).astype(dtype)
    count = counts_like(rate.astype(float), np.sqrt(rate.astype(float)), dtype)
    value_and_slope = jax.vmap(jax.value_and_grad(lambda r, x: Poisson(r).log_prob(x)))
    got = jax.jit(value_and_slope)(jnp.asarray(rate), jnp.asarray(count))
    for of_ours, of_mpmath in zip(got, exact(exact_poisson, count, rate), strict=True):
        assert of_ours.dtype == dtype
        assert_close(of_ours, of_mpmath, dtype)


def test_negative_binomial_matches_mpmath_at_any_size(dtype):
    rng = np.random.default_rng(0)
    reach = np.where(np.arange(200) < 100, 12, 30)
    a = (10 ** rng.uniform(-3, reach)).astype(dtype)
    b = (10 ** rng.uniform(-reach, reach)).astype(dtype)
    mean = np.minimum(a.astype(float) / b, 1e30)
    count = counts_like(mean, np.sqrt(mean * (1 + 1 / b.astype(float))), dtype)
    function = jax.value_and_grad(lambda a, b, x: NegativeBinomial(a, b).log_prob(x), (0, 1))
    value, slopes = jax.jit(jax.vmap(function))(*map(jnp.asarray, (a, b, count)))
    of_mpmath = exact(exact_negative_binomial, count, a, b)
    sizes = 0.0, np.log1p(1 / b.astype(float)), 0.0  # the slope in a crosses 0
    for of_ours, expected, size in zip((value, *slopes), of_mpmath, sizes, strict=True):
        assert_close(of_ours, expected, dtype, size)


@pytest.mark.parametrize(
    ("family", "count", "expected"),
    [
        (Poisson(1e7), 1e7, -8.9779863),
        (Poisson(2.0**31), 2**31 - 1, -11.6627197),
        (NegativeBinomial(1e8, 1e8), 1, -1.0),
        (NegativeBinomial(6e6, 109890.0), 39, -5.2304373),
        (NegativeBinomial(1e30, 1e30), 1, -1.0),
    ],
)
def test_known_values(family, count, expected):
    np.testing.assert_allclose(family.log_prob(count), expected, rtol=1e-5)


def test_a_negative_binomial_of_a_tiny_shape_is_the_logarithmic_series():
    """p(x) is a q^x / x for a shape a near 0; x / a is no float."""
    tiny = NegativeBinomial(jnp.float32(1e-37), jnp.float32(1.0))
    expected = np.log(1e-37) - 1000 * np.log(2) - np.log(1000)
    np.testing.assert_allclose(tiny.log_prob(1000), expected, rtol=1e-6)


def test_the_predictive_of_20_000_rows_of_large_counts_sums_to_one():
    predictive = NegativeBinomial(jnp.float32(4e7), jnp.float32(20_000))
    log_probs = predictive.log_prob(jnp.arange(5000))
    np.testing.assert_allclose(np.exp(np.asarray(log_probs, float)).sum(), 1, rtol=2e-6)


@pytest.mark.parametrize(
    "count", slow_after(2, [3, jnp.uint8(3), np.int64(3), jnp.int32(3), 3.0, [3]])
)
def test_counts_of_any_type_may_meet_a_derivative(count):
    def log_prob(rate):
        return Poisson(rate).log_prob(count).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(log_prob))(2.0), 0.5)
    np.testing.assert_allclose(jax.hessian(log_prob)(2.0), -0.75)
    of_both = jax.grad(lambda a, b: NegativeBinomial(a, b).log_prob(count).sum(), (0, 1))
    _, by_a, by_b = exact(exact_negative_binomial, [3], [2], [4])[:, 0]
    np.testing.assert_allclose(of_both(2.0, 4.0), (by_a, by_b), rtol=1e-6)


@pytest.mark.slow
def test_hessians_of_the_negative_binomial_match_mpmath():
    a, b = np.float32([0.3, 5, 4e5]), np.float32([2, 0.1, 700])
    count = jnp.array([4, 30, 600])
    hessian = jax.hessian(lambda p, x: NegativeBinomial(*p).log_prob(x))
    got = jax.vmap(hessian)(jnp.stack([a, b], axis=1), count)

    def second(x, a, b):
        by_ab = 1 / (b * (1 + b))
        by_bb = x / (1 + b) ** 2 - a * (1 + 2 * b) / (b + b * b) ** 2
        return mpmath.psi(1, a + x) - mpmath.psi(1, a), by_ab, by_ab, by_bb

    expected = exact(second, count, a, b).T.reshape(3, 2, 2)
    np.testing.assert_allclose(got, expected, rtol=2e-3)


IMPOSSIBLE = [-1, 0.5, 2.5, -0.5, np.inf, -np.inf]


@pytest.mark.parametrize(
    "family", [Poisson(jnp.float32(2)), NegativeBinomial(jnp.float32(2), jnp.float32(3))]
)
def test_what_is_no_count_has_probability_zero(family):
    np.testing.assert_array_equal(family.log_prob(jnp.float32(IMPOSSIBLE)), -np.inf)
    assert np.isnan(family.log_prob(np.nan))
    slope = jax.grad(lambda family: family.log_prob(0.5))(family)
    assert all(leaf == 0 for leaf in jax.tree.leaves(slope))


def test_parameters_out_of_range_are_nan_and_so_are_their_derivatives():
    for rate in (np.nan, -1.0, np.inf):
        value, slope = jax.value_and_grad(lambda r: Poisson(r).log_prob(1))(rate)
        assert np.isnan([value, slope]).all()
    for a, b in ((np.nan, 1.0), (1.0, np.nan), (0.0, 1.0), (1.0, 0.0), (-2.0, 1.0), (1.0, np.inf)):
        value, slopes = jax.value_and_grad(lambda a, b: NegativeBinomial(a, b).log_prob(1), (0, 1))(
            a, b
        )
        assert np.isnan([value, *slopes]).all()


def test_poisson_of_rate_zero():
    values, slopes = jax.vmap(
        jax.value_and_grad(lambda rate, x: Poisson(rate).log_prob(x)), (None, 0)
    )(0.0, jnp.float32([0, 1]))
    np.testing.assert_array_equal(values, [0, -np.inf])
    np.testing.assert_array_equal(slopes, [-1, np.inf])
    assert Poisson(jnp.zeros(3)).sample(KEY).tolist() == [0, 0, 0]


def test_log_probs_match_scipy():
    exact_poisson = scipy.stats.poisson(3.7).logpmf(COUNTS)
    exact_binomial = scipy.stats.nbinom(2.5, 0.8 / 1.8).logpmf(COUNTS)
    np.testing.assert_allclose(Poisson(3.7).log_prob(COUNTS), exact_poisson, rtol=1e-5)
    np.testing.assert_allclose(
        NegativeBinomial(2.5, 0.8).log_prob(COUNTS), exact_binomial, rtol=1e-5
    )


def test_samples_have_the_moments():
    for family in (
        Poisson(jnp.float32([3.7])),
        NegativeBinomial(jnp.float32([2.5]), jnp.float32([0.8])),
    ):
        draws = family.sample(KEY, (40_000,))
        chex.assert_shape(draws, (40_000, 1))
        assert draws.dtype == jnp.int32
        error = np.sqrt(family.variance / 40_000)
        assert abs(draws.mean() - family.mean) < 4 * error
        np.testing.assert_allclose(draws.var(), family.variance, rtol=0.05)


@pytest.mark.parametrize("rate", [7e4, 1e6, 1e8, 1.9e9])
def test_draws_of_large_rates_have_the_distribution(rate):
    # Of jax.random.poisson the variance at 1e8 is 1.46 times too large, the kurtosis 14.
    rate = float(np.float32(rate))
    draws = np.asarray(jax.jit(lambda: Poisson(rate).sample(KEY, (100_000,)))(), float)
    distribution = scipy.stats.poisson(rate)
    uniform = distribution.cdf(draws) - np.random.default_rng(0).random(draws.size) * (
        distribution.pmf(draws)
    )
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert len(np.unique(draws % 10)) == 10  # whole numbers, not floats' multiples of 128


@pytest.mark.parametrize("rate", slow_after(2, [np.inf, 2.0**31, np.nan, -1.0, 1e20]))
def test_rates_that_counts_cannot_be_drawn_of_are_refused(rate):
    rates = jnp.float32([1, rate])
    with pytest.raises(ValueError, match=r"rates from 0 to 2e\+09, but one is .* at index \(1,\)"):
        Poisson(rates).sample(KEY)
    draws = jax.jit(lambda: Poisson(rates).sample(KEY, (2,)))()
    assert (draws[:, 1] == -1).all()
    assert (draws[:, 0] >= 0).all()


ONES_AND_TWOS = {
    "lists": [2, 3],
    "NumPy integers": np.array([2, 3]),
    "JAX integers": jnp.array([2, 3]),
    "bytes": np.uint8([2, 3]),
    "float16": np.float16([2, 3]),
    "bfloat16": jnp.bfloat16([2, 3]),
}


@pytest.mark.parametrize("kind", slow_after(2, ONES_AND_TWOS))
def test_parameters_of_any_type_give_floats(kind):
    """All that the families compute, against the same of float32 parameters."""

    def everything(values):
        gamma = Gamma(values, values)
        counts = Poisson(values), NegativeBinomial(values, values)
        return {
            "of the Gamma": (gamma.mean, gamma.variance, gamma.mean_log, gamma.entropy),
            "to another": gamma.kl_divergence(Gamma([1, 1], [1, 1])),
            "quantile": gamma.quantile(0.5),
            "densities": (gamma.log_prob(1), gamma.log_prob_from_log(0)),
            "draws": (gamma.sample(KEY), gamma.log_sample(KEY)),
            "of counts": [
                (f.mean, f.variance, f.log_prob(1), f.sample(KEY).astype(float)) for f in counts
            ],
        }

    with jax.enable_x64(False):  # wherever it is on, whole numbers are float64
        expected = everything(jnp.float32([2, 3]))
        got = everything(ONES_AND_TWOS[kind])
    chex.assert_trees_all_close(got, expected, rtol=1e-6)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))


def test_the_median_of_integer_parameters_is_no_integer():
    np.testing.assert_allclose(Gamma([2, 3], [1, 1]).quantile(0.5), [1.678347, 2.674060], rtol=1e-6)


def test_integers_are_float64_under_x64(x64):
    assert Gamma([2, 3], [1, 1]).log_prob(1).dtype == jnp.float64
    assert Poisson(np.float32(2)).log_prob(1).dtype == jnp.float32


@pytest.mark.parametrize("rate", [2.0**17, 2.0**21])
def test_large_counts_are_the_quantiles_of_their_normals(rate):
    """To a count, from rounding, and without bias."""
    normal = np.linspace(-4.5, 4.5, 4001).astype(np.float32)
    got = _large_counts(jnp.float32(rate), jnp.asarray(normal))
    exact = scipy.stats.poisson(rate).ppf(scipy.stats.norm.cdf(normal.astype(float)))
    difference = np.asarray(got, float) - exact
    assert np.abs(difference).max() <= 1
    assert abs(difference.mean()) < 0.03
