"""Factors of handwritten zeros by black-box gradients: nothing is asked of the model but a density.

The data, the priors and the start of `digits_factors.py`. Coordinate ascent has an ELBO in which
the shares of each count are approximated, too; that of gradient ascent has not, and is higher.

Command: python scripts/train.py --config configs/digits_black_box.py
         (--config configs/digits_black_box.py:adam for Adam instead of natural gradients)
Time:    TODO
Expect:  TODO
"""

from vigamma import (
    DigitCounts,
    Experiment,
    GradientAscent,
    NaturalGradient,
    PathwiseElbo,
    PoissonFactorization,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=DigitCounts(digit=0),
        model=PoissonFactorization(num_factors=10, row_shape=3.0, column_shape=0.3),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=16),
            optimizer=NaturalGradient(learning_rate=0.1),
        ),
        num_steps=2000,
        log_every=100,
        save_every=1000,
        seed=0,
    )
