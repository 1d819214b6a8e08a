"""Coordinate ascent: it rises, it arrives, and it does not care where it runs."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from tests.factors import (
    KINDS,
    Problem,
    dense,
    dense_elbo,
    largest,
    log_gradient,
    make_model,
    make_problem,
    random_posterior,
)
from vigamma.data.synthetic import SyntheticFactors
from vigamma.devices.mesh import ACROSS_DEVICES, make_mesh, on_every_device, place, replicated
from vigamma.inference.coordinate_ascent import AscentState, CoordinateAscent
from vigamma.inference.fusing import fuse_steps

PLAIN = CoordinateAscent(extrapolate=False, tolerance=0)
EXTRAPOLATED = CoordinateAscent(tolerance=0)
ROUNDING = 2e-7  # relative: a smaller fall of the ELBO, a sum in float32, is not seen as one


@functools.cache
def sweeps(algorithm: CoordinateAscent, num_sweeps: int):
    """(state, batch) -> (state, infos), until `num_sweeps` are done or the algorithm stops."""

    def is_before(state, last_step):
        return (state.step < last_step) & ~algorithm.is_done(state)

    advance = fuse_steps(algorithm.step, is_before, num_sweeps)
    return jax.jit(lambda state, batch: advance(state, jnp.uint32(num_sweeps), batch))


@functools.cache
def synthetic() -> Problem:
    spec = SyntheticFactors(num_rows=128, num_columns=64, num_factors=4, num_nonzeros=1500, seed=1)
    counts = spec.load().counts.toarray().astype(np.int64)
    return Problem(counts, np.ones(128), np.zeros(counts.shape, bool))


def start(
    algorithm, kind: str, problem: Problem, num_factors: int = 4, seed: int = 0
) -> AscentState:
    model = make_model(kind)
    return algorithm.init(model, problem.initial(model, num_factors, seed))


def run(algorithm, kind: str, problem: Problem, num_sweeps: int):
    """From a start that leads to one optimum, extrapolated or not, as most do but not all."""
    """The last state, and the ELBO of every sweep."""
    state, infos = sweeps(algorithm, num_sweeps)(
        start(algorithm, kind, problem, seed=3), problem.batch(block_slots=1024)
    )
    return state, np.asarray(infos.elbo)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_extrapolated_sweeps_never_fall_and_arrive_sooner_than_plain_ones(kind):
    plain_state, plain = run(PLAIN, kind, synthetic(), 100)
    assert plain[-1] > plain[0] + 1000
    assert (np.diff(plain) > -1e-12 * np.abs(plain[1:])).all()
    assert float(plain_state.elbo) == plain[-1]

    state, fast = run(EXTRAPOLATED, kind, synthetic(), 60)
    kept = [fast[0]]
    for value in fast[1:]:
        if value >= kept[-1] - ROUNDING * abs(value):
            kept.append(value)
    assert 2 * len(kept) > len(fast)
    assert float(state.elbo) == kept[-1]  # the discarded ones left no trace
    assert plain[60] < plain[-1] - 1e-5 * abs(plain[-1]) < kept[-1]
    assert kept[-1] > plain[-1]
    assert int(state.step) == 60


@pytest.mark.slow
def test_a_sweep_that_fell_is_discarded_and_momentum_starts_again(x64):
    problem = make_problem()
    batch = problem.batch()
    good, _ = sweeps(PLAIN, 30)(start(PLAIN, "flat", problem), batch)
    # An extrapolation that went far off.
    wild = good.replace(
        start=jax.tree.map(
            lambda leaf: leaf * jnp.linspace(0.1, 10, leaf.size).reshape(leaf.shape), good.q
        ),
        momentum=jnp.int32(1000),
        calm=jnp.int32(2),
    )
    step = jax.jit(EXTRAPOLATED.step)
    after, info = step(wild, batch)
    assert float(info.elbo) == float(good.elbo)  # that of the last sweep that was kept
    assert int(after.step) == 31
    assert int(after.momentum) == int(after.calm) == 0
    assert float(after.elbo) == float(good.elbo)
    chex.assert_trees_all_equal(after.q, good.q)
    chex.assert_trees_all_equal(after.start, good.q)
    # The next sweep is a plain one, and is kept.
    plain, _ = jax.jit(PLAIN.step)(good, batch)
    after, info = step(after, batch)
    assert float(info.elbo) >= float(good.elbo)
    assert int(after.momentum) == 1
    chex.assert_trees_all_close(after.q, plain.q, rtol=1e-13)
    chex.assert_trees_all_close(after.start, moved(after.q, good.q, 1 / 4), rtol=1e-13)


def test_without_momentum_even_a_fall_is_kept(x64):
    """As when the priors moved: there is no better sweep to go back to."""
    problem = make_problem()
    state = start(EXTRAPOLATED, "flat", problem).replace(elbo=jnp.asarray(1e6))
    after, info = jax.jit(EXTRAPOLATED.step)(state, problem.batch())
    assert float(after.elbo) == float(info.elbo) < 0
    assert int(after.momentum) == 1


def test_falls_of_the_size_of_rounding_are_kept_and_larger_ones_are_not(x64):
    problem = make_problem()
    state = start(EXTRAPOLATED, "flat", problem).replace(momentum=jnp.int32(5), calm=jnp.int32(2))
    step, batch = jax.jit(EXTRAPOLATED.step), problem.batch()
    after, info = step(state, batch)  # up from nothing: not calm
    assert (int(after.momentum), int(after.calm)) == (6, 0)
    for fall, is_kept in ((1e-7, True), (1e-6, False)):
        after, _ = step(state.replace(elbo=info.elbo + fall * abs(info.elbo)), batch)
        assert int(after.momentum) == (6 if is_kept else 0)


def moved(new, old, weight: float):
    """The definition of the extrapolation."""
    return jax.tree.map(
        lambda n, o: np.asarray(n) * np.clip(1 + weight * (np.asarray(n) - o) / o, 0.5, 2), new, old
    )


@pytest.mark.slow
def test_the_start_is_extrapolated_by_relative_changes(x64):
    problem = make_problem()
    first = start(EXTRAPOLATED, "flat", problem)
    old = random_posterior(first.model, 0, num_factors=4)
    state = first.replace(q=old, start=first.q, momentum=jnp.int32(6))
    after, _ = jax.jit(EXTRAPOLATED.step)(state, problem.batch())
    chex.assert_trees_all_close(after.start, moved(after.q, old, 7 / 10), rtol=1e-13)
    changes = jax.tree.map(lambda n, o: np.ravel(1 + 0.7 * (n - o) / o), after.q, old)
    factors = np.concatenate(jax.tree.leaves(changes))
    for count in ((factors < 0.5).sum(), (factors > 2).sum(), (abs(factors - 1) < 0.4).sum()):
        assert count > 10
    after, _ = jax.jit(PLAIN.step)(state, problem.batch())
    chex.assert_trees_all_equal(after.start, after.q)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_the_fixed_point_has_no_gradient(kind):
    """That of the dense ELBO, in every logarithm of a shape or rate."""
    problem = make_problem("exposures and missing")
    algorithm = EXTRAPOLATED
    first = start(algorithm, kind, problem, 2)
    last, _ = sweeps(algorithm, 1500)(first, problem.batch())

    def slope(state) -> float:
        def value(q) -> float:
            return dense_elbo(state.model, q, problem)

        return largest(log_gradient(value, dense(state.q, problem)))

    assert slope(first) > 10
    assert slope(last) < 1e-3


def test_it_stops_after_three_calm_sweeps():
    tolerance = 1e-4
    algorithm = CoordinateAscent(tolerance=tolerance)
    state, elbos = run(algorithm, "flat", synthetic(), 300)
    num_sweeps = int(state.step)
    assert 5 < num_sweeps < 300
    assert bool(algorithm.is_done(state))
    assert (elbos[num_sweeps:] == 0).all()  # no sweep was taken
    rises = np.diff(elbos[:num_sweeps]) / np.abs(elbos[1:num_sweeps])
    assert (np.abs(rises[-3:]) < tolerance).all()
    assert not algorithm.is_done(state.replace(calm=jnp.int32(2)))
    windows = np.lib.stride_tricks.sliding_window_view(rises[:-1], 3)
    is_calm = (windows != 0) & (windows < tolerance)  # a discarded sweep leaves the ELBO as it was
    assert not is_calm.all(axis=1).any()


def test_a_tolerance_of_0_never_stops_a_run():
    """Not even where rounding lets the ELBO stand still, or fall a little."""
    state, elbos = run(EXTRAPOLATED, "flat", synthetic(), 300)
    assert (np.diff(elbos) <= 0).sum() > 10
    assert int(state.step) == 300
    assert (elbos < 0).all()  # they are 0 for sweeps not taken
    assert int(state.calm) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_learned_priors_end_at_a_higher_elbo(kind):
    algorithm = CoordinateAscent(extrapolate=False, tolerance=0, learn_priors=True)
    fixed, _ = run(PLAIN, kind, synthetic(), 100)
    learned, elbos = run(algorithm, kind, synthetic(), 100)
    assert float(learned.elbo) > float(fixed.elbo) + 10
    assert (np.diff(elbos) > -1e-12 * np.abs(elbos[1:])).all()
    before, after = map(np.array, (jax.tree.leaves(fixed.model), jax.tree.leaves(learned.model)))
    assert (np.abs(np.log(after / before)) > 0.01).all()


EXTREMES = {
    "one nonzero": (np.arange(40 * 50) == 361).astype(np.int64).reshape(40, 50),
    "counts up to a million, empty rows and columns": np.random.default_rng(0).integers(
        0, 10**6, (20, 20)
    )
    * np.outer(np.arange(20) % 3 > 0, np.arange(20) % 4 > 0),
    "one row": np.arange(30)[None],
    "one column": np.arange(30)[:, None],
    "one cell": np.array([[3]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_counts_stay_finite_and_rise(name):
    counts = EXTREMES[name]
    problem = Problem(counts, np.ones(len(counts)), np.zeros(counts.shape, bool))
    algorithm = CoordinateAscent(tolerance=0, learn_priors=True)
    state, infos = sweeps(algorithm, 50)(
        start(algorithm, "flat" if "one" in name else "hierarchical", problem),
        problem.batch(block_slots=1024),
    )
    chex.assert_tree_all_finite((state, infos.elbo))
    assert all(np.asarray(leaf).all() for leaf in jax.tree.leaves(infos.finite))
    assert (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.q)]) > 0).all()
    assert float(state.elbo) > float(infos.elbo[0])
    assert float(state.elbo) < 0
    # The columns and priors are those after the sweep, and no worse. In float32, log x! cancels all
    # but a part of x log r, and each divergence is a difference of terms of size 10.
    q = dense(state.q, problem)
    expected = dense_elbo(state.model, q, problem)
    num_latents = q["rows"].rate.size + q["columns"].rate.size
    rounding = 1e-6 * (abs(expected) + special.gammaln(counts + 1.0).sum() + num_latents)
    assert expected > float(state.elbo) - rounding


@functools.cache
def on_devices(num_devices: int, case: str = "exposures and missing"):
    """(the compiled program, its arguments) of 20 sweeps over that many devices; to run in x64."""
    problem = make_problem(case, num_rows=100, num_columns=40)
    mesh = make_mesh(jax.devices()[:num_devices])
    state = start(EXTRAPOLATED, "hierarchical", problem)
    everywhere = replicated(mesh)
    of_state = EXTRAPOLATED.shardings(state, mesh)

    def take_step(state, batch):
        return EXTRAPOLATED.step(state, batch, ACROSS_DEVICES)

    advance = fuse_steps(take_step, lambda state, last: state.step < last, 20)
    batch = problem.batch(num_shards=num_devices)
    inputs = (of_state, everywhere, batch.shardings(mesh))
    program = jax.jit(on_every_device(advance, mesh, inputs, (of_state, everywhere)))
    arguments = place((state, np.uint32(20), batch), inputs)
    return program.lower(*arguments).compile(), arguments


@pytest.mark.slow
@pytest.mark.usefixtures("x64")  # rounding grows, from a start where all components are alike
def test_one_two_and_four_devices_agree():
    ends = []
    for num_devices in (1, 2, 4):
        program, arguments = on_devices(num_devices)
        ends.append(jax.tree.map(np.asarray, program(*arguments)))
        first = jax.tree.map(np.asarray, arguments[0])
    (one, infos), *others = ends
    assert infos.elbo[-1] > infos.elbo[0] + 100
    assert np.abs(np.log(one.q["columns"].rate / first.q["columns"].rate)).max() > 1
    for other, other_infos in others:
        chex.assert_trees_all_close(other, one, rtol=1e-9)
        np.testing.assert_allclose(other_infos.elbo, infos.elbo, rtol=1e-12)


def collectives(text: str) -> dict[str, list[int]]:
    """How many numbers each collective operation of a compiled program returns, by its kind."""
    names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    found = {}
    for shape, name in re.findall(rf"= .*?\[([\d,]*)\]\S* ({names})(?:-start)?\(", text):
        size = np.prod([int(n) for n in shape.split(",") if n], dtype=int)
        found.setdefault(name, []).append(int(size))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "num_tables"), [("exposures", 1), ("exposures and missing", 2)])
def test_a_sweep_sends_the_columns_once_there_and_once_back(case, num_tables):
    """64 columns, padded, × 4 components; twice where cells are missing; and a few numbers more."""
    found = collectives(on_devices(4, case)[0].as_text())
    assert set(found) == {"all-gather", "reduce-scatter", "all-reduce"}
    assert found["all-gather"] == num_tables * [64 * 4]
    assert found["reduce-scatter"] == num_tables * [64 * 4 // 4]
    assert 1 <= len(found["all-reduce"]) <= 4
    assert max(found["all-reduce"]) <= 4 * 4


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_what_is_not_finite_on_the_last_device_alone_is_seen_in_its_sweep():
    program, (state, last_step, batch) = on_devices(4)
    rates = np.array(state.q["column_rates"].rate)
    rates[39] = 1e-320  # so that 1 / it, E[η_39], overflows in the conditional of a real column
    bad = state.q["column_rates"].replace(rate=place(rates, state.q["column_rates"].rate.sharding))
    wrong = state.q | {"column_rates": bad}
    _, infos = program(state.replace(q=wrong, start=wrong), last_step, batch)
    bad_names = {name for name, ok in infos.finite.items() if not ok[0]}
    assert "parameter columns rate" in bad_names


def test_a_count_of_a_million_does_not_discard_sweeps_while_the_elbo_rises():
    """In float32."""
    problem = make_problem("exposures")
    problem.counts[2, 3] = 10**6
    _, infos = sweeps(EXTRAPOLATED, 60)(start(EXTRAPOLATED, "flat", problem), problem.batch())
    assert (np.diff(infos.elbo) > 0).all()  # a discarded sweep leaves it as it was
    assert infos.elbo[-1] > infos.elbo[0] + 1000


def validated(algorithm, step: int, best_step: int, value: float = -3.0) -> AscentState:
    """A state after so many sweeps, of which validation counts liked one best."""
    model, problem = make_model("flat"), make_problem()
    state = algorithm.init(model, problem.initial(model, 4), validates=True)
    state = algorithm.after_validation(state.replace(step=jnp.uint32(best_step)), value)
    return state.replace(step=jnp.uint32(step))


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize(("best_step", "patience"), [(1, 10), (15, 10), (20, 10), (40, 20)])
def test_a_run_stops_where_validation_no_longer_rises_if_asked_to(stops, best_step, patience):
    algorithm = CoordinateAscent(stop_on_validation=stops, tolerance=0)
    last = best_step + patience
    assert not algorithm.is_done(validated(algorithm, last - 1, best_step))
    assert bool(algorithm.is_done(validated(algorithm, last, best_step))) == stops


def test_a_look_that_finds_no_rise_starts_extrapolation_anew():
    state = validated(EXTRAPOLATED, 20, best_step=18)
    perturbed = jax.tree.map(lambda leaf: 2 * leaf, state.q)
    state = state.replace(start=perturbed, momentum=jnp.int32(7))
    after = EXTRAPOLATED.after_validation(state, -3.0)  # as good as the best is not better
    chex.assert_trees_all_equal(after, state.replace(start=state.q, momentum=jnp.int32(0)))
    chex.assert_trees_all_equal_dtypes(after, state)
    better = EXTRAPOLATED.after_validation(state, -2.9)
    assert int(better.momentum) == 7
    chex.assert_trees_all_equal(better.start, perturbed)


@pytest.mark.slow
def test_extrapolation_waits_for_ten_sweeps_where_validation_counts_are_looked_at():
    problem = synthetic()
    batch = problem.batch(block_slots=1024)
    first = start(PLAIN, "flat", problem)
    ends = {}
    for name, algorithm in (("plain", PLAIN), ("extrapolated", EXTRAPOLATED)):
        for validates in (False, True):
            state = first
            if validates:
                state = algorithm.init(first.model, first.q, validates=True)
            for num_sweeps in (10, 14):
                end, _ = sweeps(algorithm, num_sweeps)(state, batch)
                ends[name, validates, num_sweeps] = end.q
    plain = ends["plain", False, 10]
    chex.assert_trees_all_equal(ends["extrapolated", True, 10], plain)
    for others in (("extrapolated", False, 10), ("extrapolated", True, 14)):
        like = ends["plain", False, others[2]]
        assert largest(jax.tree.map(lambda a, b: a / b - 1, ends[others], like)) > 0.01


def test_the_first_sweep_that_starts_extrapolated_is_the_eleventh():
    state = EXTRAPOLATED.init(jnp.ones(1), jnp.ones(1), validates=True)
    end_sweep = jax.jit(EXTRAPOLATED._kept_or_discarded)
    for num_sweeps, momentum in ((9, 0), (10, 1)):
        after = end_sweep(
            state.replace(step=jnp.uint32(num_sweeps - 1)),
            state.model,
            jnp.full(1, 1.1),
            jnp.asarray(-5.0),
            jnp.asarray(9.0),
        )
        assert (int(after.step), int(after.momentum)) == (num_sweeps, momentum)
        assert bool(after.start > after.q) == bool(momentum)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tolerance", -0.1), ("tolerance", 1.0), ("num_restarts", 0), ("restart_sweeps", 0)],
)
def test_fields_out_of_range_are_refused(field, value):
    CoordinateAscent().validate()
    with pytest.raises(ValueError, match=f"{field} must be at least .*got {value}"):
        CoordinateAscent(**{field: value}).validate()


def test_a_finer_tolerance_than_float32_has_is_taken_for_a_millionth():
    """Of an ELBO of a million nats that is one; it is lost where all counts are many millions."""
    for tolerance in (1e-6, 1e-9):
        inference = CoordinateAscent(tolerance=tolerance)
        assert inference.sees(-1e6, 1e7, 6e-8)
        assert not inference.sees(-1e6, 1e8, 6e-8)
