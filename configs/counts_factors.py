"""Factors of your own sparse counts: documents × terms, cells × genes, users × items.

Hierarchical Poisson factorization by coordinate ascent. A fifth of the counts is held out by
binomial thinning: the score covers all cells, on counts that are independent given the rates.

Command: python scripts/train.py --config configs/counts_factors.py --config.data.path=counts.npz
         (or ratings.csv, cells.h5ad, a folder of Cell Ranger, docword.txt, ...: `SparseCounts` has
         the list; ratings in half stars need --config.data.at_least=4 --config.data.binary=True. A
         folder's own train, valid and test files are used with --config.heldout.protocol=entries)
Time:    20 Newsgroups (18,774 × 55,911, 2.4 million nonzeros), K = 20: 7 s on 2 CPU cores.
Expect:  20 Newsgroups: held-out log-likelihood -3.878 nats per count (K = 50: -3.784); with the
         protocol `entries`, and the validation counts of the folder, -5.245 (K = 20) and -5.119
         (K = 50) nats per nonzero. A mixture of five starts (--config.num_starts=5): -3.853,
         -3.750, -5.185 and -5.038.
"""

from vigamma import (
    CoordinateAscent,
    Experiment,
    HeldOut,
    HierarchicalPoissonFactorization,
    SparseCounts,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=SparseCounts(path=""),
        heldout=HeldOut(protocol="thinning", test_fraction=0.2),
        model=HierarchicalPoissonFactorization(num_factors=20),
        inference=CoordinateAscent(tolerance=1e-5, stop_on_validation=True),
        num_steps=500,
        log_every=10,
        save_every=100,
        seed=0,
    )
