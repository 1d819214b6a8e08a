"""Which credible intervals an answer has: of posterior samples, or of the mean-field posterior."""

from vigamma.errors import ConfigError
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals, Samples

MEAN_FIELD_INTERVALS = (
    "(mean-field intervals are too narrow: in simulations those of 90 % held {held} % of the "
    "true {values}; see scripts/sample.py)"
)
"""What is said of intervals of the mean-field posterior."""


def samples_for(run: FittedRun, intervals: Intervals | None) -> Samples | None:
    """The samples that intervals are made from; None for variational ones.

    Raises:
      ConfigError: if samples are wanted that the run does not have.
    """
    if intervals == "sampled" and run.samples is None:
        raise ConfigError(
            "the run has no posterior samples of its best start: scripts/sample.py draws them"
        )
    is_wanted = intervals == "sampled" or (intervals is None and not run.others)
    return run.samples if is_wanted else None
