"""Factors of handwritten zeros by black-box gradients, which need only the density of a model.

The data, the priors and the start are those of `digits_factors.py`. Coordinate ascent maximizes a
looser bound, with a posterior of how each count is split among the factors; gradient ascent
maximizes the ELBO itself, and ends higher.

Command: python scripts/train.py --config configs/digits_black_box.py
         (configs/digits_black_box.py:adam for Adam instead of natural gradients, and
         configs/digits_black_box.py:analytic for the exact gradient of coordinate ascent's bound)
Time:    30 s on 2 CPU cores; 70 s with Adam.
Expect:  ELBO -15,087 nats (with Adam -15,063), held-out log-likelihood -1.48 nats per cell. The
         posterior of `digits_factors.py` has -15,619. Analytic: -15,830, like coordinate ascent
         without extrapolation.
"""

from vigamma import (
    Adam,
    AnalyticElbo,
    DigitCounts,
    Experiment,
    GradientAscent,
    HeldOut,
    NaturalGradient,
    PathwiseElbo,
    PoissonFactorization,
)

BY_SAMPLES = PathwiseElbo(num_samples=16)
CHOICES = {
    "natural": (BY_SAMPLES, NaturalGradient(learning_rate=0.3), 1000),
    "adam": (BY_SAMPLES, Adam(learning_rate=0.1, decay_steps=3000), 3000),
    "analytic": (AnalyticElbo(), NaturalGradient(learning_rate=0.3), 5000),
}


def get_config(choice: str = "natural") -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    estimator, optimizer, num_steps = CHOICES[choice]
    return Experiment(
        data=DigitCounts(digit=0),
        heldout=HeldOut(protocol="cells", test_fraction=0.2),
        model=PoissonFactorization(num_factors=10, row_shape=3.0, column_shape=0.3),
        inference=GradientAscent(estimator=estimator, optimizer=optimizer),
        num_steps=num_steps,
        log_every=100,
        save_every=1000,
        seed=0,
    )
