import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special

from vigamma import special

SHAPES = np.geomspace(1e-4, 1e6, 61)
EXACT = {
    "log_gamma_defect": lambda a: a * mpmath.log(a) - a - mpmath.loggamma(a),
    "log_minus_digamma": lambda a: mpmath.log(a) - mpmath.digamma(a),
    "trigamma_excess": lambda a: a * mpmath.psi(1, a) - 1,
}


def mp_values(function, *arguments) -> np.ndarray:
    with mpmath.workdps(40):
        rows = zip(*arguments, strict=True)
        return np.array([float(function(*(mpmath.mpf(float(x)) for x in row))) for row in rows])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_matches_mpmath_from_tiny_to_huge_shapes(name, dtype, rtol):
    shapes = SHAPES.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = getattr(special, name)(jnp.asarray(shapes))
        chex.assert_type(got, dtype)
    # log_gamma_defect has a zero near 6.4, hence the absolute part.
    atol = rtol / 2 if name == "log_gamma_defect" else 0
    np.testing.assert_allclose(got, mp_values(EXACT[name], shapes), rtol=rtol, atol=atol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 6e-7), (np.float64, 4e-13)])
def test_the_series_have_the_terms_that_their_floats_see(dtype, rtol):
    shapes = np.linspace(8, 9, 33).astype(dtype)
    for name in ("trigamma_excess", "log_minus_digamma"):
        with jax.enable_x64(dtype == np.float64):
            got = getattr(special, name)(jnp.asarray(shapes))
        np.testing.assert_allclose(got, mp_values(EXACT[name], shapes), rtol=rtol)


@pytest.mark.usefixtures("x64")
def test_the_defect_of_log_gamma_has_all_terms_in_float64():
    shapes = np.linspace(8, 8.5, 9)
    exact = mp_values(EXACT["log_gamma_defect"], shapes)
    np.testing.assert_allclose(special.log_gamma_defect(jnp.asarray(shapes)), exact, rtol=4e-14)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_exp_digamma_matches_mpmath_and_underflows_to_zero(dtype, rtol):
    shapes = SHAPES[SHAPES > 0.012].astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = special.exp_digamma(jnp.asarray(shapes))
        chex.assert_type(got, dtype)
        assert special.exp_digamma(jnp.asarray(dtype(1e-4))) == 0
    got = np.asarray(got)
    # The exponential of a rounded ψ(a).
    rounding = np.abs(scipy.special.digamma(np.float64(shapes))) / 10
    exact = mp_values(lambda a: mpmath.exp(mpmath.digamma(a)), shapes)
    assert (np.abs(got / exact - 1) <= rtol * (1 + rounding)).all()


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("c", [0.01, 0.3, 2.0, 50.0])
def test_power_divergence_matches_mpmath(c, dtype, rtol):
    rng = np.random.default_rng(0)
    shapes = np.concatenate([SHAPES, [7.999, 8.0, 8.001]]).astype(dtype)
    rates = np.exp(rng.uniform(-12, 12, shapes.size)).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = special.power_divergence(jnp.asarray(shapes), jnp.asarray(rates), dtype(c))
        chex.assert_type(got, dtype)

    got = np.asarray(got)

    def exact(a, b):
        mean_log = mpmath.digamma(a) - mpmath.log(b)
        return (a - dtype(c)) * mean_log + a * mpmath.log(b) - mpmath.loggamma(a) - a

    # c ψ(a) and c log b are as large as they are; nothing larger is ever added up.
    size = 1 + c * (np.abs(scipy.special.digamma(np.float64(shapes))) + np.abs(np.log(rates)))
    assert (np.abs(got - mp_values(exact, shapes, rates)) <= rtol * size).all()


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_same_mean_kl_matches_mpmath_for_shapes_alike_and_far_apart(dtype, rtol):
    shapes = np.geomspace(0.01, 1e5, 40)
    a, c = (
        x.ravel().astype(dtype) for x in np.meshgrid(shapes, [0.1, 0.9, 1.00001, 1.01, 1.5, 20])
    )
    c = a * c
    with jax.enable_x64(dtype == np.float64):
        got = special.same_mean_kl(jnp.asarray(a), jnp.asarray(c))

    def exact(a, c):
        of_gammas = mpmath.loggamma(c) - mpmath.loggamma(a) + (a - c) * mpmath.digamma(a)
        return of_gammas + c * mpmath.log(a / c) + c - a

    np.testing.assert_allclose(got, mp_values(exact, a, c), rtol=rtol)


def test_expm1_minus_keeps_relative_precision_near_zero():
    sizes = np.concatenate([np.geomspace(1e-6, 20, 40), np.linspace(0.4, 3, 27)])
    x = np.concatenate([-sizes, sizes]).astype(np.float32)
    exact = mp_values(lambda v: mpmath.expm1(v) - v, x)
    np.testing.assert_allclose(special.expm1_minus(jnp.asarray(x)), exact, rtol=1e-6)
    assert special.expm1_minus(jnp.float32(0)) == 0


def test_log_ratio_keeps_relative_precision_near_one():
    p = np.float32([1, 1.0000001, 3, 1e6, 1e-4, 7.5, 1e6])
    q = np.float32([1, 1, 3.0000002, 1e-4, 1e6, 5, 999999.9])
    exact = mp_values(lambda a, b: mpmath.log(a / b), p, q)
    np.testing.assert_allclose(special.log_ratio(jnp.asarray(p), jnp.asarray(q)), exact, rtol=3e-7)


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_finite_on_both_sides_of_the_series(name):
    shapes = jnp.float32([1e-4, 0.5, 7.999, 8.0, 8.001, 1e6])
    gradient = jax.vmap(jax.grad(getattr(special, name)))(shapes)
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_inverse_digamma_from_tiny_to_huge_shapes(dtype, rtol):
    # On both sides of -2.22, where the starting point changes, too.
    shapes = np.concatenate([SHAPES, np.linspace(0.3, 0.6, 31)])
    values = mp_values(mpmath.digamma, shapes).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = special.inverse_digamma(jnp.asarray(values))
        chex.assert_type(got, dtype)
    # The value is rounded: a relative error of eps |ψ(a)| / (a ψ'(a)) in a.
    np.testing.assert_allclose(got, shapes, rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 3e-6), (np.float64, 3e-14)])
def test_deviance_keeps_relative_precision_where_both_are_close(dtype, rtol):
    x = np.repeat(np.float64([1, 7, 1e4, 1e12]), 8).astype(dtype)
    mean = (x * np.tile([1e-6, 0.4, 0.6, 0.999, 1, 1.0003, 1.6, 1e5], 4)).astype(dtype)

    def exact(x, mean):
        return x * mpmath.log(x / mean) + mean - x

    with jax.enable_x64(dtype == np.float64):
        x_, mean_ = jnp.asarray(x), jnp.asarray(mean)
        got = special.deviance(x_, mean_ - x_, jnp.log(mean_ / x_))
        chex.assert_type(got, dtype)
        slope = jax.vmap(jax.grad(lambda m, x: special.deviance(x, m - x, jnp.log(m / x))))
        np.testing.assert_allclose(slope(mean_, x_), (mean - x) / mean, rtol=10 * rtol)
    np.testing.assert_allclose(got, mp_values(exact, x, mean), rtol=rtol, atol=0)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_rising_terms_match_mpmath_from_tiny_to_huge_shapes(dtype, rtol):
    """Counts up to 2^24, and r from 1e-20 to 1e6; where the logarithm is near 0, its error is."""
    shapes = [1e-20, 1e-12, 1e-6, 1e-3, 0.05, 0.3, 1, 2.5, 7, 30, 1e3, 1e5, 1e6]
    counts = [1, 2, 3, 4, 7, 20, 100, 1e3, 2**16 + 1, 2**20, 2**24]
    r, x = (grid.ravel() for grid in np.meshgrid(np.array(shapes, dtype), np.array(counts, dtype)))
    with jax.enable_x64(dtype == np.float64):
        difference, log_rising = special.rising_terms(jnp.asarray(x), jnp.asarray(r))
        chex.assert_type([difference, log_rising], dtype)
    exact = mp_values(lambda r, x: mpmath.digamma(r + x) - mpmath.digamma(r), r, x)
    np.testing.assert_allclose(difference, exact, rtol=rtol)

    def rising(r, x):
        return mpmath.loggamma(r + x) - mpmath.loggamma(r) - x * mpmath.log(x)

    np.testing.assert_allclose(log_rising, mp_values(rising, r, x), rtol=rtol, atol=rtol)


@pytest.mark.usefixtures("x64")
def test_the_derivatives_of_rising_terms_are_digammas_and_trigammas():
    r, x = np.geomspace(1e-6, 1e5, 12)[:, None], np.array([1.0, 2, 7, 300])
    r, x = (a.ravel() for a in np.broadcast_arrays(r, x))

    def tangents(r):
        return jax.jvp(lambda r: special.rising_terms(jnp.asarray(x), r), (r,), (jnp.ones_like(r),))

    (difference, _), (slope, of_log) = tangents(jnp.asarray(r))
    np.testing.assert_array_equal(of_log, difference)
    expected = scipy.special.polygamma(1, r + x) - scipy.special.polygamma(1, r)
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-13)
    with jax.enable_x64(False):
        gradient = jax.grad(lambda r: special.rising_terms(jnp.float32(3), r)[1])
        np.testing.assert_allclose(gradient(jnp.float32(1e-25)), 1e25, rtol=1e-5)


def test_rising_terms_of_shapes_beyond_all_use_stay_finite_and_right():
    r, x = jnp.asarray([1e10, 1e16, 1e18, 1e-29]), jnp.asarray([1.0, 1e6, 3.0, 2.0])
    difference, log_rising = special.rising_terms(x, r)
    np.testing.assert_allclose(difference, [1e-10, 1e-10, 3e-18, 1e29], rtol=1e-5)
    expected = np.asarray(x) * np.log(np.asarray(r, float) / np.asarray(x))
    expected[3] = np.log(1e-29) - 2 * np.log(2)
    np.testing.assert_allclose(log_rising, expected, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_the_slope_of_digamma_matches_mpmath_for_steps_of_any_size(dtype, rtol):
    z, step = np.meshgrid([1.0, 1.5, 10, 1e3, 1e6], [-0.7, -0.1, -1e-3, 0, 1e-6, 0.5, 1e4])
    z, step = z.ravel().astype(dtype), step.ravel().astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = special.digamma_slope(jnp.asarray(z), jnp.asarray(step))

    def exact(z, step):
        if step == 0:
            return mpmath.psi(1, z)
        return (mpmath.digamma(z + step) - mpmath.digamma(z)) / step

    np.testing.assert_allclose(got, mp_values(exact, z, step), rtol=rtol)
