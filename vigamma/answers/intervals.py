"""Which credible intervals an answer has: of posterior samples, or of the mean-field posterior.

What intervals of 90 % hold, in percent of the true values, by the mean count of a cell. Counts are
drawn from the model with its priors known, 200 × 150 with 5 factors, four sets of each kind
(`scripts/benchmark_sampling.py --only coverage --num_sets 4`):

                                     mean-field             sampled
mean count                        0.1     1     3       0.1     1     3
flat          rates              75.0  73.9  73.5      88.9  88.8  89.0
              ten best unseen    70.6  77.9  72.7      88.9  89.3  88.9
              θ of a row         67.5  68.5  66.5      89.3  89.0  89.7
              shares φ           61.2  62.1  59.4      89.2  89.4  88.8
              row sums           90.2  88.5  90.1      88.6  87.8  90.5
hierarchical  rates              80.5  74.9  74.3      89.8  89.8  89.5
              ten best unseen    76.5  78.2  76.4      90.2  89.7  89.3
              θ of a row         74.3  69.5  67.3      90.6  88.9  89.7
              shares φ           65.8  62.6  59.6      89.7  89.2  89.3
              row sums           87.9  90.5  88.0      89.1  90.3  88.5
"""

from vigamma.errors import ConfigError
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals, Samples
from vigamma.terminal.invocation import command


def of_mean_field(held: int, values: str) -> str:
    """What is said of intervals of the mean-field posterior, which held so many % of the values."""
    return (
        f"(mean-field intervals are too narrow: in simulations those of 90 % held {held} % of the "
        f"true {values}; `{command('sample')}` mends that)"
    )


def samples_for(run: FittedRun, intervals: Intervals | None) -> Samples | None:
    """The samples that intervals are made from; None for variational ones.

    Raises:
      ConfigError: if samples are wanted that the run does not have.
    """
    if intervals == "sampled" and run.samples is None:
        raise ConfigError(
            f"the run has no posterior samples of its best start: `{command('sample')}` draws them"
        )
    is_wanted = intervals == "sampled" or (intervals is None and not run.others)
    return run.samples if is_wanted else None
