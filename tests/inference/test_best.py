"""When validation counts are looked at."""

import itertools

import jax.numpy as jnp
import pytest

from vigamma.inference.best import is_past, next_look, noted, nothing_yet
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.stochastic import StochasticState


def looks(steps_per_sweep: int, last: int) -> list[int]:
    found, step = [], 0
    while step < last:
        step = next_look(step, steps_per_sweep)
        found.append(step)
    return found


def test_every_early_sweep_is_looked_at_and_then_at_growing_distances():
    found = looks(1, 300)
    assert found[:20] == [*range(1, 17), 18, 20, 22, 24]
    assert all(later <= 9 / 8 * earlier for earlier, later in itertools.pairwise(found[16:]))
    assert len(found) < 45


def test_minibatches_are_looked_at_when_all_rows_have_been_seen():
    found = looks(49, 490)
    assert found[:3] == [49, 55, 61]
    assert len(found) < 25


@pytest.mark.parametrize("steps_per_sweep", [1, 3, 49])
def test_the_looks_do_not_depend_on_where_a_run_was_cut(steps_per_sweep):
    found = looks(steps_per_sweep, 200)
    for step in range(200):
        assert next_look(step, steps_per_sweep) == next(look for look in found if look > step)


def state_at(step: int, best_step: int = 0) -> StochasticState:
    best = nothing_yet(jnp.ones(1), jnp.ones(1)).replace(step=jnp.uint32(best_step))
    return StochasticState(jnp.uint32(step), jnp.ones(1), jnp.full(1, 2.0), jnp.bool_(False), best)


def test_a_run_is_past_its_best_after_ten_sweeps_and_half_as_many_as_it_took():
    for steps_per_sweep, best_step, last in ((1, 4, 14), (1, 30, 45), (7, 14, 84), (7, 700, 1050)):
        assert not is_past(state_at(last - 1, best_step), steps_per_sweep)
        assert is_past(state_at(last, best_step), steps_per_sweep)


def test_a_look_is_noted_where_it_is_better_than_those_before():
    state, rose = noted(state_at(3), -2.0)
    assert rose
    assert (int(state.best.step), float(state.best.log_likelihood)) == (3, -2.0)
    assert state.best.q == 2.0
    for score in (-2.0, -3.0, float("nan")):
        after, rose = noted(state.replace(step=jnp.uint32(4)), score)
        assert not rose
        assert int(after.best.step) == 3


def test_the_elbo_of_the_best_is_that_of_its_sweep():
    state = CoordinateAscent().init(jnp.ones(1), jnp.ones(1), validates=True)
    state, _ = noted(state.replace(step=jnp.uint32(3), elbo=jnp.float32(-70)), -2.0)
    state, _ = noted(state.replace(step=jnp.uint32(4), elbo=jnp.float32(-60)), -3.0)
    assert float(state.best.elbo) == -70
