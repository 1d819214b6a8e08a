"""Measures posterior samples: coverage of intervals, cost of sweeps, bounds of the evidence.

python scripts/benchmark_sampling.py --only coverage --shape 200,150,5 --num_sets 4
python scripts/benchmark_sampling.py --only new_rows --num_sets 2
python scripts/benchmark_sampling.py --only sweep --counts COUNTS.npz --num_factors 20
python scripts/benchmark_sampling.py --only evidence --shape 50,40,3 --num_sets 2

Coverage is measured on counts drawn from the model with its priors known: the share of true values
within the intervals of nominal 50, 80, 90 and 95 %, of the mean-field approximation and of Gibbs
chains that start at it. Factors are matched to the true ones by their cosines, and their scale is
fixed: θ is multiplied by Σ_m β_mk, and φ_mk is β_mk / Σ_m β_mk.
"""

import time
from collections import defaultdict

import jax
import numpy as np
from absl import flags, logging
from benchmark_problems import Problem, flat_problem
from scipy.sparse import csr_array, load_npz

import vigamma
from vigamma.command_line.start import start_script
from vigamma.data.layout.count_rows import in_order
from vigamma.devices.host import use_all_cores
from vigamma.diagnostics.recovery import matched_factors
from vigamma.inference.fold_in import fold_in
from vigamma.inference.row_samples import sample_rows
from vigamma.models.factor_gibbs import SMALLEST
from vigamma.models.factor_model import without_padding
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior
from vigamma.typing import default_float

_ONLY = flags.DEFINE_enum(
    "only", None, ["coverage", "new_rows", "sweep", "evidence"], "What to measure.", required=True
)
_SHAPE = flags.DEFINE_list("shape", ["200", "150", "5"], "N, M and K of simulated counts.")
_MEANS = flags.DEFINE_list("means", ["0.1", "1", "3"], "Mean counts of a cell.")
_NUM_SETS = flags.DEFINE_integer("num_sets", 4, "Data sets of each kind.", lower_bound=1)
_SWEEPS = flags.DEFINE_integer("num_sweeps", 200, "Sweeps of each chain.")
_BURN_IN = flags.DEFINE_integer("burn_in", 100, "Sweeps before the first one that counts.")
_COUNTS = flags.DEFINE_string("counts", None, "A matrix, .npz of SciPy; synthetic without it.")
_NONZEROS = flags.DEFINE_integer("nonzeros", 8_700_000, "Of synthetic counts, 50,000 × 20,000.")
_FACTORS = flags.DEFINE_integer("num_factors", 20, "K of --only sweep.")
_STEPS = flags.DEFINE_integer("num_steps", 2000, "Steps of a chain of --only evidence.")

_LEVELS = 0.5, 0.8, 0.9, 0.95
_NUM_CELLS = 4000
_TOP = 10
_NUM_NEW = 100


def model_of(kind: str, mean: float, num_factors: int) -> vigamma.FactorModel:
    """Priors under which a cell has this mean count."""
    scale = np.sqrt(mean / num_factors)

    def prior(shape: float):
        if kind == "flat":
            return FixedRatePrior(default_float(shape), default_float(shape / scale))
        rate = vigamma.Gamma(default_float(2.0), default_float(scale / shape))
        return RandomRatePrior(default_float(shape), rate)

    return vigamma.FactorModel(prior(0.5), prior(0.3))


def drawn(problem: Problem, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Draws of θ and β, (D, N, K) and (D, M, K), of the mean-field approximation and of chains."""
    fit = problem.fit(1e-6)
    fit.step(2000)
    kept = draws_of_chains(problem, fit, 2, seed)
    num_rows, num_columns = problem.counts.shape
    rows, columns = (np.concatenate([q[side] for q in kept]) for side in ("rows", "columns"))
    rows = np.stack([in_order(values) for values in rows[:, :num_rows]])
    q, rng = without_padding(fit.arrays.q, problem.counts.shape, True), np.random.default_rng(seed)
    variational = (
        rng.standard_gamma(q[side].concentration, (len(rows), *q[side].rate.shape)) / q[side].rate
        for side in ("rows", "columns")
    )
    return {"mean-field": tuple(variational), "sampled": (rows, columns[:, :num_columns])}


def draws_of_chains(problem: Problem, fit: vigamma.TrainState, thin: int, seed: int) -> list:
    """The latents of chains that start at the end of a fit, after the burn-in."""
    chains, kept = problem.chains(fit, vigamma.Gibbs(burn_in=_BURN_IN.value, thin=thin), seed), []
    if _BURN_IN.value:
        chains.step(_BURN_IN.value)
    while chains.num_steps + thin <= _SWEEPS.value:
        chains.step(thin)
        kept.append(jax.device_get(chains.arrays.q))
    return kept


def coverage(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of true values within the intervals of each level."""
    shares = []
    for level in _LEVELS:
        ends = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.quantile(draws, ends, axis=0, method="weibull")
        shares.append(((low <= truth) & (truth <= high)).mean())
    return np.array(shares)


def coverages(problem: Problem, theta, beta, draws, seed: int) -> dict[str, np.ndarray]:
    """Of every quantity, given the true factors and draws of them."""
    rng, (rows, columns) = np.random.default_rng(seed), draws
    counts = problem.counts.toarray()
    n, m = (rng.integers(size, size=_NUM_CELLS) for size in counts.shape)

    def of_cells(n: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.einsum("dek,dek->de", rows[:, n], columns[:, m]), (theta[n] * beta[m]).sum(axis=1)

    values, truth = of_cells(n, m)
    found = {"rates of cells": coverage(values, truth)}
    for fifth, of_fifth in enumerate(np.array_split(np.argsort(values.mean(axis=0)), 5), start=1):
        found[f"rates, fifth {fifth}"] = coverage(values[:, of_fifth], truth[of_fifth])
    unseen = np.where(counts > 0, -1, rows.mean(axis=0) @ columns.mean(axis=0).T)
    best = np.argsort(-unseen, axis=1)[:, :_TOP]
    of_best = of_cells(np.repeat(np.arange(len(best)), _TOP), best.ravel())
    found["ten best unseen"] = coverage(*of_best)
    sums = np.einsum("dnk,dk->dn", rows, columns.sum(axis=1))
    found["row sums"] = coverage(sums, theta @ beta.sum(axis=0))
    match, scale = matched_factors(columns.mean(axis=0), beta), columns.sum(axis=1, keepdims=True)
    found["θ, factors matched"] = coverage((rows * scale)[:, :, match], theta * beta.sum(axis=0))
    found["φ, factors matched"] = coverage((columns / scale)[:, :, match], beta / beta.sum(axis=0))
    return found


def measure_coverage() -> None:
    """Prints a table for each kind of model and mean count."""
    num_rows, num_columns, num_factors = map(int, _SHAPE.value)
    for kind in ("flat", "hierarchical"):
        for mean in map(float, _MEANS.value):
            tables = defaultdict(list)
            for seed in range(_NUM_SETS.value):
                model = model_of(kind, mean, num_factors)
                key = jax.random.key(seed)
                truth = model.generate_prior(key, num_rows, num_columns, num_factors)
                theta, beta, counts = (np.asarray(values) for values in truth)
                problem = Problem(csr_array(counts.astype(np.int32)), model, num_factors, seed)
                for name, draws in drawn(problem, seed).items():
                    for quantity, shares in coverages(problem, theta, beta, draws, seed).items():
                        tables[quantity, name].append(shares)
            print(f"\n{kind}, mean count {mean:g}, {_NUM_SETS.value} data sets")
            print(f"  {'nominal':<32}" + "".join(f"{100 * level:>7.0f} %" for level in _LEVELS))
            for (quantity, name), shares in sorted(tables.items()):
                line = "".join(f"{100 * share:>7.1f} %" for share in np.mean(shares, axis=0))
                print(f"  {quantity + ', ' + name:<32}{line}", flush=True)


def measure_new_rows() -> None:
    """Prints the coverage of the rates of rows that are not in a fit, by fold-in and by samples."""
    num_rows, num_columns, num_factors = map(int, _SHAPE.value)
    print(f"rates of {_NUM_NEW} new rows" + "".join(f"{100 * level:>7.0f} %" for level in _LEVELS))
    for kind in ("flat", "hierarchical"):
        for mean in map(float, _MEANS.value):
            tables = defaultdict(list)
            for seed in range(_NUM_SETS.value):
                model, key = model_of(kind, mean, num_factors), jax.random.key(seed)
                truth = model.generate_prior(key, num_rows + _NUM_NEW, num_columns, num_factors)
                theta, beta, counts = (np.asarray(values) for values in truth)
                known, new = np.split(counts.astype(np.int32), [num_rows])
                problem = Problem(csr_array(known), model, num_factors, seed)
                rng = np.random.default_rng(seed)
                n, m = (rng.integers(size, size=_NUM_CELLS) for size in new.shape)
                rates = (theta[num_rows:][n] * beta[m]).sum(axis=1)
                for name, draws in drawn_new(problem, csr_array(new), seed).items():
                    rows, columns = draws
                    values = np.einsum("dek,dek->de", rows[:, n], columns[:, m])
                    tables[name].append(coverage(values, rates))
            for name, shares in tables.items():
                line = "".join(f"{100 * share:>7.1f} %" for share in np.mean(shares, axis=0))
                print(f"  {f'{kind}, {mean:g}, {name}':<20}{line}", flush=True)


def drawn_new(problem: Problem, new: csr_array, seed: int):
    """Draws of θ of new rows and of β, by fold-in and by `sample_rows`."""
    fit, num_columns = problem.fit(1e-6), problem.counts.shape[1]
    fit.step(2000)
    q = without_padding(fit.arrays.q, problem.counts.shape, True)
    kept = draws_of_chains(problem, fit, 4, seed)
    betas = [q["columns"][:, :num_columns] for q in kept]
    rows = sample_rows(problem.model, q, [{"columns": beta} for beta in betas], new, seed=seed)
    rng, folded = np.random.default_rng(seed), fold_in(problem.model, q, new)
    variational = (
        rng.standard_gamma(of_side.concentration, (400, *of_side.rate.shape)) / of_side.rate
        for of_side in (folded["rows"], q["columns"])
    )
    sampled = np.concatenate([draw["rows"] for draw in rows]), np.concatenate(betas)
    return {"fold-in": tuple(variational), "sampled": sampled}


def measure_sweeps() -> None:
    """Prints the milliseconds of sweeps of coordinate ascent and of a chain, turn by turn."""
    if _COUNTS.value:
        counts = load_npz(_COUNTS.value)
    else:
        sizes = {"num_rows": 50_000, "num_columns": 20_000, "num_factors": 20}
        counts = vigamma.SyntheticFactors(num_nonzeros=_NONZEROS.value, **sizes).load().counts
    counts = vigamma.check_sparse_counts(counts)
    problem = flat_problem(counts, _FACTORS.value)
    fit = problem.fit(0)
    fit.step(20)
    chains = problem.chains(fit, vigamma.Gibbs(num_chains=1), 0)
    chains.step(5)
    for _ in range(5):
        seconds = []
        for state in (fit, chains):
            started = time.perf_counter()
            state.step(10)
            seconds.append((time.perf_counter() - started) / 10)
        ascent, gibbs = (1e3 * each for each in seconds)
        print(
            f"coordinate ascent {ascent:.0f} ms, Gibbs {gibbs:.0f} ms a sweep: "
            f"{gibbs / ascent:.2f} times",
            flush=True,
        )


def measure_evidence() -> None:
    """Prints the ELBO, the bounds of the log evidence, and the gap of the ELBO."""
    num_rows, num_columns, num_factors = map(int, _SHAPE.value)
    print("nats                            ELBO      lower      upper   between   gap of the ELBO")
    for kind in ("flat", "hierarchical"):
        for mean in map(float, _MEANS.value):
            for seed in range(_NUM_SETS.value):
                model, key = model_of(kind, mean, num_factors), jax.random.key(seed)
                drawn = model.generate_prior(key, num_rows, num_columns, num_factors)
                counts = csr_array(np.asarray(drawn[2], np.int32))
                problem = Problem(counts, model, num_factors, seed)
                fit = problem.fit(1e-7)
                fit.step(5000)
                q = without_padding(fit.arrays.q, counts.shape, True)
                elbo = float(model.elbo(fit.arrays.q, problem.rows))
                truth = with_rates(model, *drawn[:2], jax.random.fold_in(key, 1))
                bounds = vigamma.log_evidence_bounds(
                    model, q, counts, truth, key=key, num_steps=_STEPS.value
                )
                print(
                    f"{kind:<13} mean {mean:<4g} {elbo:>11.2f} {bounds.lower:>10.2f} "
                    f"{bounds.upper:>10.2f} {bounds.upper - bounds.lower:>9.2f} "
                    f"{bounds.lower - elbo:>8.1f} to {bounds.upper - elbo:.1f}",
                    flush=True,
                )


def with_rates(model: vigamma.FactorModel, theta, beta, key) -> dict[str, np.ndarray]:
    """The latents that counts were drawn with, with rates of the priors, as a single draw."""
    latents = {"rows": theta, "columns": beta}
    for side, prior in (("row", model.row_prior), ("column", model.column_prior)):
        factors = latents[f"{side}s"]
        rates = prior.rates_given(factors.sum(axis=1), factors.shape[1])
        if rates is not None:
            latents[f"{side}_rates"] = rates.sample(jax.random.fold_in(key, len(side)))
    return {name: np.maximum(values, SMALLEST)[None] for name, values in latents.items()}


def main(argv):
    """Measures."""
    del argv
    logging.set_verbosity(logging.WARNING)
    if _ONLY.value != "evidence":  # whose ELBO is of a single device
        use_all_cores()
    measures = {
        "coverage": measure_coverage,
        "sweep": measure_sweeps,
        "evidence": measure_evidence,
        "new_rows": measure_new_rows,
    }
    measures[_ONLY.value]()


if __name__ == "__main__":
    start_script(main)
