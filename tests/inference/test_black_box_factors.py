"""The black-box route of the digit zero, on the model objects of coordinate ascent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import (
    Adam,
    CoordinateAscent,
    GradientAscent,
    PathwiseElbo,
    PoissonFactorization,
    ScoreFunctionElbo,
    TrainState,
    check_sparse_counts,
)
from vigamma.data.layout.count_rows import lay_out_rows
from vigamma.data.layout.minibatches import Minibatches
from vigamma.models.factor_model import random_perturbations


def make_problem(num_factors: int):
    rng = np.random.default_rng(0)
    theta, beta = rng.gamma(1, 1, (12, num_factors)), rng.gamma(1, 3, (9, num_factors))
    counts = check_sparse_counts(csr_array(rng.poisson(theta @ beta.T)))
    layout = {"num_batches": 1, "num_shards": 4, "block_slots": 64, "seed": 0}
    batches = Minibatches.of_counts(counts, np.ones(12), None, **layout)
    batch = lay_out_rows(counts, np.ones(12), None, num_shards=1, block_slots=64)
    spec = PoissonFactorization(num_factors=num_factors, row_shape=1.0, column_shape=1.0)
    model = spec.build(counts, np.ones(12), 0)
    model, batch = jax.tree.map(jnp.asarray, (model, batch))
    return (
        model,
        batch,
        batches,
        model.initial(random_perturbations(0, counts, (64, 64), num_factors)),
    )


def by_coordinate_ascent(model, batch, start):
    algorithm = CoordinateAscent(tolerance=0.0)
    step, state = jax.jit(algorithm.step), algorithm.init(model, start)
    for _ in range(200):
        state, _ = step(state, batch)
    return state


def by_gradients(model, batches, start, estimator):
    """The distribution after 1,500 steps, and the mean of the last 100 estimates of its ELBO."""
    algorithm = GradientAscent(
        estimator=estimator, optimizer=Adam(learning_rate=0.1, decay_steps=1500)
    )
    state = TrainState(algorithm, model, start, batches, key=jax.random.key(1))
    infos, q = state.step(1500), state.arrays.q.distribution()
    q["rows"] = jax.tree.map(lambda leaf: leaf[:, 0], q["rows"])
    return q, float(infos.elbo[-100:].mean())


@pytest.mark.nightly
@pytest.mark.parametrize(
    "estimator",
    [
        PathwiseElbo(num_samples=32),
        pytest.param(ScoreFunctionElbo(num_samples=512), marks=pytest.mark.nightly),
    ],
)
def test_with_one_factor_both_routes_end_at_the_same_posterior(estimator):
    # One factor leaves nothing to share, so that the ELBO of both is the same.
    model, batch, batches, start = make_problem(num_factors=1)
    best = by_coordinate_ascent(model, batch, start)
    q, estimate = by_gradients(model, batches, start, estimator)
    assert model.elbo(start, batch) < best.elbo - 20
    assert float(best.elbo) - 0.2 < float(model.elbo(q, batch)) < float(best.elbo) + 1e-3
    np.testing.assert_allclose(estimate, best.elbo, atol=0.2)
    for name, size in (("rows", 12), ("columns", 9)):
        np.testing.assert_allclose(q[name].mean[:size], best.q[name].mean[:size], rtol=0.05)


@pytest.mark.nightly
def test_with_two_factors_the_gradients_reach_a_higher_bound():
    # Coordinate ascent also approximates the shares of the counts; its ELBO bounds the other.
    model, batch, batches, start = make_problem(num_factors=2)
    best = by_coordinate_ascent(model, batch, start)
    q, estimate = by_gradients(model, batches, start, PathwiseElbo(num_samples=32))
    assert estimate > best.elbo + 1
    assert model.elbo(q, batch) < best.elbo
