"""The digit zero, as in the tutorial: Adam on a Monte Carlo ELBO.

168 images of 8 × 8 pixels; the prior is the mean of 10 others, with the weight of 2 images. 64
Gamma posteriors are fitted by 5,000 Adam steps of 128 samples, and compared with the exact ones.

Command: python scripts/train.py --config configs/zero.py
Time:    9 s on 2 CPU cores, of which 1.7 s are the 5,000 steps; 7 s with programs in the cache.
Expect:  KL(q ‖ exact) of 2e-7 nats over all pixels, 1.2e-6 for the worst of the ten digits;
         log evidence -18,581.058 nats.
Source:  the tutorial, whose own loop takes 19 ms per step and is NaN from the fourth step on
         (scripts/benchmark_zero.py).
"""

from vigamma import Adam, Digits, DomainKnowledge, Experiment, GradientAscent, PathwiseElbo


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=Digits(digit=0, num_knowledge_images=10),
        model=DomainKnowledge(weight=2.0, floor=0.1),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=128, sticking_the_landing=True),
            optimizer=Adam(
                learning_rate=0.2,
                decay_steps=5000,
                final_fraction=0.001,
                second_moment_decay=0.997,
            ),
        ),
        num_steps=5000,
        log_every=100,
        save_every=1000,
        seed=0,
        tolerance=1e-5,
    )
