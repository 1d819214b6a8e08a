"""New rows of counts from the posterior of a finished or interrupted run."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vigamma.checkpointing import read_latest
from vigamma.errors import CheckpointError
from vigamma.families.gamma import Gamma
from vigamma.models.gamma_poisson import GammaPoisson


class Generated(NamedTuple):
    """Synthetic rows.

    Attributes:
      theta: the Poisson rates that were drawn, float32; shape (num_rows, M).
      counts: the counts drawn from them, int32; shape (num_rows, M).
      step: the training step of the posterior.
    """

    theta: np.ndarray
    counts: np.ndarray
    step: int


def generate(
    workdir: Path, num_rows: int, seed: int, warn: Callable[[str], None] = warnings.warn
) -> Generated:
    """Samples θ ~ q, then x ~ Poisson(θ), from the newest intact checkpoint in `workdir`.

    The same checkpoint and seed give the same rows; row i does not depend on `num_rows`. Damaged
    checkpoints are passed over, each with a line to `warn`.

    Raises:
      CheckpointError: if there is no intact checkpoint, or it holds no Gamma posterior.
      ValueError: if `num_rows` is not positive.
    """
    if num_rows < 1:
        raise ValueError(f"the number of rows must be at least 1, got {num_rows}")
    step, leaves, _ = read_latest(workdir, warn)
    if "q.log_shape" not in leaves:
        raise CheckpointError(f"step {step} in {workdir} holds no q.log_shape")
    q = Gamma(jnp.exp(leaves["q.log_shape"]), jnp.exp(leaves["q.log_rate"]))
    theta_nm, counts_nm = GammaPoisson.generate(jax.random.key(seed), q, num_rows)
    return Generated(np.asarray(theta_nm), np.asarray(counts_nm), step)
