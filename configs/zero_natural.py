"""The digit zero by natural gradients: the exact posterior in tens of steps.

Data, prior and samples are those of `zero.py`. Instead of Adam, gradients are multiplied by the
inverse Fisher matrix of the Gamma, which has a closed form.

Command: python scripts/train.py --config configs/zero_natural.py
Time:    9 s on 2 CPU cores, nearly all of it for imports, compilation and figures.
Expect:  KL(q ‖ exact) of 1e-9 nats over all pixels after 50 steps, due to rounding in float32;
         below 1e-6 for every seed and every digit.
"""

from vigamma import (
    Digits,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    NaturalGradient,
    PathwiseElbo,
)


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=Digits(digit=0, num_knowledge_images=10),
        model=DomainKnowledge(weight=2.0, floor=0.1),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=128, sticking_the_landing=True),
            optimizer=NaturalGradient(learning_rate=0.5, max_update=1.0),
        ),
        num_steps=50,
        log_every=1,
        save_every=50,
        seed=0,
        tolerance=1e-6,
    )
