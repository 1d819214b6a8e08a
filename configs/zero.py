"""The digit zero, as in the tutorial: Adam on a Monte Carlo ELBO."""

from vigamma import Adam, Digits, DomainKnowledge, Experiment, GradientAscent, PathwiseElbo


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=Digits(digit=0, num_knowledge_images=10),
        model=DomainKnowledge(weight=2.0, floor=0.1),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=128, sticking_the_landing=True),
            optimizer=Adam(learning_rate=0.2, decay_steps=5000, final_fraction=0.001),
        ),
        num_steps=5000,
        log_every=100,
        save_every=1000,
        seed=0,
        tolerance=0.01,
    )
