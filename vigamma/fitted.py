"""A fitted factorization, read back from the directory of its run: what answers are made from."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vigamma.checkpointing import read_checkpoint
from vigamma.config import Experiment, unflatten
from vigamma.data.names import as_names
from vigamma.errors import CheckpointError, ConfigError
from vigamma.families.gamma import Gamma
from vigamma.fits.base import NAMES_CHECKSUM, checksum_of_names
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.models.factor_model import FactorModel, Posterior, without_padding
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior

WantedStep = int | Literal["best", "newest"]
"""What to read of a run: the posterior that it ends with, the best by validation counts or else the
newest; the newest though it may not be the best; or that of a checkpoint."""

NAMES = "names.json"
"""The file of a run that holds what its rows and columns are called."""


class FittedFactors(NamedTuple):
    """A factorization and what its rows and columns are called, in the order of the counts.

    Attributes:
      model: its priors.
      q: its posterior, without padding, in NumPy.
      row_names: strings of `StringDType`, shape (N,); numbers from "0" where there are no names.
      column_names: the same of the columns, shape (M,).
    """

    model: FactorModel
    q: Posterior
    row_names: np.ndarray
    column_names: np.ndarray


class FittedRun(NamedTuple):
    """What the directory of a run holds.

    Attributes:
      config: the experiment.
      step: how many steps the posterior is the outcome of.
      last_step: how many had been completed when the checkpoint was saved.
      factors: the factorization then.
      identity: what the checkpoint shares with every run that resumes it.
    """

    config: Experiment
    step: int
    last_step: int
    factors: FittedFactors
    identity: Mapping[str, Any]

    @property
    def which(self) -> str:
        """Which posterior it is, for people."""
        if self.step == self.last_step:
            return f"step {self.step}"
        return f"step {self.step} of {self.last_step}, the best by validation"


def load_run(
    workdir: Path,
    warn: Callable[[str], None] = warnings.warn,
    step: WantedStep = "best",
) -> FittedRun:
    """Reads a checkpoint of a run of a factorization, finished or not.

    Args:
      workdir: of the run.
      warn: called with a line for each damaged checkpoint that is passed over.
      step: "best", which is the best so far by validation counts, or the newest where there are
        none; "newest"; or the number of a checkpoint.

    Raises:
      CheckpointError: if there is no such checkpoint, or none intact, or it is not of a
        factorization.
    """
    wanted = step if isinstance(step, int) else None
    return run_of(workdir, *read_checkpoint(workdir, warn, wanted), best=step == "best")


def run_of(
    workdir: Path,
    step: int,
    leaves: Mapping[str, np.ndarray],
    identity: Mapping[str, Any],
    *,
    best: bool,
) -> FittedRun:
    """The run that a checkpoint, as `read_checkpoint` returns it, is of; raises CheckpointError.

    `best` if the best posterior so far is wanted, rather than that of the step.
    """
    if "q.rows.rate" not in leaves:
        raise CheckpointError(f"step {step} in {workdir} is not of a factorization")
    config, last_step = _config_of(workdir, identity), step
    if best and leaves.get("best.step", 0) > 0:
        step = int(leaves["best.step"])
        of_best = {name: leaf for name, leaf in leaves.items() if name.startswith("best.")}
        leaves = {name.removeprefix("best."): leaf for name, leaf in of_best.items()}
    model = FactorModel(*(_prior(leaves, f"model.{side}_prior") for side in ("row", "column")))
    latents = ("rows", "columns", "row_rates", "column_rates")
    q = {name: _gamma(leaves, f"q.{name}") for name in latents if f"q.{name}.rate" in leaves}
    shape = identity["num_rows"], identity["num_columns"]
    names = _read_names(workdir / NAMES, identity)
    factors = FittedFactors(
        model,
        without_padding(q, shape, isinstance(config.inference, CoordinateAscent)),
        names_or_numbers(names.get("rows"), shape[0]),
        names_or_numbers(names.get("columns"), shape[1]),
    )
    return FittedRun(config, step, last_step, factors, identity)


def names_or_numbers(names: Any, size: int) -> np.ndarray:
    """The names as an array of `StringDType`; the numbers from 0 where there are none."""
    return as_names(map(str, range(size)) if names is None else names)


def _config_of(workdir: Path, identity: Mapping[str, Any]) -> Experiment:
    """What ran last there; the identity of a checkpoint lacks the fields that may change."""
    try:
        values = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        return unflatten(values | identity)
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{workdir / 'config.json'} cannot be read: {error}") from error


def _read_names(path: Path, identity: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of the run; raises CheckpointError unless they are those that it started with."""
    try:
        names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if checksum_of_names(names) != identity.get(NAMES_CHECKSUM):
        raise CheckpointError(f"{path} is not what the run wrote")
    return names


def _prior(leaves: Mapping[str, np.ndarray], name: str) -> FixedRatePrior | RandomRatePrior:
    concentration = leaves[f"{name}.concentration"]
    if f"{name}.rate" in leaves:
        return FixedRatePrior(concentration, leaves[f"{name}.rate"])
    return RandomRatePrior(concentration, _gamma(leaves, f"{name}.rate"))


def _gamma(leaves: Mapping[str, np.ndarray], name: str) -> Gamma:
    return Gamma(*(leaves[f"{name}.{part}"] for part in ("concentration", "rate")))
