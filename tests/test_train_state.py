"""Fused steps: many at a time, on any number of devices, cut anywhere."""

import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.slow import slow_after
from vigamma import (
    Adam,
    AnalyticElbo,
    GradientAscent,
    MeanFieldGamma,
    NaturalGradient,
    PathwiseElbo,
    ScoreFunctionElbo,
    TrainState,
)
from vigamma.devices.mesh import ACROSS_DEVICES, make_mesh, on_every_device
from vigamma.estimators.integrand import local_sample_keys
from vigamma.inference import train_state
from vigamma.inference.fusing import fuse_steps

ADAM = GradientAscent(
    estimator=PathwiseElbo(num_samples=8), optimizer=Adam(learning_rate=0.05, decay_steps=500)
)


def take_steps(problem, algorithm, num_steps, *, num_devices=1, fused_steps=50, cuts=()):
    """The state after `num_steps`, and the ELBO of every step."""
    model, batch = problem
    state = TrainState(
        algorithm,
        model,
        model.prior,
        batch,
        key=jax.random.key(0),
        mesh=make_mesh(jax.devices()[:num_devices]),
        fused_steps=fused_steps,
    )
    elbos = [
        state.step(last - first).elbo
        for first, last in itertools.pairwise([0, *cuts, num_steps])
        if last > first
    ]
    return state.arrays, np.concatenate([np.zeros(0), *elbos])


def as_numpy(arrays):
    return jax.tree.map(
        lambda x: np.asarray(
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        arrays,
    )


def kl_to_exact(problem, arrays) -> float:
    model, batch = problem
    return float(arrays.q.distribution().kl_divergence(model.exact_posterior(batch)).sum())


def test_there_are_as_many_devices_as_these_tests_need():
    assert jax.device_count() == 4


@pytest.mark.parametrize(
    ("algorithm", "num_steps", "tolerance"),
    slow_after(
        1,
        [
            (GradientAscent(estimator=AnalyticElbo(), optimizer=NaturalGradient()), 40, 1e-6),
            (
                GradientAscent(estimator=PathwiseElbo(num_samples=32), optimizer=NaturalGradient()),
                40,
                1e-6,
            ),
            (
                GradientAscent(
                    estimator=ScoreFunctionElbo(num_samples=256),
                    optimizer=NaturalGradient(learning_rate=0.3),
                ),
                60,
                1e-3,
            ),
            (
                GradientAscent(
                    estimator=PathwiseElbo(num_samples=32),
                    optimizer=Adam(learning_rate=0.1, decay_steps=1500),
                ),
                1500,
                1e-3,
            ),
        ],
    ),
)
def test_every_estimator_and_optimizer_reaches_the_exact_posterior(
    problem, algorithm, num_steps, tolerance
):
    start, _ = take_steps(problem, algorithm, 0)
    end, elbos = take_steps(problem, algorithm, num_steps)
    assert kl_to_exact(problem, start) > 1
    assert kl_to_exact(problem, end) < tolerance
    assert int(end.step) == num_steps == len(elbos)
    chex.assert_tree_all_finite(as_numpy(end))


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        PathwiseElbo(num_samples=8),
        pytest.param(ScoreFunctionElbo(num_samples=8), marks=pytest.mark.nightly),
    ],
)
def test_one_two_and_four_devices_agree(problem, estimator):
    algorithm = GradientAscent(
        estimator=estimator, optimizer=Adam(learning_rate=0.05, decay_steps=500)
    )
    one, *others = (take_steps(problem, algorithm, 500, num_devices=n)[0] for n in (1, 2, 4))
    start, _ = take_steps(problem, algorithm, 0)
    assert np.abs(one.q.log_shape[...] - start.q.log_shape[...]).max() > 0.1
    for other in others:
        chex.assert_trees_all_close(as_numpy(other.q), as_numpy(one.q), rtol=1e-5, atol=1e-6)


def test_devices_share_the_keys_of_one():
    key = jax.random.key(7)

    def all_keys(num_devices):
        mesh = make_mesh(jax.devices()[:num_devices])
        gather = on_every_device(
            lambda: jax.lax.all_gather(
                jax.random.key_data(local_sample_keys(key, 8, ACROSS_DEVICES)), "data", tiled=True
            ),
            mesh,
        )
        return np.asarray(jax.jit(gather)())

    assert len(np.unique(all_keys(1), axis=0)) == 8
    np.testing.assert_array_equal(all_keys(1), all_keys(2))
    np.testing.assert_array_equal(all_keys(1), all_keys(4))


def test_every_step_has_a_key_of_its_own(problem):
    hardly = Adam(learning_rate=1e-20)  # so that only the samples differ
    algorithm = GradientAscent(estimator=PathwiseElbo(num_samples=4), optimizer=hardly)
    _, elbos = take_steps(problem, algorithm, 20)
    assert np.unique(elbos).size == 20


@pytest.mark.parametrize("fused_steps", slow_after(1, [7, 1, 50]))
def test_steps_are_bit_identical_wherever_they_are_cut(problem, fused_steps):
    whole, elbos = take_steps(problem, ADAM, 60)
    cut, cut_elbos = take_steps(problem, ADAM, 60, fused_steps=fused_steps, cuts=(3, 20, 21, 44))
    chex.assert_trees_all_equal(as_numpy(cut), as_numpy(whole))
    np.testing.assert_array_equal(cut_elbos, elbos)


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [PathwiseElbo(num_samples=8), ScoreFunctionElbo(num_samples=8), AnalyticElbo()]
)
def test_a_step_has_one_all_reduce(problem, estimator, monkeypatch):
    compiled = []
    original = jax.stages.Lowered.compile

    def spy(self, *args, **kwargs):
        compiled.append(original(self, *args, **kwargs))
        return compiled[-1]

    monkeypatch.setattr(jax.stages.Lowered, "compile", spy)
    algorithm = GradientAscent(estimator=estimator, optimizer=Adam())
    take_steps(problem, algorithm, 3, num_devices=4)
    (program,) = compiled
    text = program.as_text()
    assert len(re.findall(r"= .* all-reduce(?:-start)?\(", text)) == 1
    assert not re.search(r"all-gather|all-to-all|collective-permute|reduce-scatter", text)


@pytest.mark.slow
def test_one_compilation_serves_every_number_of_steps(problem, monkeypatch):
    original = on_every_device
    monkeypatch.setattr(
        train_state,
        "on_every_device",
        lambda function, *args, **kwargs: original(
            chex.assert_max_traces(function, n=1), *args, **kwargs
        ),
    )
    take_steps(problem, ADAM, 23, fused_steps=5, cuts=(2, 11))


@pytest.mark.slow
def test_so_many_steps_are_taken_as_are_asked_for_however_many_are_fused(problem):
    model, batch = problem
    state = TrainState(ADAM, model, model.prior, batch, key=jax.random.key(0), fused_steps=4)
    assert state.step(11).elbo.shape == (11,)
    assert state.step().elbo.shape == (1,)
    assert state.num_steps == 12
    with pytest.raises(ValueError, match="no step is left to take"):
        state.step(0)


@pytest.mark.slow
def test_what_the_caller_has_is_not_used_up(problem):
    model, batch = problem
    q, key = MeanFieldGamma(model.prior), jax.random.key(0)
    before = jax.tree.map(jnp.copy, q)  # what NumPy looks at is not used up
    mesh = make_mesh(jax.devices()[:1])
    state = TrainState(ADAM, model, q, batch, key=key, mesh=mesh)
    state.step(2)
    assert state.num_steps == 2
    chex.assert_trees_all_equal(as_numpy(q), as_numpy(before))
    chex.assert_trees_all_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(0)))
    chex.assert_tree_all_finite((model, batch))


def test_samples_that_cannot_be_spread_evenly_are_refused(problem):
    algorithm = GradientAscent(estimator=PathwiseElbo(num_samples=6), optimizer=Adam())
    with pytest.raises(ValueError, match=r"num_samples must be divisible .*\(4\), got 6"):
        take_steps(problem, algorithm, 1, num_devices=4)


def test_programs_of_no_steps_are_refused(problem):
    with pytest.raises(ValueError, match="fused_steps must be at least 1, got 0"):
        take_steps(problem, ADAM, 1, fused_steps=0)


@pytest.mark.parametrize(
    ("estimator", "optimizer", "message"),
    [
        (ScoreFunctionElbo(num_samples=1), Adam(), "estimator.num_samples must be at least 2"),
        (PathwiseElbo(num_samples=0), Adam(), "estimator.num_samples must be at least 1"),
        (AnalyticElbo(), Adam(learning_rate=-1.0), "optimizer.learning_rate must be positive"),
        (AnalyticElbo(), NaturalGradient(max_update=0.0), "optimizer.max_update must be positive"),
    ],
)
def test_a_state_checks_its_algorithm(problem, estimator, optimizer, message):
    algorithm = GradientAscent(estimator=estimator, optimizer=optimizer)
    with pytest.raises(ValueError, match=f"^{message}"):
        TrainState(algorithm, problem[0], problem[0].prior, problem[1], key=jax.random.key(0))


def test_infos_of_steps_that_were_not_taken_are_zeros():
    def take_step(count):
        return count + 1, {"was": count + 5}

    advance = jax.jit(fuse_steps(take_step, lambda count, last_step: count < last_step, 4))
    count, infos = advance(jnp.uint32(0), jnp.uint32(2))
    assert count == 2
    assert infos["was"].tolist() == [5, 6, 0, 0]
