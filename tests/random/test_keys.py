"""Keys of all kinds: draws are functions of the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigamma import Adam, Gamma, GradientAscent, PathwiseElbo, Poisson, TrainState
from vigamma.devices.mesh import make_mesh
from vigamma.models.factor_model import FactorModel
from vigamma.models.mixture import generate_mixture
from vigamma.random import gamma
from vigamma.random.keys import key_of_seed, threefry_key

KINDS = ("threefry2x32", "rbg", "unsafe_rbg")


def draw_both(key):
    return gamma(key, jnp.full(3, 0.7)), Poisson(jnp.full(3, 4.0)).sample(key)


def check_keys_draw_alike(draw_both, kind, num_keys, rtol):
    """Typed and raw keys of a kind draw the same two arrays, alone and under `vmap`."""
    keys = jax.random.split(jax.random.key(3, impl=kind), num_keys)
    alone = [draw_both(key) for key in keys]
    with jax.default_prng_impl(kind):
        raw = [draw_both(jax.random.key_data(key)) for key in keys]
    together = zip(*jax.vmap(draw_both)(keys), strict=True)
    for one, two, three in zip(alone, raw, together, strict=True):
        for a, b, c in zip(one, two, three, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, rtol=rtol)
    assert len({float(z[0]) for z, _ in alone}) == num_keys


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_typed_and_raw_keys_of_every_kind_draw_the_same_alone_and_under_vmap(kind):
    check_keys_draw_alike(draw_both, kind, num_keys=5, rtol=1e-6)


def test_every_word_of_a_key_counts_and_threefry_keys_stay_as_they_are():
    key = jax.random.key(3)
    assert threefry_key(key) == key
    words = np.array([1, 2, 3, 4], np.uint32)
    keys = [threefry_key(jnp.asarray(np.where(np.arange(4) == i, 9, words))) for i in range(5)]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rbg"])
def test_a_seed_gives_the_same_numbers_whatever_the_default_kind(kind):
    q = {"rows": Gamma(*np.float32([[[2.0]], [[1.0]]])), "columns": Gamma(*np.ones((2, 4, 1), "f"))}
    expected = generate_mixture(5, [q], 3, FactorModel)
    with jax.default_prng_impl(kind):
        np.testing.assert_array_equal(generate_mixture(5, [q], 3, FactorModel), expected)
        assert key_of_seed(7) == key_of_seed(7)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "is_typed"), [("rbg", False), ("unsafe_rbg", True)])
def test_steps_take_keys_of_every_kind_alike_on_any_number_of_devices(kind, is_typed, problem):
    model, batch = problem
    algorithm = GradientAscent(estimator=PathwiseElbo(num_samples=4), optimizer=Adam())
    ends = []
    with jax.default_prng_impl(kind):
        for num_devices in (1, 4):
            mesh = make_mesh(jax.devices()[:num_devices])
            key = jax.random.key(1) if is_typed else jax.random.PRNGKey(1)
            state = TrainState(algorithm, model, model.prior, batch, key=key, mesh=mesh)
            ends.append(state.step(3).elbo)
    np.testing.assert_allclose(*ends, rtol=1e-5)
    assert np.isfinite(ends).all()
