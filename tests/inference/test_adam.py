import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vigamma import Adam


def test_the_learning_rate_decays_to_its_final_fraction_and_stays():
    # Under a constant gradient every Adam update is the learning rate itself.
    transformation = Adam(learning_rate=0.2, decay_steps=10, final_fraction=0.1).transformation()
    params, gradient = jnp.zeros(1), jnp.ones(1)
    state, sizes = transformation.init(params), []
    for _ in range(14):
        update, state = transformation.update(gradient, state, params)
        sizes.append(-float(update[0]))
    np.testing.assert_allclose(
        [sizes[0], sizes[5], *sizes[10:]], [0.2, 0.11, *[0.02] * 4], rtol=1e-4
    )


def test_the_second_moment_is_forgotten_as_fast_as_asked_for():
    for adam, share in ((Adam(second_moment_decay=0.5), 0.5), (Adam(), 0.003)):
        transformation = adam.transformation()
        state = transformation.init(params := jnp.zeros(1))
        _, state = transformation.update(jnp.full(1, 2.0), state, params)
        np.testing.assert_allclose(optax.tree.get(state, "nu"), 4 * share, rtol=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"decay_steps": 0},
        {"final_fraction": 2.0},
        {"second_moment_decay": 1.0},
    ],
)
def test_hyperparameters_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Adam(**bad).validate()


def test_hyperparameters_at_the_ends_of_their_ranges_are_taken():
    Adam(final_fraction=0.0, second_moment_decay=0.0, decay_steps=1).validate()
    Adam(final_fraction=1.0).validate()
