"""Factors of counts that vary more than Poisson counts of the same means: negative binomials.

The variance of column m is 1 / (1 - p_m) times its mean, and p_m is learned with the factors; where
counts are Poisson counts, p_m goes to 0. All answers are those of `counts_factors.py`.

Command: python scripts/train.py --config configs/counts_negative_binomial.py
         --config.data.path=COUNTS
Time:    20 Newsgroups (18,774 × 55,911), K = 20: 15 s on 2 CPU cores.
Expect:  20 Newsgroups: held-out log-likelihood -3.501 nats per count, where `counts_factors.py` has
         -3.878; of independent Poisson columns -4.964.
"""

from vigamma import (
    CoordinateAscent,
    Experiment,
    HeldOut,
    HierarchicalNegativeBinomialFactorization,
    SparseCounts,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=SparseCounts(path=""),
        heldout=HeldOut(protocol="thinning", test_fraction=0.2),
        model=HierarchicalNegativeBinomialFactorization(num_factors=20),
        inference=CoordinateAscent(tolerance=1e-5, stop_on_validation=True),
        num_steps=500,
        log_every=10,
        save_every=100,
        seed=0,
    )
