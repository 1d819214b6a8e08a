"""Factors of large counts by stochastic variational inference: streamed minibatches of rows.

The synthetic counts are an example of counts that exceed the memory of a device: only the posterior
and two minibatches are on the device. A fifth of the counts is held out by thinning.

Command: python scripts/train.py --config configs/stochastic_factors.py
Time:    20 s on 2 CPU cores.
Expect:  ELBO -8,432,500 nats; held-out log-likelihood -5.770 nats per count, of independent columns
         -6.543. The ELBO in lines of progress is an estimate from one minibatch, and noisy.
"""

from vigamma import (
    Experiment,
    HeldOut,
    HierarchicalPoissonFactorization,
    StochasticVariationalInference,
    SyntheticFactors,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=SyntheticFactors(
            num_rows=50_000, num_columns=5000, num_factors=20, num_nonzeros=2_000_000
        ),
        heldout=HeldOut(protocol="thinning", test_fraction=0.2, valid_fraction=0.0),
        model=HierarchicalPoissonFactorization(num_factors=20, row_shape=0.3, column_shape=0.3),
        inference=StochasticVariationalInference(),
        num_steps=490,
        log_every=49,
        save_every=490,
        seed=0,
    )
