"""The posterior samples of a run, read from its folder `samples`."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer

from vigamma.data.checksums import checksum_of
from vigamma.diagnostics.recovery import matched_factors
from vigamma.errors import CheckpointError
from vigamma.models.factor_model import FactorModel, Posterior
from vigamma.storage.draws import read_draw, saved_draws

SAMPLES = "samples"
"""The folder of a run that holds its posterior samples."""

TRACE = "trace"

Intervals = Literal["variational", "sampled"]
"""Of the mean-field posterior, or of posterior samples."""

INTERVALS: tuple[Intervals, ...] = ("variational", "sampled")

Draw = dict[str, np.ndarray]
"""A draw of every chain: the latents by name, and the trace of the sweeps since the one before."""


class Samples(NamedTuple):
    """Draws from the posterior, in the order of the counts; memory-mapped if they are on disk.

    Attributes:
      draws: for each sweep that was kept, by the name of the latent: "rows" (C, N, K), "columns"
        (C, M, K), and the rates, of C chains.
      trace: the trace of all sweeps since the burn-in; see `inference.gibbs.traced`; shape
        (C, S, T).
      agree_on_factors: whether the chains agree on single factors, as `summary.json` says of them;
        None if it is not known.
    """

    draws: list[Draw]
    trace: np.ndarray
    agree_on_factors: bool | None = None

    @property
    def num_draws(self) -> int:
        """The number of draws, of all chains."""
        return len(self.draws) * self.trace.shape[0]

    def taken(self, name: str, index: Any) -> np.ndarray:
        """The draws of the latents of some rows or columns; shape (D, len(index), ...)."""
        return np.concatenate([np.asarray(draw[name][:, index]) for draw in self.draws])

    def matched(
        self, name: str, index: Any, matches: Integer[np.ndarray, "D K"]
    ) -> Float[np.ndarray, "D n K"]:
        """As `taken`, of "rows" or "columns", with the factors in the order of `matches`."""
        return np.take_along_axis(self.taken(name, index), matches[:, None], axis=2)

    def pairs(
        self, matches: Integer[np.ndarray, "D K"]
    ) -> Iterator[tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "M K"]]]:
        """θ and β of one draw after another, with the factors in the order of `matches`."""
        of_draws = (zip(draw["rows"], draw["columns"], strict=True) for draw in self.draws)
        tables = itertools.chain.from_iterable(of_draws)
        for (theta, beta), match in zip(tables, matches, strict=True):
            yield theta[:, match], beta[:, match]

    def matches(self, reference: Float[np.ndarray, "M K"]) -> Integer[np.ndarray, "D K"]:
        """The factors of each draw that match those of a reference, by the cosines of columns."""
        return np.array(
            [matched_factors(beta, reference) for draw in self.draws for beta in draw["columns"]]
        )


def samples_from(draws: Sequence[Draw]) -> Samples:
    """Samples of draws with their traces, in the order of the sweeps."""
    trace = np.concatenate([draw[TRACE] for draw in draws]).swapaxes(0, 1)
    return Samples(
        [{name: a for name, a in draw.items() if name != TRACE} for draw in draws], trace
    )


def load_samples(workdir: str | os.PathLike[str]) -> Samples | None:
    """The samples of a run, finished or not; None if it has none.

    Raises:
      CheckpointError: if a draw is damaged, or the draws are not of one run.
    """
    found = _read(Path(workdir))
    return None if found is None else found[0]


def samples_of(workdir: Path, model: FactorModel, q: Posterior) -> Samples | None:
    """As `load_samples`; raises CheckpointError if their chains did not start at this posterior."""
    found = _read(workdir)
    if found is None:
        return None
    samples, identity = found
    if not _started_at(model, q, identity):
        raise CheckpointError(
            f"the samples in {workdir / SAMPLES} are not of this posterior: the run went on since"
        )
    return samples


def has_samples_of(workdir: Path, model: FactorModel, q: Posterior) -> bool:
    """Whether the run has samples whose chains started at this posterior; reads one draw only.

    Raises:
      CheckpointError: if that draw is damaged.
    """
    folder = workdir / SAMPLES / "draws"
    steps = saved_draws(folder)
    return bool(steps) and _started_at(model, q, read_draw(folder, steps[-1])[1])


def _started_at(model: FactorModel, q: Posterior, identity: Mapping[str, Any]) -> bool:
    start = identity_of_start(model, q)
    return {name: identity.get(name) for name in start} == start


def identity_of_start(model: FactorModel, q: Posterior) -> dict[str, Any]:
    """Checksums of the posterior that chains start at."""
    checksums = checksum_of(jax.tree.leaves((model, q)))
    return {f"start_{name}": value for name, value in checksums.items()}


def _read(workdir: Path) -> tuple[Samples, Mapping[str, Any]] | None:
    folder = workdir / SAMPLES / "draws"
    if not (steps := saved_draws(folder)):
        return None
    found = [read_draw(folder, step) for step in steps]
    identity = found[0][1]
    if any(other != identity for _, other in found):
        raise CheckpointError(f"the draws in {folder} are not of one run")
    samples = samples_from([arrays for arrays, _ in found])
    return samples._replace(agree_on_factors=_agree_on_factors(workdir / SAMPLES)), identity


def _agree_on_factors(folder: Path) -> bool | None:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return summary["shares"]["is_good"] and summary["switched"] == 0
    except (OSError, ValueError, LookupError):  # not finished, or of too few draws
        return None
