"""Topics of the docstrings of scikit-learn: real documents, on every machine, without a download.

Functions and classes are documents. `--config.data.package=scipy` reads another package.

Command: python scripts/train.py --config configs/docstrings.py
         python scripts/topics.py --workdir checkpoints/docstrings --top 6
Time:    5 s on 2 CPU cores.
Expect:  scikit-learn 1.9.1 (761 documents, 3,283 words): held-out log-likelihood -2.901 nats per
         count; of independent columns -3.881.
"""

from vigamma import (
    CoordinateAscent,
    Docstrings,
    Experiment,
    HeldOut,
    HierarchicalPoissonFactorization,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=Docstrings(),
        heldout=HeldOut(protocol="thinning", test_fraction=0.2),
        model=HierarchicalPoissonFactorization(num_factors=12),
        inference=CoordinateAscent(tolerance=1e-5),
        num_steps=500,
        log_every=10,
        save_every=100,
        seed=0,
    )
