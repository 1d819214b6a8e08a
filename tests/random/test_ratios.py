"""Beta and Dirichlet draws: distributions, gradients, extremes, shapes, keys and devices."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from scipy import special, stats

from tests.random.test_gradient import exact_gradient
from tests.random.test_keys import check_keys_draw_alike
from vigamma import Beta
from vigamma.random import beta, dirichlet, log_beta, log_dirichlet, log_gamma
from vigamma.random.keys import threefry_key

KEY = jax.random.key(0)
PAIRS = [
    (1e-30, 2e-30),
    (1e-3, 1e-3),
    (2.0, 1e-2),
    (0.1, 3.0),
    (1.0, 1.0),
    (10.0, 300.0),
    (1e5, 2e5),
]


def lower_quantiles(log_x: np.ndarray, a: float, b: float) -> np.ndarray:
    """F(x; a, b) in float64 for x below 1/2, also where x underflows."""
    tiny = np.exp(a * np.minimum(log_x, -40) - np.log(a) - special.betaln(a, b))
    return np.where(log_x < -40, tiny, special.betainc(a, b, np.exp(np.maximum(log_x, -40))))


def uniforms(log_x, log_rest, a: float, b: float) -> np.ndarray:
    """F(x; a, b) from log x and log(1-x)."""
    log_x, log_rest = np.asarray(log_x, np.float64), np.asarray(log_rest, np.float64)
    above = 1 - lower_quantiles(log_rest, b, a)
    return np.where(log_x < log_rest, lower_quantiles(log_x, a, b), above)


def p_value(uniform: np.ndarray) -> float:
    return float(stats.kstest(uniform, "uniform").pvalue)


def is_expected(values, expected: float, relative: float) -> bool:
    """Whether the mean of values is as expected, and known to this relative accuracy."""
    values = np.asarray(values, np.float64)
    error = values.std() / np.sqrt(values.size)
    return abs(values.mean() - expected) < 4 * error < relative * abs(expected)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.nightly)])
def test_log_beta_has_the_beta_distribution(dtype):
    with jax.enable_x64(dtype == np.float64):
        logs = log_beta(KEY, *np.array(PAIRS).T, (100_000, len(PAIRS)), dtype)
        x = beta(KEY, *np.array(PAIRS).T, (100_000, len(PAIRS)), dtype)
    np.testing.assert_allclose(x, np.exp(np.asarray(logs[0], np.float64)), rtol=1e-5, atol=1e-37)
    for column, (a, b) in enumerate(PAIRS):
        of_pair = [log[:, column] for log in logs]
        assert p_value(uniforms(*of_pair, a, b)) > 1e-3
        assert p_value(uniforms(*of_pair, a, b * 1.1)) < 1e-3


def test_dirichlet_has_the_distribution_of_its_classes_and_their_sums():
    alpha = np.array([0.02, 0.6, 1.0, 30.0])
    log_x = np.asarray(log_dirichlet(KEY, alpha, (100_000,)), np.float64)
    for chosen in ([0], [1], [2], [3], [0, 1], [0, 1, 2]):
        others = np.setdiff1d(np.arange(4), chosen)
        logs = (special.logsumexp(log_x[:, part], axis=1) for part in (chosen, others))
        assert p_value(uniforms(*logs, alpha[chosen].sum(), alpha[others].sum())) > 1e-3


def test_at_tiny_parameters_one_class_has_it_all():
    alpha = np.array([1e-30, 2e-30, 5e-30, 9e-30])
    x = np.asarray(dirichlet(KEY, alpha, (100_000,)))
    assert set(np.unique(x)) == {0.0, 1.0}
    expected = 100_000 * alpha / alpha.sum()
    assert stats.chisquare(x.sum(axis=0), expected).pvalue > 1e-3


def check_gradient(got, weight, exact, rtol):
    """Got is weight times the exact derivative of the logarithm of a Gamma.

    A weight below 1e-12 is the exponential of a number whose rounding is a larger relative error.
    """
    common = np.abs(weight) > 1e-12
    assert common.mean() > 0.4
    check_close(got, weight * exact, np.where(common, rtol, 10 * rtol), 2e-30)


def check_close(got, expected, rtol, atol):
    error = np.abs(np.asarray(got, np.float64) - expected)
    assert np.all(error <= rtol * np.abs(expected) + atol)


def random_shapes(shape, dtype) -> np.ndarray:
    return (10 ** np.random.default_rng(0).uniform(-3, 5, shape)).astype(dtype)


def exact_slopes(a: np.ndarray, log_z) -> np.ndarray:
    cases = zip(a.ravel().astype(float), np.ravel(log_z).astype(float), strict=True)
    return np.array([exact_gradient(*case) for case in cases]).reshape(a.shape)


def exact_shares(*log_z) -> list[np.ndarray]:
    """The share of each array, with a small relative error also close to 1."""
    with mp.workdps(60):
        z = [np.vectorize(mp.mpf, "O")(np.asarray(x, np.float64)) for x in log_z]
        z = [np.vectorize(mp.exp, "O")(x) for x in z]
        return [x / sum(z) for x in z]


PRECISION = [
    (np.float32, 1e-5, 40),
    pytest.param(np.float64, 1e-11, 40, marks=pytest.mark.nightly),
    pytest.param(np.float32, 1e-5, 1000, marks=pytest.mark.nightly),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol", "size"), PRECISION)
def test_gradients_of_beta_are_those_of_mpmath(dtype, rtol, size):
    a, b = random_shapes((2, size), dtype)
    b[: size // 2] = a[: size // 2] * np.linspace(0.5, 2, size // 2, dtype=dtype)
    with jax.enable_x64(dtype == np.float64):
        one, none = jnp.ones_like(a), jnp.zeros_like(a)
        slopes = jax.jit(lambda *tangents: jax.jvp(lambda *c: log_beta(KEY, *c), (a, b), tangents))
        (logs, of_a), (_, of_b) = slopes(one, none), slopes(none, one)
        keys = jax.random.split(KEY)
        log_y, log_z = (log_gamma(key, shape) for key, shape in zip(keys, (a, b), strict=True))
    largest = np.maximum(np.abs(log_y), np.abs(log_z)).astype(float)
    rtol = rtol + 4 * np.finfo(dtype).eps * np.maximum(largest - 30, 0)  # by rounding of these
    x, rest = exact_shares(log_y, log_z)
    for log, share in zip(logs, (x, rest), strict=True):
        exact = np.vectorize(lambda share: float(mp.log(share)), "d")(share)
        check_close(log, exact, rtol, 1e-37)
    x, rest = x.astype(float), rest.astype(float)
    slope_a, slope_b = exact_slopes(a, log_y), exact_slopes(b, log_z)
    check_gradient(of_a[0], rest, slope_a, rtol)
    check_gradient(of_a[1], -x, slope_a, rtol)
    check_gradient(of_b[0], -rest, slope_b, rtol)
    check_gradient(of_b[1], x, slope_b, rtol)


@pytest.mark.parametrize(("dtype", "rtol", "size"), PRECISION)
def test_gradients_of_dirichlet_are_those_of_mpmath(dtype, rtol, size):
    alpha, half = random_shapes((size, 4), dtype), size // 2
    alpha[:half] = 10 ** np.linspace(-1, 4, half, dtype=dtype)[:, None] * [1, 1.2, 0.7, 0.01]
    with jax.enable_x64(dtype == np.float64):

        @jax.jit
        def slopes_of_both(directions):
            def both(alpha):
                return log_dirichlet(KEY, alpha), dirichlet(KEY, alpha)

            return jax.jvp(both, (jnp.asarray(alpha),), (directions,))

        directions = [np.zeros_like(alpha) + np.eye(4, dtype=dtype)[k] for k in range(4)]
        values, tangents = zip(*map(slopes_of_both, directions), strict=True)
        log_z = log_gamma(KEY, alpha)
    shares = exact_shares(*np.asarray(log_z).T)
    exact = exact_slopes(alpha, log_z)
    np.testing.assert_allclose(values[0][1].T, np.float64(shares), rtol=rtol, atol=1e-17)
    for k in range(4):
        of_log, of_x = tangents[k]
        for j in range(4):
            weight = int(j == k) - shares[k]
            check_gradient(of_log[:, j], weight.astype(float), exact[:, k], rtol)
            weight = (shares[j] * weight).astype(float)
            check_gradient(of_x[:half, j], weight[:half], exact[:half, k], rtol)


def test_mean_gradients_of_beta_are_the_derivatives_of_its_means():
    pairs = np.float32([(0.05, 0.2), (0.4, 1.7), (6.0, 2.0), (300.0, 1e3)])
    rows = jnp.broadcast_to(pairs, (200_000, 4, 2))

    @jax.jit
    @jax.grad
    def gradients(rows, of_x):
        log_x = log_beta(KEY, rows[..., 0], rows[..., 1])[0]
        return jnp.where(of_x, jnp.exp(log_x), log_x).sum()

    of_x, of_log = gradients(rows, True), gradients(rows, False)
    for pair, (a, b) in enumerate(np.float64(pairs)):
        total, of_total = a + b, special.polygamma(1, a + b)
        assert is_expected(of_x[:, pair, 0], b / total**2, 0.05)
        assert is_expected(of_x[:, pair, 1], -a / total**2, 0.05)
        assert is_expected(of_log[:, pair, 0], special.polygamma(1, a) - of_total, 0.05)
        assert is_expected(of_log[:, pair, 1], -of_total, 0.05)


def test_mean_gradients_of_dirichlet_are_the_derivatives_of_its_means():
    alpha = np.float32([0.3, 1.0, 5.0])
    rows = jnp.broadcast_to(alpha, (200_000, 3))
    total, of_total = alpha.sum(), special.polygamma(1, alpha.sum())

    @jax.jit
    @jax.grad
    def gradients(rows, direction, of_x):
        log_x = log_dirichlet(KEY, rows)
        return (jnp.where(of_x, jnp.exp(log_x), log_x) * direction).sum()

    for j, direction in enumerate(np.eye(3, dtype=np.float32)[:, None]):
        of_x, of_log = gradients(rows, direction, True), gradients(rows, direction, False)
        for k in range(3):
            expected = (j == k) * special.polygamma(1, alpha[j]) - of_total
            assert is_expected(of_log[:, k], expected, 0.05)
            assert is_expected(of_x[:, k], ((j == k) - alpha[j] / total) / total, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.nightly)])
def test_draws_and_derivatives_are_finite_at_tiny_parameters(dtype):
    with jax.enable_x64(dtype == np.float64):
        smallest = jnp.geomspace(1e-36, 1, 40, dtype=dtype)
        alpha = jnp.stack([smallest, smallest, jnp.full_like(smallest, 1e-30)], axis=-1)

        @jax.jit
        def draws(alpha):
            return log_beta(KEY, alpha[:, 0], alpha[:, 2]), dirichlet(KEY, alpha)

        def total(alpha):
            return sum(leaf.sum() for leaf in jax.tree.leaves(draws(alpha)))

        value, tangent = jax.jvp(draws, (alpha,), (jnp.ones_like(alpha),))
        for found in jax.tree.leaves((value, tangent, jax.grad(total)(alpha))):
            assert jnp.isfinite(found).all()
            assert found.dtype == dtype


@pytest.mark.nightly
def test_the_gradient_at_tiny_parameters_is_exact_in_float64(x64):
    a, b = jnp.full(200, 1e-30), jnp.full(200, 3e-30)
    of_a = jax.grad(lambda a: log_beta(KEY, a, b)[0].sum())(a)
    log_y, log_z = (log_gamma(key, c) for key, c in zip(jax.random.split(KEY), (a, b), strict=True))
    is_small = log_y < log_z
    assert 100 < is_small.sum() < 190
    np.testing.assert_allclose(of_a, jnp.where(is_small, -log_y / a, 0), rtol=1e-12)


@pytest.mark.slow
def test_both_logarithms_are_exact_where_x_rounds_to_one():
    """There log x = -(1-x)."""
    log_x, log_rest = log_beta(KEY, 5.0, 0.05, (8000,))
    near = (log_rest < -40) & (log_rest > -80)
    assert near.sum() > 500
    assert jnp.all(jnp.exp(log_x)[near] == 1)
    np.testing.assert_allclose(-log_x[near], np.exp(log_rest[near]), rtol=1e-5)
    of_two = log_dirichlet(KEY, jnp.array([5.0, 0.05]), (8000,))
    near = (of_two[:, 1] < -40) & (of_two[:, 1] > -80)
    assert near.sum() > 500
    np.testing.assert_allclose(-of_two[near, 0], np.exp(of_two[near, 1]), rtol=1e-5)


@pytest.mark.parametrize("bad", [0.0, -0.5, jnp.nan, jnp.inf])
def test_invalid_parameters_give_nan_and_leave_their_neighbors_alone(bad):
    def draws(a):
        pair = jnp.stack([a, jnp.full_like(a, 2.0)], axis=-1)
        return jnp.stack([*log_beta(KEY, a, 2.0), *dirichlet(KEY, pair).T])

    got = draws(jnp.array([0.5, bad, 3.0]))
    assert np.isnan(got[:, 1]).all()
    np.testing.assert_array_equal(got[:, ::2], draws(jnp.array([0.5, 1.0, 3.0]))[:, ::2])


@pytest.mark.parametrize("x64", [False, True])
def test_shapes_and_dtypes(x64):
    """Of programs that are not compiled."""
    default, single = np.float64 if x64 else np.float32, np.float32
    with jax.enable_x64(x64):
        one, ones = jnp.ones(2, single), jnp.ones((4, 1))
        for draw, arguments, shape, dtype in [
            (beta, (2, 3), (), default),
            (beta, (np.ones((4, 1)), [1.0, 2.0]), (4, 2), default),
            (beta, (ones, 0.5, (3, 4, 2)), (3, 4, 2), default),
            (beta, (one, 0.5), (2,), single),
            (beta, (one, 1), (2,), single),
            (beta, (1.0, 0.5, None, single), (), single),
            (beta, (ones[:0], 1.0), (0, 1), default),
            (dirichlet, ([1, 2, 3],), (3,), default),
            (dirichlet, (np.ones((4, 3)), (2, 4)), (2, 4, 3), default),
            (dirichlet, (np.ones((1, 3)), (2, 4)), (2, 4, 3), default),
            (log_dirichlet, (one, None), (2,), single),
            (log_dirichlet, (np.ones((0, 3)), None, single), (0, 3), single),
        ]:
            got = jax.eval_shape(lambda key, f=draw, x=arguments: f(key, *x), KEY)
            assert (got.shape, got.dtype) == (shape, dtype)


def test_classes_sum_to_one_also_where_they_are_one_or_many():
    np.testing.assert_array_equal(dirichlet(KEY, np.ones(1), (2,)), np.ones((2, 1)))
    x = dirichlet(KEY, jnp.full(5000, 0.5), (20,))
    np.testing.assert_allclose(x.sum(axis=-1), 1, rtol=5e-7)


def test_errors():
    with pytest.raises(ValueError, match=r"^a and b of shape \(2,\) and \(3,\) cannot be broad"):
        beta(KEY, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"cannot be broadcast to shape \(3,\)$"):
        log_beta(KEY, np.ones(2), 1.0, (3,))
    with pytest.raises(ValueError, match=r"cannot be broadcast to shape \(\)$"):
        beta(KEY, np.ones(2), 1.0, ())
    with pytest.raises(ValueError, match=r"^alpha of shape \(4, 3\) cannot be broadcast"):
        dirichlet(KEY, np.ones((4, 3)), (2,))
    with pytest.raises(ValueError, match="must have an axis of classes"):
        log_dirichlet(KEY, 1.0)
    with pytest.raises(TypeError, match="float32 or float64, not bfloat16"):
        dirichlet(KEY, jnp.ones(3, jnp.bfloat16))


@pytest.mark.slow
def test_typed_and_raw_keys_draw_the_same_alone_and_under_vmap():
    def both(key):
        return beta(key, 0.7, jnp.full(3, 1.5)), dirichlet(key, jnp.full(3, 0.6))

    kind = "unsafe_rbg"  # whose splits under `vmap` are others than alone
    check_keys_draw_alike(both, kind, num_keys=3, rtol=1e-5)


@pytest.mark.nightly
def test_a_draw_depends_on_its_position_not_on_how_many_there_are():
    many = beta(KEY, jnp.full(1000, 1.1), 0.4)
    np.testing.assert_allclose(beta(KEY, jnp.full(77, 1.1), 0.4), many[:77], rtol=1e-5)


def test_the_family_draws_by_the_same_code():
    a, b = jnp.array([0.3, 4.0]), jnp.array([2.0, 1e-3])
    logs = log_beta(threefry_key(KEY), a, b, (5, 2))
    np.testing.assert_array_equal(Beta(a, b).log_sample(KEY, (5,)), logs[0])


@pytest.mark.nightly
def test_explicit_axes_change_nothing():
    alpha = jnp.linspace(0.2, 9.0, 32).reshape(8, 4)

    def work(alpha):
        gradient = jax.grad(lambda alpha: (alpha * log_dirichlet(KEY, alpha)).sum())(alpha)
        return beta(KEY, alpha, 0.7), gradient

    expected = jax.tree.map(np.asarray, jax.jit(work)(alpha))
    with jax.set_mesh(jax.make_mesh((4,), ("data",))):
        got = jax.jit(work)(jax.device_put(alpha, PartitionSpec("data")))
        for one, two in zip(got, expected, strict=True):
            np.testing.assert_allclose(np.asarray(one), two, rtol=1e-5, atol=2e-6)
