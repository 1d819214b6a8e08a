"""The factor model against dense NumPy float64: its ELBO, its conditionals, its densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy import special

from tests.factors import (
    CASES,
    KINDS,
    Problem,
    best_split,
    dense,
    dense_elbo,
    largest,
    log_gradient,
    make_model,
    make_problem,
    random_posterior,
    to_numpy,
    update_columns,
    update_rows,
)
from tests.slow import slow_after
from vigamma import Gamma
from vigamma.models.factor_model import FactorModel
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior

elbo = jax.jit(FactorModel.elbo)
log_joint = jax.jit(FactorModel.log_joint)


@jax.jit
def converge(model, q, batch):
    """500 sweeps."""

    def sweep(_, q):
        return update_columns(model, update_rows(model, q, batch), batch)

    return jax.lax.fori_loop(0, 500, sweep, q)


def names_of(side: str, q) -> list[str]:
    return [name for name in q if name.startswith(side)]


@pytest.mark.parametrize("case", slow_after(2, CASES))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("in_x64", "rtol"), [(False, 1e-5), (True, 1e-7)])
def test_the_elbo_is_the_dense_one(kind, case, in_x64, rtol):
    problem = make_problem(case)
    with jax.enable_x64(in_x64):  # the constants of the data are in float32 in any case
        model, batch = make_model(kind), problem.batch()
        for seed in range(3):
            q = random_posterior(model, seed)
            expected = dense_elbo(model, dense(q, problem), problem)
            np.testing.assert_allclose(elbo(model, q, batch), expected, rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-15, 1e-10, 1e10, 1e15])
@pytest.mark.parametrize("kind", KINDS)
def test_the_elbo_and_the_shares_do_not_mind_scales_that_cancel(kind, scale):
    """Means of 1e-15 on one side and 1e15 on the other, in float32; also mixed within a side."""
    problem, model = make_problem("exposures and missing"), make_model(kind)
    q, batch = random_posterior(model, 0), problem.batch()
    small, large = q["rows"], q["columns"]
    mixed = jnp.where(jnp.arange(64) % 3 == 0, 1.0, scale)[:, None]
    for of_rows in (jnp.full((64, 1), scale), mixed):
        scaled = q | {
            "rows": small.replace(rate=small.rate * of_rows),
            "columns": large.replace(rate=large.rate / scale),
        }
        expected = dense_elbo(model, dense(scaled, problem), problem)
        np.testing.assert_allclose(elbo(model, scaled, batch), expected, rtol=1e-5)
        split = problem.counts[:, :, None] * best_split(dense(scaled, problem))
        rows = dense(update_rows(model, scaled, batch), problem)["rows"].concentration
        columns = dense(update_columns(model, scaled, batch), problem)["columns"].concentration
        shape = float(model.row_prior.concentration)
        np.testing.assert_allclose(rows, shape + split.sum(axis=1), rtol=1e-4)
        shape = float(model.column_prior.concentration)
        np.testing.assert_allclose(columns, shape + split.sum(axis=0), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_count_of_a_million_leaves_the_elbo_accurate(kind):
    """In float32, to half a millionth of it: its terms are as large as the count, and cancel."""
    problem = make_problem("exposures")
    problem.counts[2, 3] = 10**6
    model, batch = make_model(kind), problem.batch()
    q = problem.initial(model, 3)
    for _ in range(30):
        q = update_columns(model, update_rows(model, q, batch), batch)
    expected = dense_elbo(model, dense(q, problem), problem)
    np.testing.assert_allclose(elbo(model, q, batch), expected, rtol=0, atol=0.5)
    assert -30_000 < expected < 0


@pytest.mark.usefixtures("x64")
def test_the_elbo_is_the_best_of_those_with_explicit_auxiliary_counts():
    """Here E[log p(x, z, ...) - log q(z, ...)] is a sum over all z of two components."""
    problem, model = make_problem("exposures", 5, 5), make_model("flat")
    q = random_posterior(model, 0, num_factors=2)
    plain = dense(q, problem)
    split = best_split(plain)

    def with_all_z(split) -> float:
        # The ELBO with counts of 0 has no z in it; what the z add is summed over all their values.
        total = dense_elbo(model, plain, problem._replace(counts=np.zeros_like(problem.counts)))
        mean_logs = [special.digamma(g.concentration) - np.log(g.rate) for g in plain.values()]
        for n, m in np.argwhere(problem.counts > 0):
            x = problem.counts[n, m]
            z = np.stack([np.arange(x + 1), x - np.arange(x + 1)], axis=1)
            log_q = scipy.stats.binom(x, split[n, m, 0]).logpmf(z[:, 0])
            log_rates = np.log(problem.exposures[n]) + mean_logs[0][n] + mean_logs[1][m]
            log_p = (z * log_rates - special.gammaln(z + 1)).sum(axis=1)
            total += (np.exp(log_q) * (log_p - log_q)).sum()
        return total

    got = elbo(model, q, problem.batch())
    np.testing.assert_allclose(got, with_all_z(split), rtol=1e-7)
    for worse in (np.full_like(split, 0.5), split[..., ::-1]):
        assert with_all_z(worse) < got - 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", slow_after(1, CASES))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["row", "column"])
def test_a_conditional_is_the_best_given_the_rest_and_the_auxiliary_counts(kind, case, side):
    """Its gradient is 0, in every logarithm of a shape or rate, and was not before."""
    problem, model = make_problem(case), make_model(kind)
    before = random_posterior(model, 0)
    after = (update_rows if side == "row" else update_columns)(model, before, problem.batch())
    split = best_split(dense(before, problem))
    rest = {name: g for name, g in dense(before, problem).items() if not name.startswith(side)}

    def gradient(part):
        def value(part) -> float:
            return dense_elbo(model, rest | part, problem, split)

        return log_gradient(value, part)

    starts, ends = (
        {name: dense(q, problem)[name] for name in names_of(side, q)} for q in (before, after)
    )
    assert largest(gradient(starts)) > 10
    halfway = starts | {f"{side}s": ends[f"{side}s"]}  # random rates come after the factors
    assert largest(gradient(halfway)[f"{side}s"]) < 1e-5
    assert largest(gradient(ends).get(f"{side}_rates", 0.0)) < 1e-5


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["row", "column"])
def test_a_conditional_has_the_dense_shares_and_exposures(kind, case, side):
    """Missing cells are in neither."""
    problem, model = make_problem(case), make_model(kind)
    before = random_posterior(model, 1)
    after = (update_rows if side == "row" else update_columns)(model, before, problem.batch())
    assert set(after) == set(before)
    for name in set(before) - set(names_of(side, before)):
        np.testing.assert_array_equal(after[name].rate, before[name].rate)

    q, factors = dense(before, problem), dense(after, problem)[f"{side}s"]
    split_counts = problem.counts[:, :, None] * best_split(q)
    seen = ~problem.missing * problem.exposures[:, None]
    prior = getattr(model, f"{side}_prior")
    if side == "row":
        shares, exposure = split_counts.sum(axis=1), seen @ q["columns"].mean
    else:
        shares, exposure = split_counts.sum(axis=0), seen.T @ q["rows"].mean
    np.testing.assert_allclose(factors.concentration, float(prior.concentration) + shares)
    rate = factors.rate - exposure  # one for each row, if random
    if kind == "flat":
        np.testing.assert_allclose(rate, np.full(rate.shape, prior.rate))
    else:
        assert (rate > 0).all()
        assert np.ptp(rate[:, 0]) > 0.01
        np.testing.assert_allclose(rate, np.broadcast_to(rate[:, :1], rate.shape), rtol=1e-7)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["plain", "exposures and missing"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_update_ever_lowers_the_elbo(kind, case):
    model, batch = make_model(kind), make_problem(case).batch()
    for seed in range(5):
        q = random_posterior(model, seed)
        values = [float(elbo(model, q, batch))]
        for update in (update_rows, update_columns) * 3:
            q = update(model, q, batch)
            values.append(float(elbo(model, q, batch)))
        assert (np.diff(values) > -1e-12 * abs(values[0])).all()
        assert values[1] > values[0] + 1
        assert values[2] > values[1] + 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_one_component_is_conjugate_in_each_half(case):
    problem, model = make_problem(case), make_model("flat")
    q = random_posterior(model, 0, num_factors=1)
    after = dense(update_rows(model, q, problem.batch()), problem)
    seen = ~problem.missing * problem.exposures[:, None]
    mean = dense(q, problem)["columns"].mean
    sums = problem.counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after["rows"].concentration, 0.3 + sums, rtol=1e-14)
    np.testing.assert_allclose(after["rows"].rate, 0.7 + seen @ mean, rtol=1e-12)

    def value(rows) -> float:
        return dense_elbo(model, after | {"rows": rows}, problem)

    assert largest(log_gradient(value, dense(q, problem)["rows"])) > 10
    assert largest(log_gradient(value, after["rows"])) < 1e-5


def differently_padded(model):
    """Two posteriors of 12 rows and 9 columns that differ in all padding, and only there."""
    one, two = random_posterior(model, 0), random_posterior(model, 1)

    def mixed(name):
        is_real = np.arange(64) < (12 if name.startswith("row") else 9)
        return jax.tree.map(
            lambda a, b: jnp.where(is_real.reshape(64, *(1,) * (a.ndim - 1)), a, b),
            one[name],
            two[name],
        )

    return one, {name: mixed(name) for name in one}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["plain", "exposures and missing"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_that_only_pad_change_nothing(kind, case):
    problem, model = make_problem(case), make_model(kind)
    batch, pair = problem.batch(), differently_padded(model)
    assert len({float(elbo(model, q, batch)) for q in pair}) == 1
    for update in (update_rows, update_columns):
        updated = [dense(update(model, q, batch), problem) for q in pair]
        for a, b in zip(*map(jax.tree.leaves, updated), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_learned_priors_raise_the_elbo_and_ignore_padding(kind):
    problem, model = make_problem("missing"), make_model(kind)

    @jax.jit
    def learn(q):
        batch = problem.batch()
        statistics = model.statistics(q, model.table(q, batch.is_column), batch)
        return model.learned(statistics, model.column_statistics(q, batch.is_column))

    q, padded = differently_padded(model)
    better = learn(q)
    before, after = (dense_elbo(m, dense(q, problem), problem) for m in (model, better))
    assert after > before + 1
    for a, b in zip(*map(jax.tree.leaves, (learn(padded), better)), strict=True):
        np.testing.assert_array_equal(a, b)


EVIDENCE_PRIORS = {
    "flat": [(0.9, 0.7), (1.1, 1.3)],
    "hierarchical": [(0.9, 6.0, 0.8), (1.1, 7.0, 1.5)],
}


def log_evidence(kind: str, counts, exposures, num_factors: int) -> float:
    """log p(x) for one column, by the trapezoidal rule in log θ and log β.

    With its random rate integrated out, a factor has a scaled beta prime distribution.
    """
    log_grid = np.arange(-40.0, 12.0, 0.05 * num_factors**3)
    grid = np.exp(log_grid)

    def weights(parameters) -> np.ndarray:
        if kind == "flat":
            density = scipy.stats.gamma(parameters[0], scale=1 / parameters[1])
        else:
            density = scipy.stats.betaprime(*parameters[:2], scale=parameters[2])
        weight = density.pdf(grid) * grid * (log_grid[1] - log_grid[0])
        np.testing.assert_allclose(weight.sum(), 1, rtol=1e-8)
        return weight

    of_theta, of_beta = map(weights, EVIDENCE_PRIORS[kind])
    values = np.arange(max(counts) + 1)
    total = np.ones(len(grid) ** num_factors)
    for x, e in zip(counts, exposures, strict=True):
        rates = e * grid[:, None] * grid  # (θ, β)
        # The probability of each count of one component, given its β.
        p = [of_theta @ scipy.stats.poisson(rates).pmf(value) for value in values[: x + 1]]
        if num_factors == 1:
            total = total * p[x]
        else:
            total = total * sum(np.multiply.outer(p[j], p[x - j]) for j in range(x + 1)).ravel()
    joint = of_beta if num_factors == 1 else np.multiply.outer(of_beta, of_beta).ravel()
    return float(np.log(total @ joint))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kind", "num_factors"), [("flat", 1), ("hierarchical", 1), ("flat", 2)])
def test_the_elbo_is_below_the_evidence_and_comes_close_to_it(kind, num_factors):
    counts, exposures = np.array([[3], [0], [1], [5]]), np.array([1.0, 0.5, 2.0, 1.5])
    problem = Problem(counts, exposures, np.zeros((4, 1), bool))
    row, column = (np.array(values) for values in EVIDENCE_PRIORS[kind])
    if kind == "flat":
        priors = [FixedRatePrior(*map(jnp.asarray, values)) for values in (row, column)]
    else:
        priors = [
            RandomRatePrior(jnp.asarray(c), Gamma(jnp.asarray(a), jnp.asarray(b)))
            for c, a, b in (row, column)
        ]
    model, batch = FactorModel(*priors), problem.batch()
    evidence = log_evidence(kind, counts[:, 0], exposures, num_factors)
    start = problem.initial(model, num_factors)
    end = converge(model, start, batch)
    first, last = (float(elbo(model, q, batch)) for q in (start, end))
    gap = {1: 1, 2: 3}[num_factors]  # a factorized q cannot close it
    assert first < evidence - gap
    assert evidence - gap < last < evidence


@pytest.mark.usefixtures("x64")
def test_with_known_columns_and_one_component_the_elbo_is_the_evidence():
    """Shape and rate of 1e9: β is 0.6, within 2e-5; then each row is negative multinomial."""
    problem = make_problem("exposures")
    row = FixedRatePrior(jnp.asarray(0.3), jnp.asarray(0.7))
    column = FixedRatePrior(jnp.asarray(1e9), jnp.asarray(1e9 / 0.6))
    model, batch = FactorModel(row, column), problem.batch()
    x, e = problem.counts, problem.exposures
    sums = x.sum(axis=1)
    evidence = (
        special.gammaln(0.3 + sums)
        - special.gammaln(0.3)
        + 0.3 * np.log(0.7)
        - (0.3 + sums) * np.log(0.7 + e * 9 * 0.6)
        + sums * np.log(e * 0.6)
        - special.gammaln(x + 1).sum(axis=1)
    ).sum()
    start = problem.initial(model, 1)
    first, last = (float(elbo(model, q, batch)) for q in (start, converge(model, start, batch)))
    assert first < evidence - 10
    np.testing.assert_allclose(last, evidence, rtol=1e-6)


def full_problem(case: str):
    """64 rows, so that none pad, as `log_joint` wants them; and one point of all latents."""
    problem = make_problem(case, num_rows=64)
    rng = np.random.default_rng(6)
    latents = {
        "rows": rng.gamma(0.5, 2.0, (64, 3)),
        "columns": rng.gamma(0.5, 2.0, (9, 3)),
        "row_rates": rng.gamma(2.0, 1.0, 64),
        "column_rates": rng.gamma(2.0, 1.0, 9),
    }
    return problem, latents


def dense_log_joint(model, latents, problem) -> float:
    rates = problem.exposures[:, None] * (latents["rows"] @ latents["columns"].T)
    total = scipy.stats.poisson(rates).logpmf(problem.counts)[~problem.missing].sum()
    for side in ("row", "column"):
        prior = jax.tree.map(to_numpy, getattr(model, f"{side}_prior"))
        rate = prior.rate
        if f"{side}_rates" in latents:
            xi = latents[f"{side}_rates"]
            a, b = prior.rate.concentration, prior.rate.rate
            total, rate = total + scipy.stats.gamma(a, scale=1 / b).logpdf(xi).sum(), xi[:, None]
        factors = scipy.stats.gamma(prior.concentration, scale=1 / rate)
        total += factors.logpdf(latents[f"{side}s"]).sum()
    return total


@pytest.mark.parametrize(
    ("case", "in_x64"),
    slow_after(2, [("exposures and missing", False), *((case, True) for case in CASES)]),
)
@pytest.mark.parametrize("kind", KINDS)
def test_log_joint_is_the_dense_one_with_all_constants(kind, case, in_x64):
    problem, latents = full_problem(case)
    rtol = 1e-7 if in_x64 else 1e-5
    with jax.enable_x64(in_x64):
        model, batch = make_model(kind), problem.batch()
        if kind == "flat":
            latents = {name: latents[name] for name in ("rows", "columns")}
        logs = {name: jnp.log(jnp.asarray(value)) for name, value in latents.items()}
        got = log_joint(model, logs, batch)
        np.testing.assert_allclose(got, dense_log_joint(model, latents, problem), rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_log_joint_is_that_of_the_dense_one(kind):
    problem, latents = full_problem("exposures and missing")
    if kind == "flat":
        latents = {name: latents[name] for name in ("rows", "columns")}
    with jax.enable_x64(True):
        model, batch = make_model(kind), problem.batch()
        logs = {name: jnp.log(jnp.asarray(value)) for name, value in latents.items()}
        got = jax.jit(jax.grad(FactorModel.log_joint, argnums=1))(model, logs, batch)
    expected = log_gradient(lambda point: dense_log_joint(model, point, problem), latents)
    for name, slope in expected.items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kind", "num_factors"), [("hierarchical", 1), ("flat", 3)])
def test_samples_of_log_joint_average_to_the_elbo_or_more(kind, num_factors):
    """With the auxiliary counts in q the bound is lower; with one component they are known."""
    problem, _ = full_problem("exposures and missing")
    model, batch = make_model(kind), problem.batch()
    q = random_posterior(model, 0, num_factors=num_factors)
    for _ in range(3):
        q = update_columns(model, update_rows(model, q, batch), batch)
    rng, samples, log_q = np.random.default_rng(0), {}, 0.0
    for name, gamma in dense(q, problem).items():
        draws = rng.gamma(gamma.concentration, 1 / gamma.rate, (2000, *gamma.rate.shape))
        density = scipy.stats.gamma(gamma.concentration, scale=1 / gamma.rate).logpdf(draws)
        samples[name] = jnp.log(jnp.asarray(draws))
        log_q = log_q + density.reshape(2000, -1).sum(axis=1)
    log_joints = jax.jit(
        lambda logs: jax.lax.map(lambda point: model.log_joint(point, batch), logs)
    )
    values = np.asarray(log_joints(samples)) - log_q
    mean, error = values.mean(), values.std() / np.sqrt(values.size)
    bound = float(elbo(model, q, batch))
    assert error < 2e-3 * abs(bound)
    if num_factors == 1:
        assert abs(mean - bound) < 4 * error
    else:
        assert mean > bound + 4 * error


@pytest.mark.slow
def test_generated_counts_have_the_rates_of_their_factors():
    model = make_model("flat")
    theta, beta, counts = model.generate_prior(jax.random.key(0), 50, 40, 3)
    assert theta.shape == (50, 3)
    assert beta.shape == (40, 3)
    assert counts.shape == (50, 40)
    assert counts.dtype == jnp.int32
    rates, counts = to_numpy(theta) @ to_numpy(beta).T, to_numpy(counts)
    seen = rates > 1e-3
    scores = ((counts - rates) / np.sqrt(np.maximum(rates, 1e-30)))[seen]
    assert abs(scores.mean()) < 4 / np.sqrt(seen.sum())
    # The square of a standardized Poisson count has variance 2 + 1/r.
    error = np.sqrt((2 + 1 / rates[seen]).sum()) / seen.sum()
    assert abs((scores**2).mean() - 1) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_the_initial_posterior_is_the_prior_perturbed_differently_for_every_seed(kind):
    model, problem = make_model(kind), make_problem()
    q, same, other = (problem.initial(model, 3, seed) for seed in (0, 0, 1))
    assert q["rows"].rate.shape == q["columns"].rate.shape == (64, 3)
    assert ("row_rates" in q) == (kind == "hierarchical")
    for side in ("rows", "columns"):
        np.testing.assert_array_equal(q[side].mean, same[side].mean)
        assert (q[side].mean != other[side].mean)[:9].mean() > 0.5
    perturbation = np.asarray(q["rows"].mean / model.row_prior.initial(1, 1)[0].mean)
    assert 0.999 < perturbation.min() < 1.01
    assert 1.09 < perturbation.max() < 1.101
    np.testing.assert_allclose(perturbation[12:], 1, rtol=1e-6)  # rows that only pad


def test_components_start_with_columns_that_are_frequent_in_a_group_of_rows():
    """Rows of two kinds, with columns of their own: 250 counts where 125 would be by chance."""
    counts = np.kron(np.eye(2, dtype=int), np.full((5, 4), 50))
    problem = Problem(counts, np.ones(10), np.zeros(counts.shape, bool))
    model = make_model("flat")
    for seed in range(10):
        perturbation = problem.initial(model, 2, seed)["columns"].mean[:8]
        perturbation = np.asarray(perturbation / model.column_prior.initial(1, 1)[0].mean).T
        kinds = np.kron(np.eye(2), np.ones(4)) * 250 / 126 + 1 / 126
        np.testing.assert_allclose(perturbation[np.argsort(perturbation[:, 7])], kinds, rtol=1e-5)


@pytest.mark.slow
def test_rows_are_generated_from_random_rows_and_columns_from_their_posterior():
    """θ is 1, 2, ... 12, nearly, and β is 1, nearly, or scatters as q says."""
    theta = Gamma(jnp.full((12, 1), 1e6), 1e6 / jnp.arange(1.0, 13)[:, None])
    generate = jax.jit(FactorModel.generate_rows, static_argnums=2)

    def generated(a: float, theta: Gamma = theta) -> list[np.ndarray]:
        q = {"rows": theta, "columns": Gamma(jnp.full((9, 1), a), jnp.full((9, 1), a))}
        return [np.asarray(part, float) for part in generate(jax.random.key(0), q, 100)]

    rates, counts = generated(1e6)
    rows = np.rint(rates[:, 0]).astype(int)
    np.testing.assert_allclose(rates, np.repeat(rows[:, None], 9, axis=1), rtol=0.01)
    frequencies = np.bincount(rows, minlength=13)[1:]
    assert 0 < frequencies.min() < frequencies.max() < 25
    assert (rows != 1 + np.arange(100) % 12).mean() > 0.8
    assert abs((counts - rates).sum()) < 4 * np.sqrt(rates.sum())
    rates, _ = generated(2.0)
    assert (rates / rows[:, None]).std() == pytest.approx(np.sqrt(1 / 2), rel=0.15)
    rates, _ = generated(1.0, Gamma(jnp.ones((12, 1)), jnp.ones((12, 1))))
    assert np.abs(rates.mean(axis=0) - 1).max() < 0.6  # twice as much, were θ and β alike


@pytest.mark.parametrize("scale", [1e-29, 1e-22, 1e22])
def test_shares_do_not_mind_rates_that_leave_float32(scale):
    problem, model = make_problem("plain"), make_model("flat")
    q, batch = random_posterior(model, 0), problem.batch()
    scaled = {name: gamma.replace(rate=gamma.rate / scale) for name, gamma in q.items()}
    for update, name in ((update_rows, "rows"), (update_columns, "columns")):
        shapes, expected = (update(model, q, batch)[name].concentration for q in (scaled, q))
        np.testing.assert_allclose(shapes, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_elbo_is_the_dense_one_at_rates_below_float32(kind):
    problem, model = make_problem("exposures"), make_model(kind)
    q, batch = random_posterior(model, 0), problem.batch()
    for name in ("rows", "columns"):
        q[name] = q[name].replace(rate=q[name].rate * 1e22)
    expected = dense_elbo(model, dense(q, problem), problem)
    assert expected < -1000
    np.testing.assert_allclose(elbo(model, q, batch), expected, rtol=1e-5)


def test_shares_add_up_where_rows_and_columns_have_no_component_in_common():
    problem, model = make_problem("plain"), make_model("flat")
    means = np.full((2, 64, 3), 1e-37)
    means[0, :, 0], means[1, :, 1] = 1e-8, 1e-8
    q = {
        name: Gamma(jnp.full((64, 3), 5.0), jnp.asarray(5 / mean, float))
        for name, mean in zip(("rows", "columns"), means, strict=True)
    }
    rows = to_numpy(update_rows(model, q, problem.batch())["rows"].concentration)
    np.testing.assert_allclose((rows - 0.3).sum(axis=1)[:12], problem.counts.sum(axis=1), atol=1e-4)
