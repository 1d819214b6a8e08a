"""Compares negative-binomial with Poisson factorization: sweeps, held-out cells, an NMF, recovery.

    python scripts/benchmark_negative_binomial.py --counts COUNTS
    python scripts/benchmark_negative_binomial.py --only sweep --nonzeros 8700000 --num_factors 50
    python scripts/benchmark_negative_binomial.py --only recovery --means 0.3,3,30

`sweep` times both in turns, with the cores of the machine as devices. `heldout` fits both to the
same training counts by their defaults, and scores held-out cells, zeros and nonzeros alike. `peer`
scores thinned counts, and compares with scikit-learn's NMF of the generalized Kullback-Leibler
divergence, which is the maximum likelihood of Poisson counts, with a probability for each column
fitted afterwards. Counts are any source that `SparseCounts` reads, or, without one, synthetic
Poisson counts, or with --digits the pixels of all ten digits.

`recovery` draws 500 × 200 counts of 5 factors from the model, fits them, and draws posterior
samples. It prints the smallest cosine between a fitted factor and the true one, and the parts of
the true p_m, rates and shares of columns in factors that 90 % intervals hold, of the mean-field
posterior and of the samples.
"""

import statistics
import time

import jax
import numpy as np
from absl import flags, logging
from scipy.special import gammaln

import vigamma
from vigamma.command_line.start import start_script
from vigamma.counts.sparse import rows_of
from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.devices.mesh import make_mesh
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.diagnostics.recovery import matched_cosines, matched_factors
from vigamma.models.factor_model import PROBABILITIES
from vigamma.runs.chains import sample_posterior
from vigamma.runs.loading import fit_of

PARTS = ("sweep", "heldout", "peer", "recovery")
MODELS = {
    "Poisson": vigamma.PoissonFactorization,
    "negative binomial": vigamma.NegativeBinomialFactorization,
    "hierarchical Poisson": vigamma.HierarchicalPoissonFactorization,
    "hierarchical negative binomial": vigamma.HierarchicalNegativeBinomialFactorization,
}

_COUNTS = flags.DEFINE_string("counts", None, "What `SparseCounts` reads.")
_DIGITS = flags.DEFINE_bool("digits", False, "Whether the counts are the pixels of digits.")
_NONZEROS = flags.DEFINE_integer("nonzeros", 1_000_000, "Of synthetic counts.", lower_bound=1)
_COLUMNS = flags.DEFINE_integer("columns", None, "Only so many columns, those of largest sums.")
_FACTORS = flags.DEFINE_integer("num_factors", 20, "K.", lower_bound=1)
_FRACTION = flags.DEFINE_float("test_fraction", 0.02, "Of the cells, for `heldout`.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of ten sweeps each, for `sweep`.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", list(PARTS), "Some of " + ", ".join(PARTS))
_MEANS = flags.DEFINE_list("means", ["0.3", "3"], "Mean counts of a cell, for `recovery`.")
_SWEEPS = flags.DEFINE_integer("sweeps", 400, "Of each chain, for `recovery`.", lower_bound=200)
_SETS = flags.DEFINE_integer("sets", 2, "Data sets of each mean, for `recovery`.", lower_bound=1)
_LOG_ODDS = np.linspace(-12, 6, 91)


def main(argv):
    """Prints the tables."""
    del argv
    logging.set_verbosity(logging.WARNING)
    use_all_cores()
    keep_freed_memory()
    parts = [part for part in PARTS if part in _ONLY.value]
    if parts != ["recovery"]:
        data = load()
        print(f"{data.counts.shape[0]:,} × {data.counts.shape[1]:,}, {data.counts.nnz:,} nonzeros")
    for part in parts:
        if part == "recovery":
            recovery()
        else:
            {"sweep": sweeps, "heldout": heldout, "peer": peer}[part](data)


def load():
    """The counts, with all their columns or some."""
    if _COUNTS.value is not None:
        data = vigamma.SparseCounts(path=_COUNTS.value).load()
    elif _DIGITS.value:
        data = vigamma.DigitCounts(digit=-1).load()
    else:
        size = int(np.sqrt(_NONZEROS.value))
        data = vigamma.SyntheticFactors(
            num_rows=17 * size, num_columns=7 * size, num_nonzeros=_NONZEROS.value
        ).load()
    if _COLUMNS.value is None:
        return data
    chosen = np.sort(np.argsort(-data.counts.sum(axis=0))[: _COLUMNS.value])
    return vigamma.data.files.LoadedCounts(data.counts[:, chosen])


def experiment(model):
    """An experiment whose sweeps never end."""
    return vigamma.Experiment(
        data=vigamma.runs.in_memory.InMemory(),
        model=model(num_factors=_FACTORS.value),
        inference=vigamma.CoordinateAscent(tolerance=0),
        num_steps=1000,
        log_every=10,
    )


def sweeps(data):
    """The median seconds of a sweep, both models in turns, and their ratio in each round."""
    names = list(MODELS)[:2]
    states = [fit_of(experiment(MODELS[name]), data).start(make_mesh()) for name in names]
    for state in states:
        state.step(10)
    seconds = {name: [] for name in names}
    for _ in range(_ROUNDS.value):
        for name, state in zip(names, states, strict=True):
            started = time.perf_counter()
            state.step(10)
            jax.block_until_ready(state.arrays)
            seconds[name].append((time.perf_counter() - started) / 10)
    for name in names:
        print(f"{name}: {statistics.median(seconds[name]):.4f} s a sweep")
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def heldout(data):
    """The log-likelihood of held-out cells under each model, in nats a cell and a count."""
    split = vigamma.HeldOut(protocol="cells", test_fraction=_FRACTION.value)
    for name, model in MODELS.items():
        started = time.perf_counter()
        found = vigamma.fit(model(num_factors=_FACTORS.value), data, heldout=split)
        seconds = time.perf_counter() - started
        score = found.summary["heldout_log_likelihood"]
        test = split.split(data).test
        a_count = score * test.counts.size / test.counts.sum(dtype=float)
        sweeps = found.summary["sweeps"]
        print(
            f"{name}: {score:.5f} a cell, {a_count:.4f} a count, {sweeps} sweeps, {seconds:.0f} s"
        )


def peer(data):
    """The log-likelihood of thinned counts, in nats a count."""
    from sklearn.decomposition import NMF

    thinned = vigamma.HeldOut(protocol="thinning", test_fraction=0.2)
    split = thinned.split(data)
    for name, model in MODELS.items():
        found = vigamma.fit(model(num_factors=_FACTORS.value), data, heldout=thinned)
        print(f"{name}: {found.summary['heldout_log_likelihood']:.4f} a count")
    nmf = NMF(
        _FACTORS.value, solver="mu", beta_loss="kullback-leibler", max_iter=300, random_state=0
    )
    theta = np.maximum(nmf.fit_transform(split.train.astype(np.float32)), 1e-12)
    beta = np.maximum(nmf.components_.T, 1e-12)
    p = fitted_probabilities(theta, beta, split.train)
    for name, probabilities in (("NMF", None), ("NMF with dispersion", p)):
        score = heldout_log_likelihood(theta, beta, split, split.test, probabilities)
        print(f"{name}: {score.log_likelihood:.4f} a count")


def fitted_probabilities(theta, beta, counts):
    """The p of each column with the highest likelihood of the training counts, given the means."""
    rows, columns, x = rows_of(counts), counts.indices, counts.data.astype(float)
    means = np.maximum((theta[rows] * beta[columns]).sum(axis=1, dtype=float), 1e-12)
    sums = np.bincount(columns, x, counts.shape[1])
    expected = theta.sum(axis=0, dtype=float) @ beta.T.astype(float)
    scores = []
    for log_odds in _LOG_ODDS:
        odds = np.exp(-log_odds)  # (1 - p) / p
        terms = gammaln(x + odds * means) - gammaln(odds * means)
        zeros = odds * np.log1p(1 / odds) * expected
        scores.append(np.bincount(columns, terms, len(sums)) - sums * np.log1p(odds) - zeros)
    return 1 / (1 + np.exp(-_LOG_ODDS[np.argmax(scores, axis=0)]))


def recovery():
    """The smallest cosine of the factors, and the coverage of intervals of 90 %."""
    for mean in map(float, _MEANS.value):
        for seed in range(_SETS.value):
            rng = np.random.default_rng([seed, int(1000 * mean)])
            theta, beta, p = drawn(rng, mean)
            odds = (1 - p) / p
            rates = rng.gamma(theta @ beta.T * odds) / odds
            counts = vigamma.check_sparse_counts(rng.poisson(rates))
            spec = vigamma.NegativeBinomialFactorization(
                num_factors=theta.shape[1], row_shape=0.3, column_shape=0.3, failure_shape=2.0
            )
            q = vigamma.fit(spec, counts, num_steps=400).posterior
            model = spec.build(counts, np.ones(counts.shape[0]), 0)
            chains = vigamma.Gibbs(burn_in=100)
            samples = sample_posterior(
                model, q, counts, chains, num_sweeps=_SWEEPS.value, seed=seed
            )
            cosine = matched_cosines(np.asarray(q["columns"].mean), beta).min()
            print(f"mean count {mean:g}, set {seed}: smallest cosine of a factor {cosine:.3f}")
            names = PROBABILITIES, "rows", "columns"
            sampled = [samples.taken(name, slice(None)) for name in names]
            variational = [draws_of(q[name], rng) for name in names]
            for name, draws in (("mean-field", variational), ("sampled", sampled)):
                held = coverage(draws, (p, theta, beta), rng)
                held = ", ".join(f"{value} {share:.3f}" for value, share in held.items())
                print(f"  90 % intervals, {name}: {held}", flush=True)


def draws_of(q, rng):
    """800 draws of a latent."""
    if isinstance(q, vigamma.Beta):
        return rng.beta(q.concentration1, q.concentration0, (800, len(q.concentration1)))
    return rng.gamma(q.concentration, 1 / q.rate, (800, *q.rate.shape))


def drawn(rng, mean):
    """θ (500, 5), β (200, 5) and p (200,) from the prior under which cells have this mean."""
    theta = rng.gamma(0.3, 1 / 0.3, (500, 5))
    beta = rng.gamma(0.3, mean / 5 / 0.3, (200, 5))
    return theta, beta, np.clip(rng.beta(0.5, 2.0, 200), 1e-9, 1 - 1e-6)


def coverage(draws, truth, rng):
    """The part of the true values within the central 90 % of D draws of p, θ and β."""
    (p, theta, beta), (true_p, true_theta, true_beta) = draws, truth
    rows, columns = rng.integers(500, size=1000), rng.integers(200, size=1000)
    order = np.array([matched_factors(own, true_beta) for own in beta])[:, None]
    shares = np.take_along_axis(beta, order, axis=2)
    shares, true_shares = (b / b.sum(axis=-2, keepdims=True) for b in (shares, true_beta))
    top = np.argsort(-true_shares, axis=0)[:10]
    values = {
        "p": (p, true_p),
        "rates": (
            np.einsum("dek,dek->de", theta[:, rows], beta[:, columns]),
            (true_theta[rows] * true_beta[columns]).sum(axis=1),
        ),
        "shares": (
            np.take_along_axis(shares, top[None], axis=1),
            np.take_along_axis(true_shares, top, axis=0),
        ),
    }
    held = {}
    for name, (of_draws, true) in values.items():
        low, high = np.quantile(of_draws, [0.05, 0.95], axis=0, method="weibull")
        held[name] = ((low <= true) & (true <= high)).mean()
    return held


if __name__ == "__main__":
    start_script(main)
