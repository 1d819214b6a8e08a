"""The posterior samples of a run, read from its folder `samples`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vigamma.data.checksums import checksum_of
from vigamma.errors import CheckpointError
from vigamma.models.factor_model import FactorModel, Posterior
from vigamma.storage.draws import read_draw, saved_draws

SAMPLES = "samples"
"""The folder of a run that holds its posterior samples."""

TRACE = "trace"


class Samples(NamedTuple):
    """Draws from the posterior of a run, memory-mapped, in the order of the counts.

    Attributes:
      draws: for each sweep that was kept, by the name of the latent: "rows" (C, N, K), "columns"
        (C, M, K), and the rates, of C chains.
      trace: the trace of all sweeps since the burn-in; see `inference.gibbs.traced`; shape
        (C, S, T).
    """

    draws: list[dict[str, np.ndarray]]
    trace: np.ndarray

    @property
    def num_draws(self) -> int:
        """The number of draws, of all chains."""
        return len(self.draws) * self.trace.shape[0]

    def taken(self, name: str, index: Any) -> np.ndarray:
        """The draws of the latents of some rows or columns; shape (D, len(index), ...)."""
        return np.concatenate([np.asarray(draw[name][:, index]) for draw in self.draws])


def load_samples(workdir: Path) -> Samples | None:
    """The samples of a run, finished or not; None if it has none.

    Raises:
      CheckpointError: if a draw is damaged, or the draws are not of one run.
    """
    found = _read(workdir)
    return None if found is None else found[0]


def samples_of(workdir: Path, model: FactorModel, q: Posterior) -> Samples | None:
    """As `load_samples`; raises CheckpointError if their chains did not start at this posterior."""
    found = _read(workdir)
    if found is None:
        return None
    samples, identity = found
    start = identity_of_start(model, q)
    if {name: identity.get(name) for name in start} != start:
        raise CheckpointError(
            f"the samples in {workdir / SAMPLES} are not of this posterior: the run went on since"
        )
    return samples


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
    trace = np.concatenate([arrays[TRACE] for arrays, _ in found]).swapaxes(0, 1)
    draws = [{name: a for name, a in arrays.items() if name != TRACE} for arrays, _ in found]
    return Samples(draws, trace), identity
