import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from vigamma import (
    CoordinateAscent,
    HierarchicalPoissonFactorization,
    PoissonFactorization,
    StochasticVariationalInference,
    SyntheticFactors,
)
from vigamma.data.layout.count_rows import batch_at, lay_out_batches, lay_out_rows, padded_rows
from vigamma.data.layout.minibatches import Minibatch, Minibatches
from vigamma.models.factor_model import random_perturbations
from vigamma.typing import default_float

DATA = SyntheticFactors(num_rows=300, num_columns=80, num_factors=4, num_nonzeros=4000)
NUM_FACTORS = 5
STEP = jax.jit(StochasticVariationalInference.step, static_argnums=0)
MODELS = [PoissonFactorization, HierarchicalPoissonFactorization]


def problem(kind=HierarchicalPoissonFactorization, batch_rows=300, missing_share=0.1, **changes):
    """The inference, its state before the first step, its batches, and all counts as one."""
    counts = DATA.load().counts
    rng = np.random.default_rng(0)
    missing = None
    if missing_share:
        dense = (rng.random(counts.shape) < missing_share) & (counts.toarray() == 0)
        missing = csr_array(dense.astype(np.uint8))
    exposures = rng.uniform(0.5, 2.0, len(counts.indptr) - 1)
    model = kind(num_factors=NUM_FACTORS).build(counts, exposures, 0)
    model = jax.tree.map(jnp.asarray, model)
    inference = StochasticVariationalInference(batch_rows=batch_rows, local_updates=1, **changes)
    num_batches = inference.num_batches(counts.shape[0])
    layout = {"num_shards": 1, "block_slots": 512}
    batches = lay_out_batches(counts, exposures, missing, num_batches=num_batches, **layout)
    whole = lay_out_rows(counts, exposures, missing, **layout)
    sizes = (batches.exposures.size, padded_rows(counts.shape[1], 1))
    q = model.initial(random_perturbations(0, counts, sizes, NUM_FACTORS))
    return inference, inference.init(model, q, num_batches=num_batches), batches, whole


def take(inference, state, batches, schedule):
    """The state after a step for each (batch, ρ), and their ELBOs; 0 leaves the columns."""
    elbos, rate = [], inference.forgetting_rate
    for index, size in schedule:
        batch = Minibatch(
            data=jax.tree.map(jnp.asarray, batch_at(batches, index)),
            rows=jnp.zeros(0),
            is_row=jnp.zeros(0, bool),
            index=jnp.int32(index),
            weight=default_float(len(batches.exposures)),
            group_size=1,
        )
        sized = dataclasses.replace(inference, delay=(size or 1.0) ** (-1 / rate) - 1)
        state = state.replace(step=jnp.uint32(0), only_rows=jnp.bool_(size == 0))
        state, info = STEP(sized, state, batch)
        assert all(bool(ok) for ok in info.finite.values())
        elbos.append(float(info.elbo))
    return state, elbos


def in_order(state, whole):
    """The posterior with rows in the order and number of `whole`, unlike that of the batches."""
    num_padded, num_rows = whole.exposures.size, DATA.num_rows

    def ordered(leaf):
        leaf = leaf.reshape(-1, *leaf.shape[2:])[:num_rows]
        return jnp.concatenate([leaf, jnp.ones((num_padded - num_rows, *leaf.shape[1:]))])

    return {
        name: jax.tree.map(ordered, gamma) if name.startswith("row") else gamma
        for name, gamma in state.q.items()
    }


def distances(a, b):
    return jax.tree.map(lambda x, y: float(jnp.abs(x / y - 1).max()), a, b)


@pytest.mark.parametrize("kind", [pytest.param(MODELS[0], marks=pytest.mark.nightly), MODELS[1]])
def test_a_step_of_size_one_on_all_rows_is_a_coordinate_update(kind):
    inference, state, batches, whole = problem(kind, delay=0.0)
    assert inference.step_size(0) == 1
    q = jax.tree.map(lambda leaf: leaf[:, 0] if leaf.ndim == 3 else leaf, state.q)
    q |= {n: jax.tree.map(lambda x: x.reshape(-1), q[n]) for n in ("row_rates",) if n in q}
    ascent = CoordinateAscent(extrapolate=False)
    whole = jax.tree.map(jnp.asarray, whole)
    expected, expected_info = jax.jit(ascent.step)(ascent.init(state.model, q), whole)
    after, elbos = take(inference, state, batches, [(0, inference.step_size(0))])
    np.testing.assert_allclose(elbos[0], float(expected_info.elbo), rtol=1e-6)
    found = {
        name: jax.tree.map(lambda leaf: leaf[:, 0], gamma) if name.startswith("row") else gamma
        for name, gamma in after.q.items()
    }
    assert max(jax.tree.leaves(distances(found, expected.q))) < 1e-5
    assert max(jax.tree.leaves(distances(q, expected.q))) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "batch_rows"),
    [(MODELS[0], 37), pytest.param(MODELS[1], 64, marks=pytest.mark.nightly)],
)
def test_the_mean_estimate_of_an_epoch_is_the_elbo(kind, batch_rows):
    inference, state, batches, whole = problem(kind, batch_rows)
    num_batches = inference.num_batches(DATA.num_rows)
    state, _ = take(inference, state, batches, [(j, 0.3) for j in range(num_batches)])
    columns = state.q["columns"]
    state, elbos = take(inference, state, batches, [(j, 0.0) for j in range(num_batches)])
    assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, columns, state.q["columns"])))
    whole = jax.tree.map(jnp.asarray, whole)
    elbo = float(jax.jit(state.model.elbo)(in_order(state, whole), whole))
    np.testing.assert_allclose(np.mean(elbos), elbo, rtol=2e-6)
    assert np.std(elbos) > 1e-3 * abs(elbo)


@pytest.mark.slow
def test_the_mean_statistics_of_an_epoch_are_those_of_all_rows():
    """Also those of columns: at size 1 a step holds c + J Σ_n E[z], whose mean is c + Σ_n E[z]."""
    inference, state, batches, whole = problem(PoissonFactorization, 64)
    num_batches = inference.num_batches(DATA.num_rows)
    state, _ = take(inference, state, batches, [(j, 0.0) for j in range(num_batches)])
    model, q = state.model, in_order(state, whole)
    whole = jax.tree.map(jnp.asarray, whole)

    def coordinate_update(q):  # a step, too, updates rows once more before they speak
        table = model.table(q, whole.is_column)
        q = model.with_local_conditionals(q, table, whole)
        return model.with_global_conditionals(q, model.statistics(q, table, whole))["columns"]

    expected = jax.jit(coordinate_update)(q)
    targets = [
        take(inference, state, batches, [(j, 1.0)])[0].q["columns"] for j in range(num_batches)
    ]
    mean = jax.tree.map(lambda *leaves: jnp.stack(leaves).mean(0), *targets)
    real = slice(0, DATA.num_columns)
    for found, wanted in zip(jax.tree.leaves(mean), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found[real], wanted[real], rtol=1e-4)
    one = targets[0].concentration[real] / expected.concentration[real]
    assert jnp.abs(one - 1).max() > 0.1


@pytest.mark.slow
def test_rows_are_updated_as_often_as_asked_for_and_extrapolated():
    inference, state, batches, _ = problem(PoissonFactorization)
    inference = dataclasses.replace(inference, local_updates=4)
    after, _ = take(inference, state, batches, [(0, 0.0)])

    @jax.jit
    def expected(q, batch):
        table, rows = state.model.table(q, batch.is_column), q["rows"]
        before = rows
        for t in range(4):
            start = jax.tree.map(
                lambda new, old, t=t: new * jnp.clip(1 + t / (t + 3) * (new - old) / old, 0.5, 2.0),
                rows,
                before,
            )
            q = q | {"rows": start}
            before, rows = rows, state.model.with_local_conditionals(q, table, batch)["rows"]
        return rows

    batch = jax.tree.map(jnp.asarray, batch_at(batches, 0))
    first = jax.tree.map(lambda leaf: leaf[:, 0], state.q["rows"])
    rows = expected({"rows": first, "columns": state.q["columns"]}, batch)
    found = jax.tree.map(lambda leaf: leaf[:, 0], after.q["rows"])
    assert max(jax.tree.leaves(distances(found, rows))) < 1e-4
    assert max(jax.tree.leaves(distances(first, rows))) > 0.1


def test_batches_are_interleaved_and_of_one_shape():
    counts = DATA.load().counts
    batches = lay_out_batches(
        counts, np.ones(DATA.num_rows), None, num_batches=7, num_shards=2, block_slots=64
    )
    assert {len(leaf) for leaf in jax.tree.leaves(batches)} == {7}
    sums = counts.sum(axis=1)
    for j in range(7):
        own = sums[j::7]
        np.testing.assert_array_equal(batches.row_sums[j, : own.size], own)
        assert not batches.row_sums[j, own.size :].any()
        assert batch_at(batches, j).by_row.counts.sum() == own.sum()
        assert batch_at(batches, j).by_column.counts.sum() == own.sum()


def test_rows_are_dealt_to_as_few_batches_as_hold_them():
    num_batches = StochasticVariationalInference(batch_rows=100).num_batches
    assert [num_batches(num_rows) for num_rows in (1, 100, 101, 250, 300)] == [1, 1, 2, 3, 3]


def test_the_order_of_batches_is_a_function_of_seed_and_step():
    def batches(seed):
        return Minibatches(None, np.arange(10)[:, None], 10, seed)

    epochs = [[batches(3).batch_of(step) for step in range(e, e + 10)] for e in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert batches(3).batch_of(17) == epochs[1][7]
    assert [batches(4).batch_of(step) for step in range(10)] != epochs[0]


def test_the_size_of_a_step_falls_as_the_schedule_says():
    sizes = [
        StochasticVariationalInference(delay=2.0, forgetting_rate=0.6).step_size(step)
        for step in range(3)
    ]
    np.testing.assert_allclose(sizes, [3**-0.6, 4**-0.6, 5**-0.6])


@pytest.mark.slow
def test_a_step_moves_no_rows_but_its_own():
    inference, state, batches, _ = problem(batch_rows=64)
    after, _ = take(inference, state, batches, [(2, 0.5)])
    for name in ("rows", "row_rates"):
        for old, new in zip(
            jax.tree.leaves(state.q[name]), jax.tree.leaves(after.q[name]), strict=True
        ):
            moved = (old != new).any(axis=tuple(i for i in range(old.ndim) if i != 1))
            assert moved[2] or name == "row_rates"
            assert not moved[jnp.array([0, 1, 3, 4])].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delay": -1.0}, "delay must be finite and at least 0, got -1"),
        ({"delay": float("nan")}, "delay must be finite"),
        ({"forgetting_rate": 0.5}, "forgetting_rate must be above 0.5, at most 1, got 0.5"),
        ({"forgetting_rate": 1.1}, "forgetting_rate must be above 0.5"),
        ({"batch_rows": 0}, "batch_rows must be at least 1, got 0"),
        ({"local_updates": 0}, "local_updates must be at least 1, got 0"),
    ],
)
def test_fields_out_of_range_are_refused(changes, message):
    StochasticVariationalInference().validate()
    with pytest.raises(ValueError, match=message):
        StochasticVariationalInference(**changes).validate()
