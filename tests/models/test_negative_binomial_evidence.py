"""The ELBO of negative-binomial factorization against the evidence by quadrature, on 3 × 3 counts.

Given the factors of the rows, the columns are independent:

p(x) = ∫ Π_n p(θ_n) dθ_n Π_m ∫∫ p(β_m) p(p_m) Π_n NB(x_nm; e_n θ_n · β_m, p_m) dβ_m dp_m

where each integral is a Gauss quadrature for the priors: a few nodes suffice, since a probability
is a polynomial in the factors times e^(-κ λ), and strong priors need no finer ones.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.linalg import eigh_tridiagonal

from tests.factors import Problem, to_numpy, update_columns, update_rows
from tests.models.test_negative_binomial_model import elbo, random_q
from vigamma import Beta, Gamma
from vigamma.models.factor_model import PROBABILITIES
from vigamma.models.factor_priors import FixedRatePrior
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel

COUNTS = np.array([[0, 1, 4], [2, 0, 7], [1, 3, 0]])
PROBLEM = Problem(COUNTS, np.array([0.5, 1.0, 1.5]), np.diag([False, False, True]))

WEAK = {"rows": (3.0, 2.0), "columns": (2.0, 1.0), "probabilities": (2.0, 4.0)}
STRONG = {"rows": (1e6, 1e6), "columns": (1e6, 5e5), "probabilities": (3e5, 7e5)}

Nodes = tuple[np.ndarray, np.ndarray]


def make(priors: dict[str, tuple[float, float]]) -> NegativeBinomialFactorModel:
    rows, columns, probabilities = (
        full(priors[name]) for name in ("rows", "columns", "probabilities")
    )
    return NegativeBinomialFactorModel(
        FixedRatePrior(*rows), FixedRatePrior(*columns), Beta(*probabilities)
    )


def full(values: tuple[float, float], *shape: int) -> list[jax.Array]:
    return [jnp.full(shape, value, float) for value in values]


def gauss(diagonal: np.ndarray, squares: np.ndarray) -> Nodes:
    """Nodes and weights from the recurrence of the orthogonal polynomials (Golub & Welsch 1969)."""
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(squares))
    return nodes, vectors[0] ** 2


def gamma_nodes(a: float, rate: float, seen: float, number: int) -> Nodes:
    """Those of a Gamma prior, for integrands that fall about as fast as e^(-seen x)."""
    n = np.arange(number)
    x, weights = gauss(2 * n + a, n[1:] * (n[1:] + a - 1))
    x /= rate + seen
    return x, weights * np.exp(seen * x - a * np.log1p(seen / rate))


def beta_nodes(a: float, b: float, number: int) -> Nodes:
    """Those of a Beta prior, from the Jacobi polynomials on (-1, 1)."""
    n, alpha, beta = np.arange(1, number), b - 1, a - 1
    s = 2 * n + alpha + beta
    diagonal = (beta**2 - alpha**2) / (s * (s + 2))
    squares = 4 * n * (n + alpha) * (n + beta) * (n + alpha + beta) / (s**2 * (s**2 - 1))
    t, weights = gauss(np.append((beta - alpha) / (a + b), diagonal), squares)
    return (1 + t) / 2, weights


def vectors_of(nodes: Nodes, num_factors: int) -> Nodes:
    """Nodes (T, K) and weights (T,) of K independent factors."""
    values, weights = (np.array(np.meshgrid(*[part] * num_factors)) for part in nodes)
    return values.reshape(num_factors, -1).T, weights.reshape(num_factors, -1).prod(axis=0)


def probability(count: int, r: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.exp(
        special.gammaln(count + r) - special.gammaln(r) - special.gammaln(count + 1)
        + count * np.log(p) + r * np.log1p(-p)
    )  # fmt: skip


def log_evidence(model, problem: Problem, num_factors: int, number: int) -> float:
    """log p(x) in nats, with so many nodes for each factor and probability."""
    rows, columns, prior = (
        jax.tree.map(to_numpy, part)
        for part in (model.row_prior, model.column_prior, model.probability_prior)
    )
    (theta, of_rows), (beta, of_columns) = (
        vectors_of(gamma_nodes(own.concentration, own.rate, seen, number), num_factors)
        for own, other in ((rows, columns), (columns, rows))
        for seen in [1.2 * other.concentration / other.rate]
    )
    p, of_probabilities = beta_nodes(prior.concentration1, prior.concentration0, number)
    r = (theta @ beta.T)[:, :, None] * (1 - p) / p  # nodes of a row, of a column, and of its p
    weights = np.multiply.outer(of_columns, of_probabilities)
    likelihood = np.ones([len(theta)] * 3)
    for m in range(3):
        first, second, third = (
            (np.ones_like(r) if missing else probability(count, exposure * r, p)).reshape(
                len(theta), -1
            )
            for count, exposure, missing in zip(
                problem.counts[:, m], problem.exposures, problem.missing[:, m], strict=True
            )
        )
        first *= weights.ravel()
        likelihood *= np.stack([first * row @ second.T for row in third])
    return float(np.log(np.einsum("cab,a,b,c", likelihood, *[of_rows] * 3)))


@jax.jit
def elbo_after(num_sweeps, model, q, batch):
    """The ELBO in nats after sweeps of coordinate ascent from q."""

    def sweep(_, q):
        return update_columns(model, update_rows(model, q, batch), batch)

    return model.elbo(jax.lax.fori_loop(0, num_sweeps, sweep, q), batch)


def gap(priors, counts: np.ndarray) -> float:
    """log p(x) - ELBO in nats, of the posterior of one factor that coordinate ascent ends with."""
    problem, model = PROBLEM._replace(counts=counts), make(priors)
    start = model, random_q(model, 0, num_factors=1), problem.batch()
    evidence = log_evidence(model, problem, num_factors=1, number=20)
    assert evidence - elbo_after(0, *start) > 20
    return evidence - float(elbo_after(300, *start))


def test_the_evidence_does_not_depend_on_the_number_of_nodes():
    fewer, more = (log_evidence(make(WEAK), PROBLEM, 1, number) for number in (16, 32))
    assert 0 < abs(fewer - more) < 1e-6


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_with_weak_priors_the_elbo_is_below_the_evidence_and_near_it():
    assert gap(WEAK, COUNTS) == pytest.approx(1.1945, abs=1e-4)


@pytest.mark.usefixtures("x64")
def test_with_strong_priors_the_elbo_is_the_evidence():
    assert 0 < gap(STRONG, COUNTS) < 2e-5


@pytest.mark.usefixtures("x64")
def test_of_counts_up_to_one_only_rows_may_have_weak_priors():
    """They have as many tables as customers, so that the posterior of θ_n is a Gamma."""
    assert 0 < gap(STRONG | {"rows": (0.7, 0.7)}, np.minimum(COUNTS, 1)) < 2e-5


@pytest.mark.usefixtures("x64")
def test_strong_priors_of_two_factors_are_their_posterior():
    rows, columns, probabilities = STRONG.values()
    q = {"rows": Gamma(*full(rows, 64, 2)), "columns": Gamma(*full(columns, 64, 2))}
    q[PROBABILITIES] = Beta(*full(probabilities, 64))
    model, problem = make(STRONG), PROBLEM._replace(missing=np.zeros((3, 3), bool))
    found = log_evidence(model, problem, 2, 5) - float(elbo(model, q, problem.batch()))
    assert 0 < found < 1e-4
