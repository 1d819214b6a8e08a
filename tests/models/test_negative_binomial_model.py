"""Negative-binomial factorization against dense NumPy float64, and explicit tables."""

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
    dense,
    dense_kl,
    in_default_precision,
    largest,
    log_gradient,
    make_model,
    make_problem,
    mean_log,
    random_posterior,
    to_numpy,
    update_columns,
    update_rows,
)
from tests.slow import slow_after
from vigamma import Beta, Gamma
from vigamma.models.factor_model import PROBABILITIES, FactorModel
from vigamma.models.factor_priors import FixedRatePrior
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel, negative_binomials

elbo = jax.jit(FactorModel.elbo)
log_joint = jax.jit(NegativeBinomialFactorModel.log_joint)


@jax.jit
def path(model, q, batch):
    """The ELBO after each update of eight sweeps, and before."""

    def sweep(q, _):
        rows = update_rows(model, q, batch)
        columns = update_columns(model, rows, batch)
        return columns, jnp.stack([model.elbo(rows, batch), model.elbo(columns, batch)])

    after = jax.lax.scan(sweep, q, length=8)[1].ravel()
    return jnp.concatenate([model.elbo(q, batch)[None], after])


def make(kind: str) -> NegativeBinomialFactorModel:
    plain = make_model(kind)
    prior = in_default_precision(Beta(np.float64(0.7), np.float64(2.5)))
    return NegativeBinomialFactorModel(
        row_prior=plain.row_prior, column_prior=plain.column_prior, probability_prior=prior
    )


def random_q(model, seed: int, **sizes: int):
    q = random_posterior(model, seed, **sizes)
    shapes = np.exp(np.random.default_rng(seed + 9).uniform(-1, 2, (2, len(q["columns"].rate))))
    return q | {PROBABILITIES: in_default_precision(Beta(*shapes))}


def moments(q: Beta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[log p], E[log (1-p)], and the mean of -log(1-p) (1-p) / p by quadrature."""
    a, b = q.concentration1, q.concentration0
    log_p, log_complement = (special.digamma(x) - special.digamma(a + b) for x in (a, b))
    t = np.linspace(-60, 60, 6_001)[:, None]  # the log-odds
    p, complement = special.expit(t), special.expit(-t)
    log_density = a * special.log_expit(t) + b * special.log_expit(-t) - special.betaln(a, b)
    exposure = np.where(t < -30, 1.0, -special.log_expit(-t) * complement / p)
    return log_p, log_complement, (np.exp(log_density) * exposure).sum(axis=0) * (t[1] - t[0])


def dense_elbo(model, q, problem: Problem, tables: np.ndarray | None = None) -> float:
    """The ELBO of q in nats; with fixed `tables` (N, M, K), that part of it which they leave.

    The latter is Σ l (E[log θ] + E[log β] + E[log ρ]) in place of log(Γ(x + r̃) / Γ(r̃)).
    """
    x, prior = problem.counts, jax.tree.map(to_numpy, model.probability_prior)
    log_p, log_complement, exposure = moments(q[PROBABILITIES])
    log_odds = log_complement - log_p
    logs = mean_log(q["rows"])[:, None] + mean_log(q["columns"]) + log_odds[:, None]
    logs = logs + np.log(problem.exposures)[:, None, None]
    r = np.exp(logs).sum(axis=2)
    if tables is None:
        of_cells = special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1)
    else:
        of_cells = (tables * logs).sum(axis=2)
    of_cells = of_cells + x * log_p
    of_cells -= exposure * problem.exposures[:, None] * (q["rows"].mean @ q["columns"].mean.T)
    sides = (model.row_prior, "rows", "row_rates"), (model.column_prior, "columns", "column_rates")
    divergence = sum(dense_kl(prior, q[name], q.get(rates)) for prior, name, rates in sides)
    a, b = q[PROBABILITIES].concentration1, q[PROBABILITIES].concentration0
    c, d = prior.concentration1, prior.concentration0
    of_beta = (
        special.betaln(c, d) - special.betaln(a, b) + (a - c) * log_p + (b - d) * log_complement
    )
    return of_cells[~problem.missing].sum() - divergence - of_beta.sum()


def expected_tables(q, problem: Problem) -> np.ndarray:
    log_p, log_complement, _ = moments(q[PROBABILITIES])
    logs = mean_log(q["rows"])[:, None] + mean_log(q["columns"])
    weights = np.exp(logs + (log_complement - log_p)[:, None]) * problem.exposures[:, None, None]
    r = weights.sum(axis=2)
    slope = special.digamma(r + problem.counts) - special.digamma(r)
    return weights * slope[:, :, None]


@pytest.mark.parametrize("case", slow_after(1, CASES))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("in_x64", "rtol"), [pytest.param(False, 1e-5, marks=pytest.mark.nightly), (True, 1e-7)]
)
def test_the_elbo_is_the_dense_one(kind, case, in_x64, rtol):
    problem = make_problem(case)
    with jax.enable_x64(in_x64):
        model, batch = make(kind), problem.batch()
        for seed in range(3):
            q = random_q(model, seed)
            expected = dense_elbo(model, dense(q, problem), problem)
            np.testing.assert_allclose(elbo(model, q, batch), expected, rtol=rtol)


@pytest.mark.parametrize(("in_x64", "atol"), [(False, 1e-5), (True, 1e-8)])
def test_the_numbers_of_tables_are_summed_out(in_x64, atol):
    """A count alone: the log of Σ_l |s(x, l)| r^l, from the recurrence of Stirling numbers."""
    for x in (1, 2, 5, 30):
        stirling = np.zeros(x + 1)  # of the first kind, unsigned
        stirling[0] = 1
        for n in range(x):
            stirling = n * stirling + np.roll(stirling, 1) * (np.arange(x + 1) > 0)
        with jax.enable_x64(in_x64):
            model = make("flat")
            q = random_q(model, x, num_factors=2)
            problem = Problem(np.full((1, 1), x), np.ones(1), np.zeros((1, 1), bool))
            plain = dense(q, problem)
            nothing = dense_elbo(model, plain, problem._replace(counts=np.zeros((1, 1))))
            got = float(elbo(model, q, problem.batch())) - nothing
        log_p, log_complement, _ = moments(plain[PROBABILITIES])
        logs = mean_log(plain["rows"]) + mean_log(plain["columns"]) + log_complement - log_p
        r = np.exp(logs).sum()
        tables = np.arange(1, x + 1)
        of_tables = special.logsumexp(np.log(stirling[1:]) + tables * np.log(r))
        expected = of_tables - special.gammaln(x + 1) + x * log_p[0]
        np.testing.assert_allclose(got, expected, atol=atol * max(1, abs(expected)) * 10)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", ["row", "column"])
@pytest.mark.parametrize(("kind", "case"), [("flat", "plain"), (KINDS[1], CASES[-1])])
def test_a_conditional_is_the_best_given_the_rest_and_the_tables(kind, case, side):
    """Its gradient is 0, in every logarithm of a shape or rate, and was not before."""
    problem, model = make_problem(case), make(kind)
    before = random_q(model, 0)
    after = (update_rows if side == "row" else update_columns)(model, before, problem.batch())
    tables = expected_tables(dense(before, problem), problem)
    rest = {n: g for n, g in dense(before, problem).items() if n != f"{side}s"}

    def gradient(q):
        def value(part) -> float:
            return dense_elbo(model, rest | part, problem, tables)

        return log_gradient(value, {f"{side}s": dense(q, problem)[f"{side}s"]})

    assert largest(gradient(before)) > 5
    assert largest(gradient(after)) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("number", [40, pytest.param(200, marks=pytest.mark.nightly)])
def test_no_update_lowers_the_elbo_in_small_problems(number):
    rose = 0.0
    for seed in range(number):
        rng = np.random.default_rng(seed)
        kind, case = KINDS[seed % 2], ("plain", "exposures and missing")[seed // 2 % 2]
        problem = make_problem(case)
        means = rng.gamma(0.5, 2.0, problem.counts.shape)
        odds = rng.gamma(0.5, 2.0) + 0.01
        problem.counts[:] = rng.poisson(rng.gamma(means * odds) / odds)
        problem.counts[0, 0] = 3
        problem.counts[problem.missing] = 0
        model, batch = make(kind), problem.batch(block_slots=1024)
        q = random_q(model, seed)
        values = np.asarray(path(model, q, batch))
        rises = np.diff(values)
        assert rises.min() > -1e-9 * abs(values[-1]), seed
        rose += values[-1] - values[0]
    assert rose > 10 * number


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", slow_after(1, CASES))
@pytest.mark.parametrize("kind", slow_after(1, KINDS))
def test_the_log_joint_is_the_dense_one(kind, case):
    problem, model = make_problem(case), make(kind)
    rng = np.random.default_rng(1)
    q = random_q(model, 1, num_columns=9)
    logs = {n: jnp.log(g.mean) for n, g in q.items() if n != PROBABILITIES}
    p = rng.uniform(0.05, 0.95, 9)
    got = log_joint(model, logs | {PROBABILITIES: jnp.log(p)}, problem.batch())
    num_rows = len(problem.counts)
    theta = np.exp(to_numpy(logs["rows"]))[:num_rows]
    means = problem.exposures[:, None] * (theta @ np.exp(to_numpy(logs["columns"])).T)
    of_cells = scipy.stats.nbinom(means * (1 - p) / p, 1 - p).logpmf(problem.counts)
    expected = of_cells[~problem.missing].sum()
    expected += scipy.stats.beta(0.7, 2.5).logpdf(p).sum()
    rates = {side: logs.get(f"{side}_rates") for side in ("row", "column")}
    some = jax.tree.map(lambda leaf: leaf[:num_rows], (logs["rows"], rates["row"]))
    expected += float(model.row_prior.log_prob(*some).sum())
    expected += float(model.column_prior.log_prob(logs["columns"], rates["column"]).sum())
    np.testing.assert_allclose(got, expected, rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_with_probabilities_near_zero_it_is_the_poisson_model():
    problem = make_problem("exposures and missing")
    model, plain = make("flat"), make_model("flat")
    small = in_default_precision(Beta(np.full(64, 1e3), np.full(64, 1e9)))
    model = model.replace(probability_prior=jax.tree.map(lambda leaf: leaf[0], small))
    q = random_posterior(plain, 0)
    both = elbo(model, q | {PROBABILITIES: small}, problem.batch())
    np.testing.assert_allclose(both, elbo(plain, q, problem.batch()), rtol=1e-4)


@pytest.mark.slow
def test_counts_have_the_mean_and_the_variance_of_the_model():
    means = jnp.full((200_000, 3), jnp.asarray([0.5, 3.0, 20.0]))
    p = jnp.asarray([0.2, 0.5, 0.9])
    x = np.asarray(
        negative_binomials(jax.random.key(0), means, jnp.broadcast_to(p, means.shape)), float
    )
    errors = x.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(x.mean(axis=0) - np.asarray(means[0])) < 4 * errors).all()
    np.testing.assert_allclose(x.var(axis=0), np.asarray(means[0] / (1 - p)), rtol=0.03)


@pytest.mark.slow
def test_rows_are_drawn_like_their_counts():
    q = {
        "rows": Gamma(np.full((1, 1), 1e6), np.full((1, 1), 1e6)),
        "columns": Gamma(np.full((2, 1), 4e6), np.full((2, 1), 1e6)),
        PROBABILITIES: Beta(np.array([1e6, 8e6]), np.array([1e6, 2e6])),
    }
    q = in_default_precision(q)
    means, counts = NegativeBinomialFactorModel.generate_rows(jax.random.key(1), q, 20_000)
    np.testing.assert_allclose(means, 4.0, rtol=0.01)
    np.testing.assert_allclose(np.var(np.asarray(counts), axis=0), [8.0, 20.0], rtol=0.06)


def test_a_prior_of_rows_learned_keeps_the_prior_of_probabilities():
    model, batch = make("flat"), make_problem().batch()
    q = random_q(model, 0)
    statistics = model.statistics(q, model.table(q, batch.is_column), batch)
    learned = model.learned(statistics, model.column_statistics(q, batch.is_column))
    assert isinstance(learned.row_prior, FixedRatePrior)
    assert learned.probability_prior is model.probability_prior
    assert float(learned.row_prior.rate) != float(model.row_prior.rate)
