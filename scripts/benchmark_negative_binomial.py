"""Compares negative-binomial with Poisson factorization: sweeps, held-out cells, and an NMF.

    python scripts/benchmark_negative_binomial.py --counts COUNTS
    python scripts/benchmark_negative_binomial.py --only sweep --nonzeros 8700000 --num_factors 50

`sweep` times both in turns, with the cores of the machine as devices. `heldout` fits both to the
same training counts by their defaults, and scores held-out cells, zeros and nonzeros alike. `peer`
scores thinned counts, and compares with scikit-learn's NMF of the generalized Kullback-Leibler
divergence, which is the maximum likelihood of Poisson counts, with a probability for each column
fitted afterwards. Counts are any source that `SparseCounts` reads, or, without one, synthetic
Poisson counts, or with --digits the pixels of all ten digits.
"""

import statistics
import time

import jax
import numpy as np
from absl import app, flags, logging
from scipy.special import gammaln

import vigamma
from vigamma.counts.sparse import rows_of
from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.devices.mesh import make_mesh
from vigamma.diagnostics.predictive import heldout_log_likelihood
from vigamma.runs.loading import fit_of

PARTS = ("sweep", "heldout", "peer")
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
_LOG_ODDS = np.linspace(-12, 6, 91)


def main(argv):
    """Prints the tables."""
    del argv
    logging.set_verbosity(logging.WARNING)
    use_all_cores()
    keep_freed_memory()
    data = load()
    print(f"{data.counts.shape[0]:,} × {data.counts.shape[1]:,}, {data.counts.nnz:,} nonzeros")
    for part in PARTS:
        if part in _ONLY.value:
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


if __name__ == "__main__":
    app.run(main)
