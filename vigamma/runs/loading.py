"""Loading of the data of a config, and construction of the fit of its model."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vigamma.contracts import Factorization, SparseData, StartingModel, missing_members
from vigamma.counts.names import numbered
from vigamma.data.files import LoadedCounts, SparseCounts, as_rules_for
from vigamma.data.split_data import SplitData
from vigamma.errors import CheckpointError, ConfigError
from vigamma.runs.black_box import BlackBoxFit
from vigamma.runs.conjugate import ConjugateFit
from vigamma.runs.experiment import Experiment
from vigamma.runs.factors import FactorFit
from vigamma.runs.fit import Fit
from vigamma.runs.fitted import FittedFactors, FittedRun


def load_fit(config: Experiment, say: Callable[[str], None] = lambda _: None) -> Fit:
    """Loads the data and builds the model; raises ConfigError if they are not usable.

    `say` is called with notes about the data, one line each, and with the name of a large file.
    """
    return fit_of(config, load_data(config.data, say), say)


def load_data(source: Any, say: Callable[[str], None] = lambda _: None) -> Any:
    """The data of a source; raises ConfigError if they cannot be loaded."""
    try:
        if hasattr(source, "announcement") and (line := source.announcement()):
            say(line)
        data = source.load()
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"config.data: {error}") from error
    for note in getattr(data, "notes", ()):
        say(note)
    return data


def fit_of(config: Experiment, data: Any, say: Callable[[str], None] = lambda _: None) -> Fit:
    """The fit of a model to loaded data; its class depends on the contract of the model.

    `say` is called with a note if a rule to stop by validation counts cannot hold.

    Raises:
      ConfigError: if the model does not take these data, or lacks a required member.
    """
    try:
        fit = _checked(_fit_of(config, data), config.inference)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.model: {error}") from error
    if isinstance(fit, FactorFit) and fit.data.split.valid is None:
        _note_of_validation(config, say)
    return fit


def _note_of_validation(config: Experiment, say: Callable[[str], None]) -> None:
    """Says that nothing validates, if the config says so and yet is to stop by that."""
    if not getattr(config.inference, "stop_on_validation", False):
        return
    if config.heldout is not None and config.heldout.valid_fraction is None:
        return  # which the protocol decides, and nobody chose
    held = "no heldout" if config.heldout is None else "heldout.valid_fraction=0.0"
    say(
        f"inference.stop_on_validation=True has no effect beside {held}: no counts are held out "
        "for validation; --config.heldout.valid_fraction=0.1 holds some out"
    )


def _fit_of(config: Experiment, data: Any) -> Fit:
    model = config.model
    if isinstance(model, Factorization):
        if not isinstance(data, SparseData):
            raise TypeError(
                f"{type(model).__name__} takes sparse counts, and {type(config.data).__name__} "
                "are none"
            )
        return FactorFit(config, data)
    if config.num_starts > 1:
        raise ValueError(
            f"num_starts must be 1 where all starts lead to one posterior, as with "
            f"{type(model).__name__}, got {config.num_starts}"
        )
    if isinstance(model, StartingModel):
        return BlackBoxFit(config, data)
    if hasattr(model, "build"):
        return ConjugateFit(config, data)
    raise TypeError(f"{type(model).__name__} has no {missing_members(model, StartingModel)}")


def _checked(fit: Fit, inference: Any) -> Fit:
    """The fit; raises TypeError or ValueError if the algorithm cannot be used with its model."""
    needed = getattr(inference, "model_members", ())
    if missing := [name for name in needed if not hasattr(fit.model, name)]:
        raise TypeError(
            f"{type(fit.model).__name__} has no {', '.join(missing)}, which "
            f"{type(inference).__name__} needs"
        )
    return fit


def load_run_data(run: FittedRun, path: str | os.PathLike[str] | None = None) -> SplitData:
    """Loads the counts that a run was fitted to, with the same split and names.

    Files of names are not read again, as the run has stored what was in them.

    Args:
      run: the run, from `load_run`.
      path: the present path of the data, if they have moved.

    Raises:
      ConfigError: if the data cannot be loaded.
      CheckpointError: if they are not the data that the run was fitted to.
    """
    config = run.config
    source: Any = config.data
    if path is not None:
        if not hasattr(source, "path"):
            raise ConfigError(f"{type(source).__name__}, the data of the run, have no path")
        source = dataclasses.replace(source, path=os.fspath(path))
    try:
        loaded = _load_again(source, run.factors)
        data = SplitData(loaded, config.heldout, config.model.row_sum_exposures)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"the counts of the run cannot be loaded again: {error}") from error
    stored = {name: run.identity.get(name) for name in data.identity}
    if stored != data.identity:
        changes = "; ".join(
            f"{name}: {stored[name]} → {value}"
            for name, value in data.identity.items()
            if stored[name] != value
        )
        raise CheckpointError(
            f"the data are no longer those that the run was fitted to ({changes})"
        )
    return data


def _load_again(source: Any, factors: FittedFactors) -> Any:
    """The data of a source; where files gave names, they are those of the run if ids agree."""
    if not isinstance(source, SparseCounts) or not (source.row_names or source.column_names):
        return load_data(source)
    loaded: LoadedCounts = load_data(as_rules_for(Path(source.path), source))
    num_rows, num_columns = loaded.counts.shape
    rows, columns = loaded.row_names, loaded.column_names
    if _are(rows, factors.row_ids, num_rows):
        loaded = loaded._replace(row_names=factors.row_names, row_ids=factors.row_ids)
    if _are(columns, factors.column_ids, num_columns):
        loaded = loaded._replace(column_names=factors.column_names, column_ids=factors.column_ids)
    return loaded


def _are(names: np.ndarray | None, ids: np.ndarray | None, size: int) -> bool:
    return ids is not None and np.array_equal(numbered(size) if names is None else names, ids)
