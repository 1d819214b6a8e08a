"""Small factorizations, and their ELBO written densely, in NumPy and SciPy float64."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from scipy.sparse import csr_array

from vigamma import Gamma
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.layout.count_rows import CountRows, lay_out_rows, padded_rows
from vigamma.families.beta import Beta
from vigamma.models.factor_model import FactorModel, Posterior, random_perturbations
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel

KINDS = ("flat", "hierarchical")
NEGATIVE_BINOMIAL = "negative binomial"
"""Hierarchical, too."""
CASES = ("plain", "exposures", "missing", "exposures and missing")


class Problem(NamedTuple):
    """Dense counts (N, M), 0 where they are missing; exposures (N,); which cells are missing."""

    counts: np.ndarray
    exposures: np.ndarray
    missing: np.ndarray

    def batch(self, *, num_shards: int = 1, block_slots: int = 64) -> CountRows:
        """The same, laid out, in JAX's default precision."""
        batch = lay_out_rows(
            check_sparse_counts(self.counts),
            self.exposures,
            csr_array(self.missing.astype(np.uint8)) if self.missing.any() else None,
            num_shards=num_shards,
            block_slots=block_slots,
        )
        return in_default_precision(batch)

    def initial(self, model: FactorModel, num_factors: int, seed: int = 0) -> Posterior:
        """Where a fit may start; padded."""
        sizes = tuple(padded_rows(size, 1) for size in self.counts.shape)
        return model.initial(
            random_perturbations(seed, check_sparse_counts(self.counts), sizes, num_factors)
        )


def make_problem(case: str = "plain", num_rows: int = 12, num_columns: int = 9) -> Problem:
    """Counts of which one row and one column are empty, as are nearly half of the cells."""
    rng = np.random.default_rng(5)
    rates = rng.gamma(0.5, 2.0, (num_rows, 3)) @ rng.gamma(0.5, 1.5, (3, num_columns))
    counts = rng.poisson(rates)
    counts[3], counts[:, 4] = 0, 0
    missing = (rng.random(counts.shape) < 0.2) & ("missing" in case)
    # Eighths are exact in float32.
    exposures = rng.integers(2, 30, num_rows) / 8 if "exposures" in case else np.ones(num_rows)
    return Problem(np.where(missing, 0, counts), exposures, missing)


def make_model(kind: str) -> FactorModel:
    """A model whose prior parameters all differ from each other and from 1."""

    def scalars(*values: float) -> list[jax.Array]:
        return [jnp.asarray(value, jnp.result_type(float)) for value in values]

    if kind == "flat":
        priors = [FixedRatePrior(*scalars(*v)) for v in ((0.3, 0.7), (0.5, 1.3))]
    else:
        priors = [
            RandomRatePrior(c, Gamma(a, b))
            for c, a, b in (scalars(0.3, 1.2, 0.8), scalars(0.4, 2.5, 1.5))
        ]
    if kind == NEGATIVE_BINOMIAL:
        return NegativeBinomialFactorModel(*priors, Beta(*scalars(1.3, 2.1)))
    return FactorModel(*priors)


def random_posterior(
    model: FactorModel,
    seed: int,
    *,
    num_factors: int = 3,
    num_rows: int = 64,
    num_columns: int = 64,
):
    """Gammas far from any optimum, all different; by default of the padded shapes."""
    rng = np.random.default_rng(seed)

    def gamma(*shape: int) -> Gamma:
        return in_default_precision(Gamma(*np.exp(rng.uniform(-1.2, 1.2, (2, *shape)))))

    q = {"rows": gamma(num_rows, num_factors), "columns": gamma(num_columns, num_factors)}
    if isinstance(model.row_prior, RandomRatePrior):
        q |= {"row_rates": gamma(num_rows), "column_rates": gamma(num_columns)}
    return q


def in_default_precision(tree):
    """A copy on the device, its floats in JAX's default precision."""

    def put(leaf):
        is_float = np.issubdtype(leaf.dtype, np.floating)
        return jnp.asarray(leaf, jnp.result_type(float) if is_float else leaf.dtype)

    return jax.tree.map(put, tree)


@jax.jit
def update_rows(model: FactorModel, q: Posterior, batch: CountRows) -> Posterior:
    """q with the rows at their complete conditionals."""
    return model.with_local_conditionals(q, model.table(q, batch.is_column), batch)


@jax.jit
def update_columns(model: FactorModel, q: Posterior, batch: CountRows) -> Posterior:
    """q with the columns at their complete conditionals."""
    statistics = model.statistics(q, model.table(q, batch.is_column), batch)
    return model.with_global_conditionals(q, statistics)


def dense(q, problem: Problem):
    """q in NumPy float64, without the rows and columns that only pad."""
    num_rows, num_columns = problem.counts.shape
    sizes = {"rows": num_rows, "row_rates": num_rows}

    def part(name: str, leaf) -> np.ndarray:
        return to_numpy(leaf)[: sizes.get(name, num_columns)]

    return {name: jax.tree.map(partial(part, name), latent) for name, latent in q.items()}


def to_numpy(leaf) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def mean_log(q: Gamma) -> np.ndarray:
    return special.digamma(q.concentration) - np.log(q.rate)


def best_split(q) -> np.ndarray:
    """The q(z) with the highest ELBO: the probability of each component, shape (N, M, K)."""
    log_rates = mean_log(q["rows"])[:, None] + mean_log(q["columns"])
    return special.softmax(log_rates, axis=2)


def dense_elbo(model: FactorModel, q, problem: Problem, split: np.ndarray | None = None) -> float:
    """The ELBO of q(θ) q(β) ... and of multinomial z with the probabilities `split`, in nats.

    E[log p(x, z | θ, β)] - E[log q(z)] = Σ x_nm Σ_k s_nmk (log e_n + E[log θ] + E[log β] - log s)
    - log x_nm! - e_n E[θ] E[β]: the log z! of both sides are the same.
    """
    split = best_split(q) if split is None else split
    exposures = problem.exposures[:, None]
    log_rates = mean_log(q["rows"])[:, None] + mean_log(q["columns"])
    of_cells = problem.counts * (split * log_rates + special.entr(split)).sum(axis=2)
    of_cells += problem.counts * np.log(exposures) - special.gammaln(problem.counts + 1)
    of_cells -= exposures * (q["rows"].mean @ q["columns"].mean.T)
    sides = (model.row_prior, "rows", "row_rates"), (model.column_prior, "columns", "column_rates")
    divergence = sum(dense_kl(prior, q[name], q.get(rates)) for prior, name, rates in sides)
    return of_cells[~problem.missing].sum() - divergence


def dense_kl(prior: FixedRatePrior | RandomRatePrior, factors: Gamma, rates: Gamma | None) -> float:
    """E[log q] - E[log p], term by term."""
    prior = jax.tree.map(to_numpy, prior)
    if rates is None:
        rate, log_rate, of_rates = prior.rate, np.log(prior.rate), 0.0
    else:
        rate, log_rate = rates.mean[:, None], mean_log(rates)[:, None]
        of_rates = -entropy(rates).sum() - expected_log_density(
            prior.rate.concentration, prior.rate.rate, np.log(prior.rate.rate), rates
        )
    density = expected_log_density(prior.concentration, rate, log_rate, factors)
    return of_rates - entropy(factors).sum() - density


def expected_log_density(concentration, rate, log_rate, q: Gamma) -> float:
    """E[log Gamma(x; concentration, rate)], summed, for the expected rate and log rate."""
    return (
        concentration * log_rate
        - special.gammaln(concentration)
        + (concentration - 1) * mean_log(q)
        - rate * q.mean
    ).sum()


def entropy(q: Gamma) -> np.ndarray:
    a = q.concentration
    return a - np.log(q.rate) + special.gammaln(a) + (1 - a) * special.digamma(a)


def log_gradient(function, tree, step: float = 1e-4):
    """The gradient of a function of NumPy arrays in their logarithms, by central differences."""
    leaves, structure = jax.tree.flatten(tree)
    gradient = []
    for i, leaf in enumerate(leaves):

        def at(factor, index, i=i, leaf=leaf):
            moved = np.array(leaf)
            moved[index] *= np.exp(factor)
            return function(jax.tree.unflatten(structure, [*leaves[:i], moved, *leaves[i + 1 :]]))

        slopes = [(at(step, n) - at(-step, n)) / (2 * step) for n in np.ndindex(leaf.shape)]
        gradient.append(np.reshape(slopes, leaf.shape))
    return jax.tree.unflatten(structure, gradient)


def largest(tree) -> float:
    return max(np.abs(leaf).max() for leaf in jax.tree.leaves(tree))
