"""Factors of handwritten zeros, with correlated pixels, where `zero.py` has independent ones.

178 images of 8 × 8 pixels. A fifth of all cells, including blank ones, is masked out of the
likelihood, and scores the fit and the best rates of independent pixels.

Command: python scripts/train.py --config configs/digits_factors.py
Time:    8 s on 2 CPU cores.
Expect:  held-out log-likelihood -1.51 nats per cell; of independent pixels -1.74.
"""

from vigamma import CoordinateAscent, DigitCounts, Experiment, HeldOut, PoissonFactorization


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=DigitCounts(digit=0),
        heldout=HeldOut(protocol="cells", test_fraction=0.2),
        model=PoissonFactorization(num_factors=10, row_shape=3.0, column_shape=0.3),
        inference=CoordinateAscent(tolerance=1e-6),
        num_steps=1000,
        log_every=10,
        save_every=100,
        seed=0,
    )
