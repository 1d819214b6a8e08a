"""Batches of rows: what they estimate, how they are dealt, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import (
    Gamma,
    HierarchicalPoissonFactorization,
    Poisson,
    PoissonFactorization,
    check_sparse_counts,
    log_prob,
    spec,
)
from vigamma.data.layout.count_rows import lay_out_rows
from vigamma.data.layout.minibatches import Minibatches
from vigamma.models.factor_model import random_perturbations

SHAPES = Gamma(jnp.array([2.0, 3.0]), jnp.array([1.0, 0.5]))


@spec
class Frailty:
    """x_n ~ Poisson(v_n w₀ + w₁ z_n), v_n ~ Gamma(3, 3)."""

    row_latents = ("v",)

    def log_joint(self, log_latents, batch):
        w, v = jnp.exp(log_latents["w"]), jnp.exp(log_latents["v"])
        of_rows = jnp.full(v.shape, 3.0)
        prior = {"w": SHAPES, "v": Gamma(of_rows, of_rows)}
        rate = v * w[0] + batch["z"] * w[1]
        return log_prob(prior, log_latents) + Poisson(rate).log_prob(batch["x"]).sum()


def frailty(num_rows):
    rng = np.random.default_rng(num_rows)
    data = {"x": rng.poisson(3.0, num_rows).astype(float), "z": rng.random(num_rows)}
    log_v = rng.normal(size=num_rows)
    return data, log_v, jnp.array([0.3, -0.4])


@pytest.mark.slow
@pytest.mark.parametrize("num_shards", [pytest.param(1, marks=pytest.mark.nightly), 4])
@pytest.mark.parametrize(("num_rows", "num_batches"), [(1, 1), (64, 1), (147, 5), (300, 2)])
def test_the_mean_over_the_batches_is_the_log_joint(num_rows, num_batches, num_shards):
    data, log_v, log_w = frailty(num_rows)
    batches = Minibatches.of_arrays(data, num_batches=num_batches, num_shards=num_shards, seed=0)
    stored = batches.stored(log_v).reshape(-1, num_batches)

    @jax.jit
    def estimate(batch, log_v):
        return batch.log_joint(Frailty(), {"w": log_w, "v": log_v})

    dtype = jnp.result_type(float)
    found = [
        estimate(jax.tree.map(jnp.asarray, batches.at(j)), jnp.asarray(stored[:, j], dtype))
        for j in range(num_batches)
    ]
    data = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), data)
    latents = {"w": log_w, "v": jnp.asarray(log_v, dtype)}
    expected = Frailty().log_joint(latents, data)
    np.testing.assert_allclose(np.mean(found), expected, rtol=1e-5)
    assert num_batches == 1 or np.std(found) > 1e-3 * abs(float(expected))


@pytest.mark.parametrize("kind", [PoissonFactorization, HierarchicalPoissonFactorization])
def test_the_mean_over_batches_of_counts_is_the_log_joint(kind):
    rng = np.random.default_rng(0)
    counts = check_sparse_counts(csr_array(rng.poisson(0.5, (150, 20))))
    exposures = rng.uniform(0.5, 2, 150)
    missing = csr_array(((rng.random((150, 20)) < 0.1) & (counts.toarray() == 0)).astype(np.uint8))
    model = kind(num_factors=3, row_shape=0.7).build(counts, exposures, missing.nnz)
    model = jax.tree.map(jnp.asarray, model)
    layout = {"num_shards": 1, "block_slots": 64}
    batches = Minibatches.of_counts(counts, exposures, missing, num_batches=3, seed=0, **layout)
    whole = lay_out_rows(counts, exposures, missing, **layout)
    whole = jax.tree.map(jnp.asarray, whole)
    size = batches.at(0).rows.size
    q = model.initial(random_perturbations(0, counts, (3 * size, 64), 3))
    log_q = jax.tree.map(lambda leaf: jnp.asarray(np.log(leaf)), {n: g.mean for n, g in q.items()})
    estimate = jax.jit(lambda batch, latents: batch.log_joint(model, latents))

    def of_batch(j):
        rows = {n: log_q[n].reshape(size, 3, *log_q[n].shape[1:])[:, j] for n in model.row_latents}
        return estimate(jax.tree.map(jnp.asarray, batches.at(j)), log_q | rows)

    found = [of_batch(j) for j in range(3)]
    rows = {n: log_q[n][: whole.exposures.size] for n in model.row_latents}
    expected = jax.jit(model.log_joint)(log_q | rows, whole)
    np.testing.assert_allclose(np.mean(found), expected, rtol=1e-5)
    assert np.std(found) > 1e-3 * abs(float(expected))


@pytest.mark.parametrize("num_shards", [1, 4])
@pytest.mark.parametrize(("num_rows", "num_batches"), [(1, 1), (70, 1), (500, 7)])
def test_every_row_is_dealt_once_and_found_again(num_rows, num_batches, num_shards):
    data = {"x": np.arange(num_rows)}
    batches = Minibatches.of_arrays(data, num_batches=num_batches, num_shards=num_shards, seed=0)
    own = [batches.at(j) for j in range(num_batches)]
    dealt = np.concatenate([batch.rows[batch.is_row] for batch in own])
    assert sorted(dealt) == list(range(num_rows))
    for batch in own:
        np.testing.assert_array_equal(batch.data["x"][batch.is_row], batch.rows[batch.is_row])
        assert batch.is_row.reshape(-1, batch.group_size)[:, :-1].all()
    values = np.random.default_rng(0).random((num_rows, 2))
    stored = batches.stored(values).reshape(-1, num_batches, 2)
    np.testing.assert_array_equal(batches.in_order(stored), values)


@pytest.mark.parametrize(
    ("data", "num_batches", "message"),
    [
        ({}, 1, "arrays with one number of rows, got none"),
        ({"x": np.ones(3), "z": np.ones((4, 2))}, 1, r"got \(3,\), \(4, 2\)"),
        ({"x": np.float64(3)}, 1, r"got \(\)"),
        ({"x": np.ones(3)}, 4, "3 rows do not fill 4 batches"),
        ({"x": np.array(["a"])}, 1, "data must be numbers, got <U1"),
        ({"x": np.array([2**63], np.uint64)}, 1, "whole numbers must fit into int"),
    ],
)
def test_what_is_no_rows_of_numbers_is_refused(data, num_batches, message):
    with pytest.raises(ValueError, match=message):
        Minibatches.of_arrays(data, num_batches=num_batches, num_shards=1, seed=0)
