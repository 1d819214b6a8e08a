"""The counts of a run, loaded again."""

import dataclasses

from vigamma.errors import CheckpointError, ConfigError
from vigamma.fits.factors import FactorFit
from vigamma.fitted import FittedRun
from vigamma.train import load_fit


def load_run_data(run: FittedRun, path: str | None = None) -> FactorFit:
    """Loads the counts that a run was fitted to, split as they were then.

    Args:
      run: from `load_run`.
      path: where the data are now, if they have moved.

    Raises:
      ConfigError: if they cannot be loaded.
      CheckpointError: if they are not what the run was fitted to.
    """
    config = run.config
    if path is not None:
        if not hasattr(config.data, "path"):
            raise ConfigError(f"{type(config.data).__name__}, the data of the run, have no path")
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=path))
    try:
        fit = load_fit(config)
    except ConfigError as error:
        raise ConfigError(f"the counts of the run cannot be loaded again: {error}") from error
    stored = {name: run.identity.get(name) for name in fit.identity}
    if stored != fit.identity:
        changes = "; ".join(
            f"{name}: {stored[name]} → {value}"
            for name, value in fit.identity.items()
            if stored[name] != value
        )
        raise CheckpointError(
            f"the data are no longer those that the run was fitted to ({changes})"
        )
    return fit
