"""Shapes, dtypes, errors, transformations of JAX; the same draws on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from vigamma.random import gamma, log_gamma

KEY = jax.random.key(0)
DRAWS = [gamma, log_gamma]
SHAPES = jnp.array([0.2, 1.0, 2.5, 300.0, 0.7, 1e4, 1.3])  # a prime number of them
ROUNDING = {"rtol": 1e-5, "atol": 2e-6}


@pytest.mark.nightly
@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=2).map(tuple),
    st.lists(st.integers(0, 4), max_size=2).map(tuple),
    st.sampled_from([np.float32, np.float64, int]),
    st.booleans(),
)
def test_shape_and_dtype(sample_shape, event_shape, kind, x64):
    with jax.enable_x64(x64):
        a = np.full(event_shape, 2, kind)
        z = gamma(KEY, a, sample_shape)
        assert z.shape == (*sample_shape, *event_shape)
        assert z.dtype == (jnp.float64 if x64 and kind != np.float32 else jnp.float32)
        assert gamma(KEY, a, sample_shape, dtype=jnp.float32).dtype == jnp.float32
        assert jnp.all((z > 0) & jnp.isfinite(z))
        broadcast = gamma(KEY, np.broadcast_to(a, z.shape))
        np.testing.assert_allclose(z, broadcast, **ROUNDING)


def test_a_draw_depends_on_its_position_not_on_how_many_there_are():
    many = log_gamma(KEY, jnp.full(1000, 1.1))
    np.testing.assert_allclose(log_gamma(KEY, jnp.full(77, 1.1)), many[:77], **ROUNDING)
    np.testing.assert_allclose(log_gamma(KEY, 1.1), many[0], **ROUNDING)


def test_a_draw_does_not_depend_on_the_shapes_beside_it():
    """Nor on how often these are rejected: a twentieth is, of 32 that are tried again in turn."""
    size = 3000
    ones, is_one = jnp.ones(size), jnp.arange(size) % 2 == 0
    mixed = log_gamma(KEY, jnp.where(is_one, ones, 1e5))
    np.testing.assert_allclose(mixed[::2], log_gamma(KEY, ones)[::2], **ROUNDING)


@pytest.mark.slow
def test_any_kind_of_key():
    raw, typed = jax.random.PRNGKey(3), jax.random.key(3)
    np.testing.assert_array_equal(gamma(raw, SHAPES), gamma(typed, SHAPES))
    other = gamma(jax.random.key(3, impl="rbg"), jnp.full(10_000, 2.0))
    assert abs(other.mean() - 2) < 4 * np.sqrt(2 / 10_000)
    with pytest.raises(ValueError, match="single key"):
        gamma(jax.random.split(typed, 3), SHAPES)


def test_errors():
    with pytest.raises(TypeError, match="float32 or float64, not bfloat16"):
        gamma(KEY, jnp.ones(3, jnp.bfloat16))
    with pytest.raises(TypeError, match="float32 or float64, not int32"):
        gamma(KEY, 1.0, dtype=jnp.int32)
    with pytest.raises(ValueError, match="At most 2"):
        gamma(KEY, 1.0, (2**16, 2**15))


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS)
def test_vmap_over_keys_shapes_and_both(draw):
    keys = jax.random.split(KEY, (3, 5))
    each = np.array([[draw(key, SHAPES) for key in row] for row in keys])
    both = jax.vmap(jax.vmap(draw, (0, None)), (0, None))(keys, SHAPES)
    np.testing.assert_allclose(both, each, **ROUNDING)
    flat = jax.vmap(draw)(keys.reshape(15), jnp.broadcast_to(SHAPES, (15, SHAPES.size)))
    np.testing.assert_allclose(flat.reshape(both.shape), each, **ROUNDING)
    # Each row draws as if alone: the first of its key.
    over_shapes = jax.vmap(draw, (None, 0))(keys[0, 0], SHAPES)
    np.testing.assert_allclose(over_shapes, [draw(keys[0, 0], a) for a in SHAPES], **ROUNDING)
    last_axis = jax.vmap(draw, (0, None), out_axes=1)(keys[0], SHAPES)
    np.testing.assert_allclose(last_axis.T, each[0], **ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS)
def test_forward_reverse_vmap_scan_agree(draw):
    slope = jax.jvp(lambda a: draw(KEY, a), (SHAPES,), (jnp.ones_like(SHAPES),))[1]
    reverse = jax.grad(lambda a: draw(KEY, a).sum())
    np.testing.assert_allclose(reverse(SHAPES), slope, **ROUNDING)
    np.testing.assert_allclose(jax.jit(reverse)(SHAPES), slope, **ROUNDING)
    for jacobian in (jax.jacfwd, jax.jacrev):
        matrix = jacobian(lambda a: draw(KEY, a))(SHAPES)
        np.testing.assert_allclose(matrix, np.diag(slope), **ROUNDING)
    np.testing.assert_allclose(jax.checkpoint(reverse)(SHAPES), slope, **ROUNDING)

    keys = jax.random.split(KEY, 4)
    each = np.array([jax.grad(lambda a, key=key: draw(key, a).sum())(SHAPES) for key in keys])
    of_rows = jax.vmap(jax.grad(lambda a, key: draw(key, a).sum()), (None, 0))(SHAPES, keys)
    np.testing.assert_allclose(of_rows, each, **ROUNDING)
    of_sum = jax.grad(lambda a: jax.vmap(lambda key: draw(key, a))(keys).sum())(SHAPES)
    np.testing.assert_allclose(of_sum, each.sum(0), **ROUNDING)

    def step(a, key):
        return a, jax.grad(lambda a: draw(key, a).sum())(a)

    scanned = jax.jit(lambda a: jax.lax.scan(step, a, keys)[1])
    np.testing.assert_allclose(scanned(SHAPES), each, **ROUNDING)


def row_draws(draw, key, a):
    """Draws of rows a (B, M) from keys folded in by the row's global index."""
    rows = jax.lax.axis_index("data") * len(a) + jnp.arange(len(a), dtype=jnp.int32)
    return jax.vmap(draw)(jax.vmap(jax.random.fold_in, (None, 0))(key, rows), a)


def on_devices(function, num_devices, **options):
    assert jax.device_count() >= 4
    mesh = jax.make_mesh((num_devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = (PartitionSpec(), PartitionSpec("data"))
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=specs[1], **options)
    return jax.jit(mapped)


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "check_vma"), [(gamma, False), (log_gamma, True)])
def test_rows_are_bit_identical_on_any_number_of_devices(draw, check_vma):
    a = 0.3 + jnp.exp(2 * jax.random.normal(KEY, (12, 7)))
    gradient = jax.grad(lambda a, key: row_draws(draw, key, a).sum())
    for function in (lambda key, a: row_draws(draw, key, a), lambda key, a: gradient(a, key)):
        one, two, four = (on_devices(function, n, check_vma=check_vma)(KEY, a) for n in (1, 2, 4))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, four)
        assert np.unique(np.asarray(one)).size == a.size


def test_no_collective_is_compiled():
    a = jnp.ones((8, 5))
    collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    for function in (
        lambda key, a: row_draws(log_gamma, key, a),
        lambda key, a: jax.grad(lambda a: row_draws(gamma, key, a).sum())(a),
    ):
        text = on_devices(function, 4).lower(KEY, a).compile().as_text()
        assert "while" in text
        assert not any(word in text for word in collectives)


@pytest.mark.slow
def test_replicated_and_per_device_arguments_mix_in_shard_map():
    sharded = jnp.exp(jax.random.normal(KEY, (8, 3)))

    def replicated_key(key, a):
        return gamma(key, a)

    def replicated_shape(key, a):
        return gamma(jax.random.fold_in(key, jax.lax.axis_index("data")), 2.0, a.shape)

    raw = jax.random.key_data(KEY)
    same = on_devices(replicated_key, 4)(raw, sharded)
    np.testing.assert_allclose(same[2:4], gamma(KEY, sharded[2:4]), **ROUNDING)
    own = on_devices(replicated_shape, 4)(KEY, sharded)
    np.testing.assert_allclose(own[2:4], gamma(jax.random.fold_in(KEY, 1), 2.0, (2, 3)), **ROUNDING)
