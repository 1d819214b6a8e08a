"""Gibbs sampling draws from the exact posterior, and draws the same wherever it runs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy import special
from scipy.sparse import csr_array

from tests.factors import (
    KINDS,
    NEGATIVE_BINOMIAL,
    Problem,
    in_default_precision,
    make_model,
    make_problem,
    to_numpy,
)
from vigamma import Gamma
from vigamma.data.layout.count_entries import MOST_UNITS, lay_out_entries
from vigamma.devices.mesh import make_mesh, place
from vigamma.inference.gibbs import ChainData, Gibbs
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_gibbs import SMALLEST, draw_start, gibbs_sweep
from vigamma.models.factor_model import PROBABILITIES, FactorModel
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior

ALL_KINDS = (*KINDS, NEGATIVE_BINOMIAL)
SIDES = {"rows": "row_prior", "columns": "column_prior"}


def entries_of(problem: Problem, num_shards: int = 1):
    missing = csr_array(problem.missing.astype(np.uint8)) if problem.missing.any() else None
    return lay_out_entries(
        csr_array(problem.counts),
        problem.exposures,
        missing,
        num_shards=num_shards,
        block_slots=64,
    )


def dense_log_likelihood(problem: Problem, latents) -> float:
    latents = {name: to_numpy(leaf) for name, leaf in latents.items()}
    means = problem.exposures[:, None] * (latents["rows"] @ latents["columns"].T)
    counts, p = scipy.stats.poisson(means), latents.get(PROBABILITIES)
    if p is not None:
        counts = scipy.stats.nbinom(means * (1 - p) / p, 1 - p)
    return counts.logpmf(problem.counts)[~problem.missing].sum()


# Small problems, by the hundreds: of one shape, so that one program serves them all.
NUM_ROWS, NUM_COLUMNS, NUM_FACTORS = 6, 5, 2
NUM_REPLICATES, NUM_SWEEPS = 300, 4
LEAST_P = 1e-4


def small_entries(problem: Problem):
    """In blocks of 64 entries, one of large counts even if there are none."""

    def narrow(blocks):
        size = blocks.counts.shape[1]
        return jax.tree.map(lambda leaf: np.resize(leaf, (1, size))[:, :64], blocks)

    entries = entries_of(problem)
    large = jax.tree.map(
        lambda leaf: np.append(leaf, np.zeros_like(leaf, shape=(1, 256)), 0)[:1], entries.large
    )
    return entries.replace(small=narrow(entries.small), large=narrow(large))


@functools.cache
def prior_draws(kind: str):
    """Latents and counts from the joint distribution, by NumPy, with the layouts of the counts."""
    rng, model = np.random.default_rng(0), make_model(kind)
    exposures = rng.uniform(1, 40, NUM_ROWS)
    missing = rng.random((NUM_ROWS, NUM_COLUMNS)) < 0.2
    latents, problems = [], []
    for _ in range(NUM_REPLICATES):
        drawn = {}
        for (side, name), size in zip(SIDES.items(), (NUM_ROWS, NUM_COLUMNS), strict=True):
            prior = jax.tree.map(to_numpy, getattr(model, name))
            rate = prior.rate
            if kind != "flat":
                rate = rng.gamma(prior.rate.concentration, 1 / prior.rate.rate, size)
                drawn[f"{side[:-1]}_rates"] = rate
                rate = rate[:, None]
            drawn[side] = rng.gamma(prior.concentration, 1 / rate, (size, NUM_FACTORS))
        means = exposures[:, None] * (drawn["rows"] @ drawn["columns"].T)
        if kind == NEGATIVE_BINOMIAL:
            a, b = jax.tree.leaves(model.probability_prior)
            drawn[PROBABILITIES] = p = rng.beta(a, b, NUM_COLUMNS)
            means = rng.gamma(means * (1 - p) / p) * p / (1 - p)
        counts = rng.poisson(means)
        problems.append(Problem(np.where(missing, 0, counts), exposures, missing))
        latents.append(drawn)
    assert np.mean([problem.counts > MOST_UNITS for problem in problems]) > 0.01
    entries = jax.tree.map(lambda *leaves: np.stack(leaves), *map(small_entries, problems))
    return {name: np.stack([d[name] for d in latents]) for name in latents[0]}, problems, entries


def sweeps_of_replicates(kind: str):
    """The program: (latents, entries, keys), all with an axis of replicates, to latents."""
    model = make_model(kind)

    def of_replicate(replicate):
        latents, entries, key = replicate

        def sweep(i, latents):
            return gibbs_sweep(model, latents, entries, jax.random.fold_in(key, i))[0]

        return jax.lax.fori_loop(0, NUM_SWEEPS, sweep, latents)

    return jax.jit(lambda *stacked: jax.lax.map(of_replicate, stacked))


right_sweeps = functools.cache(sweeps_of_replicates)


def after_sweeps(kind: str, program, changed=lambda entries: entries):
    """The latents of each replicate after some sweeps that start at the true ones."""
    before, _, entries = prior_draws(kind)

    def sizes(leaf) -> list:
        return [(0, 0), (0, 64 - leaf.shape[1]), *[(0, 0)] * (leaf.ndim - 2)]

    start = {n: np.pad(leaf, sizes(leaf), constant_values=0.5) for n, leaf in before.items()}
    start, entries = in_default_precision((start, changed(entries)))
    after = program(start, entries, jax.random.split(jax.random.key(1), NUM_REPLICATES))
    return {name: to_numpy(leaf)[:, : before[name].shape[1]] for name, leaf in after.items()}


def statistics(kind: str, latents) -> dict[str, np.ndarray]:
    """Of each replicate: of the latents, and of the latents and the counts together."""
    _, problems, _ = prior_draws(kind)
    theta, beta = latents["rows"], latents["columns"]
    of_replicates = [{name: leaf[i] for name, leaf in latents.items()} for i in range(len(theta))]
    found = {
        "log likelihood": [
            dense_log_likelihood(*pair) for pair in zip(problems, of_replicates, strict=True)
        ],
        "difference of components": np.abs(np.log(theta.sum(axis=1) / theta.sum(axis=1)[:, ::-1]))[
            :, 0
        ],
        "log rate": np.log((theta.sum(axis=1) * beta.sum(axis=1)).sum(axis=1)),
        "ratio of sides": np.log(theta.sum(axis=(1, 2)) / beta.sum(axis=(1, 2))),
    }
    return {name: np.asarray(values) for name, values in found.items()}


def prior_levels(kind: str, latents) -> dict[str, np.ndarray]:
    """P(X ≤ value) by the prior of each latent, given its rate: all uniform and independent."""
    model, levels = make_model(kind), {}
    for side, name in SIDES.items():
        prior = jax.tree.map(to_numpy, getattr(model, name))
        rate = prior.rate
        if kind != "flat":
            rates = latents[f"{side[:-1]}_rates"]
            of_rates = scipy.stats.gamma(prior.rate.concentration, scale=1 / prior.rate.rate)
            levels[f"rates of {side}"] = of_rates.cdf(rates)[:, :, None]
            rate = rates[:, :, None]
        factors = scipy.stats.gamma(prior.concentration, scale=1 / rate)
        levels[side] = factors.cdf(latents[side])
    if kind == NEGATIVE_BINOMIAL:
        prior = scipy.stats.beta(*jax.tree.leaves(model.probability_prior))
        levels[PROBABILITIES] = prior.cdf(latents[PROBABILITIES])[:, :, None]
    return levels


def p_values(kind: str, after) -> dict[str, float]:
    """Whether latents after sweeps are draws from the prior again, and go with their counts.

    (latents, counts) is a draw from the joint distribution before the sweeps, so that it must be
    one after them (Geweke 2004).
    """
    levels = prior_levels(kind, after)
    found = {name: scipy.stats.kstest(leaf.ravel(), "uniform") for name, leaf in levels.items()}
    for (one, a), (other, b) in itertools.combinations(levels.items(), 2):
        a, b = (leaf[:, :NUM_COLUMNS].mean(axis=2).ravel() for leaf in (a, b))
        found[f"{one} and {other}"] = scipy.stats.pearsonr(a, b)
    before = statistics(kind, prior_draws(kind)[0])
    found |= {
        name: scipy.stats.ttest_rel(before[name], values)
        for name, values in statistics(kind, after).items()
    }
    return {name: float(test.pvalue) for name, test in found.items()}


@pytest.mark.parametrize(
    "kind",
    [
        "flat",
        pytest.param("hierarchical", marks=pytest.mark.nightly),
        pytest.param(NEGATIVE_BINOMIAL, marks=pytest.mark.slow),
    ],
)
def test_sweeps_leave_the_joint_distribution_as_it_is(kind):
    """With exposures and missing cells."""
    after = after_sweeps(kind, right_sweeps(kind))
    moved = np.abs(np.log(after["rows"] / prior_draws(kind)[0]["rows"]))
    assert np.median(moved) > 0.1
    found = p_values(kind, after)
    assert min(found.values()) > LEAST_P, found


def half_rate(method):
    def changed(*arguments):
        gamma = method(*arguments)
        return gamma.replace(rate=gamma.rate / 2)

    return changed


MISTAKES = {
    "rate of factors": ("flat", FixedRatePrior, "factors_given"),
    "rate of rates": ("hierarchical", RandomRatePrior, "rates_given"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_conditional_would_be_seen(name, monkeypatch):
    kind, prior, method = MISTAKES[name]
    monkeypatch.setattr(prior, method, half_rate(getattr(prior, method)))
    after = after_sweeps(kind, sweeps_of_replicates(kind))
    assert min(p_values(kind, after).values()) < LEAST_P / 100


def without_missing_cells(entries):
    """The same layout, of padding alone."""
    nothing = {
        name: jax.tree.map(np.zeros_like, getattr(entries, name))
        for name in ("missing_by_row", "missing_by_column")
    }
    return entries.replace(**nothing)


def without_exposures(entries):
    return entries.replace(exposures=np.where(entries.exposures > 0, 20.0, 0.0))


@pytest.mark.parametrize("changed", [without_missing_cells, without_exposures])
def test_other_data_would_be_seen(changed):
    after = after_sweeps("flat", right_sweeps("flat"), changed)
    assert min(p_values("flat", after).values()) < LEAST_P / 100


TINY = np.array([[2, 0, 1], [1, 3, 0], [0, 1, 2]])
TINY_PRIORS = ((0.8, 0.7), (0.6, 1.3))


def moments_of_component(total: int) -> tuple[float, np.ndarray]:
    """log ∫ p(A, B) and E[A B], E[(A B)²] of A = Σ_n θ_n and B = Σ_m β_m, of `total` counts.

    p(A, B) ∝ A^(3a + total - 1) B^(3c + total - 1) e^(-A B - b A - d B), on a grid of logarithms.
    """
    (a, b), (c, d) = TINY_PRIORS
    log_grid = np.arange(-30, 8, 0.05)
    big_a, big_b = np.exp(log_grid)[:, None], np.exp(log_grid)
    log_p = (3 * a + total) * log_grid[:, None] + (3 * c + total) * log_grid
    log_p = log_p - big_a * big_b - b * big_a - d * big_b
    log_sum = special.logsumexp(log_p)
    p = np.exp(log_p - log_sum)
    return log_sum, np.array([(p * (big_a * big_b) ** power).sum() for power in (1, 2)])


def exact_moments(num_factors: int) -> np.ndarray:
    """E[r_nm] of all cells, and E[Σ_k (Σ_nm θ_nk β_mk)²], summed over all splits of all counts."""
    (a, _), (c, _) = TINY_PRIORS
    of_total = [moments_of_component(total) for total in range(TINY.sum() + 1)]
    options = [
        [z for z in itertools.product(range(x + 1), repeat=num_factors) if sum(z) == x]
        for x in TINY.ravel()
    ]
    log_weights, values = [], []
    for split in itertools.product(*options):
        log_weight, rates, squares = 0.0, 0.0, 0.0
        for z in np.reshape(split, (3, 3, num_factors)).transpose(2, 0, 1):
            shapes = a + z.sum(axis=1), c + z.sum(axis=0)
            log_sum, (mean, square) = of_total[z.sum()]
            log_weight += log_sum - special.gammaln(z + 1).sum()
            for shape in shapes:  # given their sum, factors are Dirichlet
                log_weight += special.gammaln(shape).sum() - special.gammaln(shape.sum())
            shares = [shape / shape.sum() for shape in shapes]
            rates = rates + mean * np.outer(*shares)
            squares += square
        log_weights.append(log_weight)
        values.append(np.append(rates, squares))
    return special.softmax(log_weights) @ np.array(values)


@pytest.mark.nightly
@pytest.mark.parametrize("num_factors", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_long_chains_have_the_moments_of_the_exact_posterior(num_factors):
    problem = Problem(TINY, np.ones(3), np.zeros((3, 3), bool))
    entries = in_default_precision(small_entries(problem).replace(large=entries_of(problem).large))
    priors = [FixedRatePrior(*in_default_precision(np.array(v))) for v in TINY_PRIORS]
    model, num_chains = FactorModel(*priors), 40

    def sweep(latents, key):
        latents, _ = gibbs_sweep(model, latents, entries, key)
        theta, beta = latents["rows"][:3], latents["columns"][:3]
        squares = ((theta.sum(axis=0) * beta.sum(axis=0)) ** 2).sum()
        return latents, jnp.append(theta @ beta.T, squares)

    def chain(key):
        start = {name: jnp.ones((64, num_factors)) for name in SIDES}
        values = jax.lax.scan(sweep, start, jax.random.split(key, 1100))[1]
        return values[100:].mean(axis=0)

    keys = jax.random.split(jax.random.key(2), num_chains)
    means = to_numpy(jax.jit(lambda keys: jax.lax.map(chain, keys))(keys))
    expected = exact_moments(num_factors)
    error = means.std(axis=0, ddof=1) / np.sqrt(num_chains)
    assert (error < 0.03 * expected).all()
    assert np.abs((means.mean(axis=0) - expected) / error).max() < 4.5


ALGORITHM = Gibbs(num_chains=2, burn_in=4, thin=4, num_watched=3)


@functools.cache
def larger_problem(kind: str) -> Problem:
    """All but the flat model get counts that are split by binomials, too."""
    problem = make_problem("exposures and missing", num_rows=150, num_columns=40)
    np.minimum(problem.counts, MOST_UNITS, out=problem.counts)
    for cell in ((5, 6), (77, 8), (149, 39)) if kind != "flat" else ():
        problem.missing[cell] = False
        problem.counts[cell] = 300
    return problem


WATCHED = np.array([[3, 149, 77], [0, 39, 8]], np.int32)
"""As rows and columns are stored."""


def chain_data(entries, mesh) -> ChainData:
    data = ChainData(entries, *WATCHED)
    return place(data, data.shardings(mesh))


def make_state(kind: str, num_devices: int = 1) -> TrainState:
    problem, model = larger_problem(kind), make_model(kind)
    mesh = make_mesh(jax.devices()[:num_devices])
    entries = entries_of(problem, num_devices)
    return TrainState(
        ALGORITHM,
        model,
        problem.initial(model, 9),
        chain_data(entries, mesh),
        key=jax.random.key(0),
        mesh=mesh,
        fused_steps=30,
    )


def run(kind: str, num_devices: int):
    """The latents after 30 sweeps, and the likelihoods before each of them."""
    state = make_state(kind, num_devices)
    likelihoods = state.step(30).elbo
    return jax.device_get(state.arrays.q), likelihoods


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "others"),
    [pytest.param("flat", (4,), marks=pytest.mark.nightly), (NEGATIVE_BINOMIAL, (2,))],
)
def test_any_number_of_devices_draws_the_same_chains(kind, others):
    """Bit for bit, as a change in the last bit may send a unit to another component."""
    one, likelihoods = run(kind, 1)
    assert likelihoods[-1] > likelihoods[0] + 1000
    for num_devices in others:
        other, other_likelihoods = run(kind, num_devices)
        jax.tree.map(np.testing.assert_array_equal, other, one)
        np.testing.assert_allclose(other_likelihoods, likelihoods, rtol=1e-6)


@pytest.mark.slow
def test_a_chain_goes_on_from_where_it_was():
    whole, parts = make_state("flat"), make_state("flat")
    likelihoods = whole.step(7).elbo
    first = parts.step(3).elbo
    resumed = make_state("flat")
    resumed.arrays = place(
        jax.device_get(parts.arrays), jax.tree.map(lambda leaf: leaf.sharding, parts.arrays)
    )
    np.testing.assert_array_equal(np.append(first, resumed.step(4).elbo), likelihoods)
    jax.tree.map(np.testing.assert_array_equal, resumed.arrays.q, whole.arrays.q)
    assert resumed.num_steps == 7


def dense_log_joint(problem: Problem, model, latents) -> float:
    """Of one chain, by SciPy; rows and columns are those of the problem."""
    sizes = {"row": problem.counts.shape[0], "column": problem.counts.shape[1]}
    values = {
        f"{side}{part}": latents[f"{side}{part}"][:size].astype(float)
        for side, size in sizes.items()
        for part in ("s", "_rates", "_probabilities")
        if f"{side}{part}" in latents
    }
    total = dense_log_likelihood(problem, values)
    if PROBABILITIES in latents:
        shapes = map(float, jax.tree.leaves(model.probability_prior))
        total += scipy.stats.beta(*shapes).logpdf(values[PROBABILITIES]).sum()
    for side in sizes:
        prior = getattr(model, f"{side}_prior")
        rates = float(prior.rate) if f"{side}_rates" not in latents else values[f"{side}_rates"]
        factors, scale = values[f"{side}s"], 1 / np.broadcast_to(rates, sizes[side])[:, None]
        total += scipy.stats.gamma.logpdf(factors, float(prior.concentration), scale=scale).sum()
        if f"{side}_rates" in latents:
            shape, rate = float(prior.rate.concentration), float(prior.rate.rate)
            total += scipy.stats.gamma.logpdf(rates, shape, scale=1 / rate).sum()
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "num_devices"), [("flat", 1), ("hierarchical", 4), (NEGATIVE_BINOMIAL, 2)]
)
def test_each_step_reports_the_log_joint_before_it_and_chains_go_different_ways(kind, num_devices):
    """The probabilities are the first that a step draws, and the log joint is one after that."""
    state, problem, model = make_state(kind, num_devices), larger_problem(kind), make_model(kind)
    for _ in range(2):
        q = jax.device_get(state.arrays.q)
        info = state.step()
        q |= {n: leaf for n, leaf in jax.device_get(state.arrays.q).items() if n == PROBABILITIES}
        expected = [
            dense_log_joint(problem, model, {name: value[chain] for name, value in q.items()})
            for chain in range(2)
        ]
        np.testing.assert_allclose(info.elbo, [np.mean(expected)], rtol=1e-5)
        assert expected[0] != pytest.approx(expected[1], rel=1e-4)
        for name in SIDES:
            first, second = state.arrays.q[name]
            assert (first != second).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 4])
def test_watched_cells_are_traced_after_each_of_the_last_sweeps(num_devices):
    state, problem = make_state("flat", num_devices), larger_problem("flat")
    exposures = np.zeros(state.arrays.q["rows"].shape[1])
    exposures[:150] = problem.exposures
    for sweep in range(5):
        state.step()
        q = jax.device_get(state.arrays.q)
        for chain in range(2):
            theta, beta = (q[name][chain].astype(float) for name in SIDES)
            rows, columns = theta[WATCHED[0]], beta[WATCHED[1]]
            expected = np.concatenate(
                [
                    (rows * columns).sum(axis=1),
                    rows @ beta[:40].sum(axis=0),
                    columns @ (exposures @ theta),
                ]
            )
            trace = state.arrays.trace[sweep % ALGORITHM.thin, chain]
            np.testing.assert_allclose(trace[:-1], expected, rtol=1e-5)
        assert state.arrays.trace.shape == (ALGORITHM.thin, 2, 10)


@pytest.mark.slow
def test_every_sweep_and_every_chain_has_random_numbers_of_its_own():
    state = make_state("flat")
    start = jax.tree.map(lambda leaf: np.stack([leaf[0]] * 2), jax.device_get(state.arrays.q))

    def after_step(number: int):
        arrays = make_state("flat").arrays
        q = place(start, jax.tree.map(lambda leaf: leaf.sharding, arrays.q))
        state.arrays = arrays.replace(q=q, step=place(np.uint32(number), arrays.step.sharding))
        state.step(20)  # a row is drawn anew in one sweep of four, and otherwise may stay
        return jax.device_get(state.arrays.q)

    first, again, second = after_step(0), after_step(0), after_step(1)
    for name in SIDES:
        np.testing.assert_array_equal(first[name], again[name])
        for one, other in ((first[name][0], first[name][1]), (first[name], second[name])):
            assert (one != other).mean() > 0.99


def with_nan(state: TrainState, name: str, column: int) -> None:
    """Puts it into the second chain."""
    values = np.array(state.arrays.q[name])
    values[1, column] = np.nan
    values = place(values, state.arrays.q[name].sharding)
    state.arrays = state.arrays.replace(q=state.arrays.q | {name: values})


@pytest.mark.slow
def test_what_is_not_finite_on_one_device_alone_is_seen():
    state = make_state("hierarchical", 4)
    with_nan(state, "column_rates", 39)
    finite = state.step().finite
    bad = {name for name, ok in finite.items() if not ok[0]}
    assert bad == {"log joint", "latent columns", "latent column_rates"}
    assert len(finite) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("column", "is_seen"), [(39, True), (40, False)])
def test_what_is_not_finite_in_a_real_column_is_seen(column, is_seen):
    """And padding does not matter."""
    state = make_state("flat", 4)
    with_nan(state, "columns", column)
    finite = state.step().finite
    assert set(finite) == {"log joint", "latent rows", "latent columns"}
    assert [bool(ok[0]) for ok in finite.values()] == 3 * [not is_seen]


def test_chains_start_at_the_means_of_q_with_twice_its_variance():
    rng = np.random.default_rng(0)
    concentration, rate = rng.uniform(1, 5, (2, 3, 2))
    q = {
        name: Gamma(np.tile(concentration, (4000, 1, 1)), np.tile(rate, (4000, 1, 1)))
        for name in SIDES
    }
    starts = draw_start(q, [1, 2], 2.0)
    for values in starts.values():
        error = np.sqrt(2 * concentration / rate**2 / 4000)
        assert np.abs((values.mean(axis=0) - concentration / rate) / error).max() < 5
        # The variance of a variance, from the excess kurtosis 6 / shape.
        error = np.sqrt((2 + 12 / concentration) / 4000)
        assert (
            np.abs(values.var(axis=0) / (2 * concentration / rate**2) - 1).max() < 5 * error.max()
        )
    assert (starts["rows"] != starts["columns"]).all()
    for seed, is_same in (([1, 2], True), ([1, 3], False), ([2, 2], False)):
        assert (draw_start(q, seed, 2.0)["rows"] == starts["rows"]).all() == is_same


def test_starts_are_within_the_range_of_the_kernels():
    q = {"rows": Gamma(np.full((50, 3), 1e-3), np.ones((50, 3)))}
    values = draw_start(q, [0], 1.0)["rows"]
    assert values.min() == SMALLEST
    assert values.max() > 1e-10


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_chains_of_a_state_start_apart_by_its_key(kind):
    model = make_model(kind)
    q = larger_problem(kind).initial(model, 3)
    one, same, other = (
        Gibbs(num_chains=3).init(model, q, key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    assert set(one.q) == set(q)
    for name, values in one.q.items():
        assert values.shape == (3, *jax.tree.leaves(q[name])[0].shape)
        assert values.dtype == jnp.result_type(float)
        for chain in range(3):
            np.testing.assert_array_equal(values[chain], same.q[name][chain])
            assert (values[chain] != other.q[name][chain]).mean() > 0.9
            assert (values[chain] != values[chain - 1]).mean() > 0.9
    assert one.trace.shape == (4, 3, 301)


@pytest.mark.parametrize(
    "field",
    [
        {"num_chains": 0},
        {"inflation": 0.99},
        {"inflation": np.inf},
        {"inflation": np.nan},
        {"burn_in": -1},
        {"thin": 0},
        {"num_watched": 0},
    ],
)
def test_fields_out_of_range_are_refused(field):
    (name,) = field
    with pytest.raises(ValueError, match=f"{name} must be"):
        Gibbs(**field).num_batches(3)


def test_thinning_must_divide_the_burn_in():
    with pytest.raises(ValueError, match=r"thin must divide burn_in \(10\), got 4"):
        Gibbs(burn_in=10).num_batches(3)
