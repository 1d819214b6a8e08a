"""A fitted factorization, read from the directory of its run; all answers are computed from it."""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vigamma.counts.names import as_names, indices_of, numbered
from vigamma.data.checksums import NAMES_CHECKSUM, checksum_of_names
from vigamma.errors import CheckpointError, ConfigError
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.models.factor_model import PROBABILITIES, FactorModel, Posterior
from vigamma.models.factor_order import factor_weights, result_of
from vigamma.models.factor_priors import FixedRatePrior, RandomRatePrior
from vigamma.models.mixture import mean_probabilities, mixture_means
from vigamma.models.negative_binomial_model import NegativeBinomialFactorModel
from vigamma.runs.experiment import Experiment, unflatten
from vigamma.runs.exposures import read_exposures
from vigamma.runs.samples import Samples, samples_of
from vigamma.storage.checkpointing import read_checkpoint, saved_steps
from vigamma.storage.workdir import folder_of_start

WantedStep = int | Literal["best", "newest"]
"""Which posterior of a run to read: "best", the best by validation counts, or the newest if there
are none; "newest", even if it is not the best; or the step of a checkpoint."""

NAMES = "names.json"
"""The file of a run with the names of its rows and columns."""


class FittedFactors(NamedTuple):
    """A factorization with the names of its rows and columns, in the order of the counts.

    Factors are in the order of `models.factor_order`.

    Attributes:
      model: the model, with its priors.
      q: the posterior, without padding, in NumPy.
      row_names: strings of `StringDType`; shape (N,). Without names they are "0", "1", ...
      column_names: likewise for the columns; shape (M,).
      row_ids: what the rows are called in the file of counts, if another file gave the names, and
        they can be asked for by either.
      column_ids: likewise for the columns.
    """

    model: FactorModel
    q: Posterior
    row_names: np.ndarray
    column_names: np.ndarray
    row_ids: np.ndarray | None = None
    column_ids: np.ndarray | None = None

    def indices_of(self, side: str, wanted: Sequence[str], kind: str = "") -> np.ndarray:
        """The indices of the rows or columns with these names or ids; `side` is the singular.

        Raises:
          UnknownNameError: for what is neither; the message calls it `kind`, by default `side`.
          AmbiguousNameError: for a name of several.
        """
        names, ids = (getattr(self, f"{side}_{what}") for what in ("names", "ids"))
        return indices_of(names, wanted, kind or side, ids)


class FittedRun(NamedTuple):
    """A run, read from its directory.

    Attributes:
      config: the experiment.
      step: the step of the posterior.
      last_step: the number of completed steps when the checkpoint was saved.
      factors: the factorization; of several starts the best one, by validation or ELBO.
      identity: what the checkpoint shares with every run that resumes it.
      others: the factorizations of the other starts.
      samples: draws from the posterior by chains that start at `factors`, if there are any.
      exposures: e_n of the rows in training; None if all are 1.
    """

    config: Experiment
    step: int
    last_step: int
    factors: FittedFactors
    identity: Mapping[str, Any]
    others: tuple[FittedFactors, ...] = ()
    samples: Samples | None = None
    exposures: np.ndarray | None = None

    @property
    def weights(self) -> np.ndarray:
        """The shares of the factors in all expected counts, the largest first; shape (K,)."""
        return factor_weights(self.factors.q, self.exposures)

    @property
    def starts(self) -> tuple[FittedFactors, ...]:
        """The factorizations of all starts, the best first; rates are those of their mixture.

        The factors of each start are in the order of their own weights.
        """
        return (self.factors, *self.others)

    @property
    def steps_per_sweep(self) -> int:
        """The number of steps that process all counts once."""
        return self.config.inference.num_batches(len(self.factors.row_names)) or 1

    @property
    def which(self) -> str:
        """A description of the posterior that was read."""
        which = f"step {self.step}"
        if self.step != self.last_step:
            which += f" of {self.last_step}, the best by validation"
        return which if len(self.starts) == 1 else f"{len(self.starts)} starts, the best at {which}"

    @property
    def probabilities(self) -> np.ndarray | None:
        """E[p_m] of negative binomials, the mean over starts; None for Poisson counts."""
        found = (factors.q.get(PROBABILITIES) for factors in self.starts)
        return mean_probabilities([None if p is None else np.asarray(p.mean) for p in found])

    def mean_factors(self, exposures: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tables whose product is the mean rates e_n Σ_k θ_nk β_mk, over the mixture of all starts.

        Args:
          exposures: e_n; shape (N,); by default 1.

        Returns:
          arrays of shape (N, S K) and (M, S K), for S starts; see `vigamma.models.mixture`.
        """
        tables = []
        for factors in self.starts:
            theta, beta = (np.asarray(factors.q[side].mean) for side in ("rows", "columns"))
            if exposures is not None:
                theta = theta * exposures[:, None].astype(theta.dtype)
            tables.append((theta, beta))
        return mixture_means(tables)


def load_run(
    workdir: str | os.PathLike[str],
    warn: Callable[[str], None] = warnings.warn,
    step: WantedStep = "best",
    with_samples: bool = True,
) -> FittedRun:
    """Reads a run of a factorization, finished or not: one checkpoint of each of its starts.

    Args:
      workdir: the directory of the run.
      warn: called with a line for each damaged checkpoint that is skipped.
      step: see `WantedStep`; if it is the step of a checkpoint, only the first start is read, and
        no samples.
      with_samples: whether to read posterior samples, if there are any.

    Raises:
      CheckpointError: if there is no such checkpoint, if none is intact, or if it is not of a
        factorization.
    """
    workdir = Path(workdir)
    if isinstance(step, int):
        return run_of(workdir, *read_checkpoint(workdir, warn, step), best=False)
    found, is_best = [read_checkpoint(workdir, warn)], step == "best"
    runs = [run_of(workdir, *found[0], best=is_best)]
    for index in range(1, runs[0].config.num_starts):
        folder = folder_of_start(workdir, index)
        if not saved_steps(folder):
            warn(f"start {index + 1} has no checkpoint yet, and is left out")
            continue
        found.append(read_checkpoint(folder, warn))
        if (identity := {**found[-1][2]}).pop("start", None) != index or identity != found[0][2]:
            raise CheckpointError(f"{folder} is not a start of the run in {workdir}")
        runs.append(run_of(workdir, *found[-1], best=is_best))
    best = max(range(len(runs)), key=lambda i: _score(found[i][1]))
    others = tuple(run.factors for i, run in enumerate(runs) if i != best)
    samples = _samples_of(workdir, runs[best].factors, warn) if with_samples else None
    return runs[best]._replace(others=others, samples=samples)


def _samples_of(
    workdir: Path, factors: FittedFactors, warn: Callable[[str], None]
) -> Samples | None:
    """The posterior samples of a run; None, and a line to `warn`, if they cannot be used."""
    try:
        return samples_of(workdir, factors.model, factors.q)
    except CheckpointError as error:
        warn(f"{error}; they are left out")
        return None


def run_of(
    workdir: Path,
    step: int,
    leaves: Mapping[str, np.ndarray],
    identity: Mapping[str, Any],
    *,
    best: bool,
) -> FittedRun:
    """The run of a checkpoint, given as `read_checkpoint` returns it; raises CheckpointError.

    `best` selects the best posterior so far, rather than that of the step.
    """
    leaves = _with_rates(leaves)
    if "q.rows.rate" not in leaves or "model.row_prior.concentration" not in leaves:
        raise CheckpointError(f"step {step} in {workdir} is not of a factorization")
    config, last_step = _config_of(workdir, identity), step
    if best and leaves.get("best.step", 0) > 0:
        step = int(leaves["best.step"])
        of_best = {name: leaf for name, leaf in leaves.items() if name.startswith("best.")}
        leaves = {name.removeprefix("best."): leaf for name, leaf in of_best.items()}
    model, q = _model_and_posterior(leaves)
    shape = identity["num_rows"], identity["num_columns"]
    names = _read_names(workdir / NAMES, identity)
    exposures = read_exposures(workdir, shape[0]) if config.model.row_sum_exposures else None
    is_balanced = q["rows"].rate.ndim == 2  # 3 if in batches
    factors = FittedFactors(
        model,
        result_of(q, shape, is_balanced=is_balanced, exposures=exposures),
        names_or_numbers(names.get("rows"), shape[0]),
        names_or_numbers(names.get("columns"), shape[1]),
        *(as_names(names[ids]) if ids in names else None for ids in ("row_ids", "column_ids")),
    )
    return FittedRun(config, step, last_step, factors, identity, exposures=exposures)


_LOGARITHMS = {
    "log_shape": "concentration",
    "log_rate": "rate",
    "log_concentration1": "concentration1",
    "log_concentration0": "concentration0",
}
"""The parameters of families, and of the distributions that they belong to."""


def _with_rates(leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The leaves; those of a `ProductOfGammas`, which are logarithms, exponentiated and renamed."""
    found = {}
    for name, leaf in leaves.items():
        path, _, last = name.replace("q.parts.", "q.").rpartition(".")
        if last in _LOGARITHMS and not name.startswith("optimizer."):
            name, leaf = f"{path}.{_LOGARITHMS[last]}", np.exp(leaf)
        found[name] = leaf
    return found


def _score(leaves: Mapping[str, np.ndarray]) -> float:
    """The score by which starts are compared, as `EndOfStart.score`."""
    if leaves.get("best.step", 0) > 0:
        return float(leaves["best.log_likelihood"])
    return float(leaves.get("elbo", -np.inf))


def names_or_numbers(names: Any, size: int) -> np.ndarray:
    """The names as an array of `StringDType`; "0", "1", ... if there are none."""
    return numbered(size) if names is None else as_names(names)


def _config_of(workdir: Path, identity: Mapping[str, Any]) -> Experiment:
    """The config of the last run; the identity of a checkpoint lacks fields that may change."""
    try:
        values = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        return unflatten(values | identity)
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{workdir / 'config.json'} cannot be read: {error}") from error


def _read_names(path: Path, identity: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of the run; raises CheckpointError if they are not those that it started with."""
    try:
        names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if checksum_of_names(names) != identity.get(NAMES_CHECKSUM):
        raise CheckpointError(f"{path} is not what the run wrote")
    return names


def _model_and_posterior(leaves: Mapping[str, np.ndarray]) -> tuple[FactorModel, Posterior]:
    priors = [_prior(leaves, f"model.{side}_prior") for side in ("row", "column")]
    latents = ("rows", "columns", "row_rates", "column_rates")
    q: Posterior = {n: _gamma(leaves, f"q.{n}") for n in latents if f"q.{n}.rate" in leaves}
    if f"q.{PROBABILITIES}.concentration1" not in leaves:
        return FactorModel(*priors), q
    prior, q[PROBABILITIES] = (
        Beta(leaves[f"{name}.concentration1"], leaves[f"{name}.concentration0"])
        for name in ("model.probability_prior", f"q.{PROBABILITIES}")
    )
    row_prior, column_prior = priors
    return NegativeBinomialFactorModel(
        row_prior=row_prior, column_prior=column_prior, probability_prior=prior
    ), q


def _prior(leaves: Mapping[str, np.ndarray], name: str) -> FixedRatePrior | RandomRatePrior:
    concentration = leaves[f"{name}.concentration"]
    if f"{name}.rate" in leaves:
        return FixedRatePrior(concentration, leaves[f"{name}.rate"])
    return RandomRatePrior(concentration, _gamma(leaves, f"{name}.rate"))


def _gamma(leaves: Mapping[str, np.ndarray], name: str) -> Gamma:
    return Gamma(*(leaves[f"{name}.{part}"] for part in ("concentration", "rate")))
