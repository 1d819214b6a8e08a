"""New rows of counts from the posterior of a finished or interrupted run."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from vigamma.data.digits import IMAGE_SHAPE, DigitCounts, Digits
from vigamma.errors import CheckpointError
from vigamma.families.gamma import Gamma
from vigamma.models.gamma_poisson import GammaPoisson
from vigamma.models.mixture import generate_mixture
from vigamma.random.keys import key_of_seed
from vigamma.runs.fitted import WantedStep, load_run
from vigamma.storage.checkpointing import read_checkpoint

_IMAGES = {Digits.__name__, DigitCounts.__name__}


class Generated(NamedTuple):
    """Rows drawn from the posterior predictive.

    Attributes:
      theta: the drawn means of the counts, float32; shape (num_rows, M).
      counts: the counts drawn from them, int32; shape (num_rows, M).
      step: the training step of the posterior.
      image_shape: the shape of the image in a row; None if rows are not images.
      column_names: the names of the columns of a factorization, strings of `StringDType`, shape
        (M,); None for other models.
    """

    theta: np.ndarray
    counts: np.ndarray
    step: int
    image_shape: tuple[int, int] | None
    column_names: np.ndarray | None


def generate(
    workdir: str | os.PathLike[str],
    num_rows: int,
    seed: int,
    warn: Callable[[str], None] = warnings.warn,
    step: WantedStep = "best",
) -> Generated:
    """Samples rates from q, then counts given them, from a checkpoint in `workdir`.

    For a factorization, each row is a replicate of a random row with exposure 1, under the
    posterior of one of the starts. The same checkpoint and seed give the same rows; row i does not
    depend on `num_rows`. Damaged checkpoints are skipped, each with a message to `warn`.

    Raises:
      CheckpointError: if the checkpoint does not exist, if none is intact, or if it holds no Gamma
        posterior.
      ValueError: if `num_rows` is not positive.
    """
    if num_rows < 1:
        raise ValueError(f"the number of rows must be at least 1, got {num_rows}")
    workdir = Path(workdir)
    wanted = step if isinstance(step, int) else None
    found_step, leaves, identity = read_checkpoint(workdir, warn, wanted)
    key, column_names = key_of_seed(seed), None
    if "q.log_shape" in leaves:
        q = Gamma(jnp.exp(leaves["q.log_shape"]), jnp.exp(leaves["q.log_rate"]))
        theta_nm, counts_nm = map(np.asarray, GammaPoisson.generate(key, q, num_rows))
    elif "q.rows.rate" in leaves:
        run = load_run(workdir, lambda _: None, step)
        found_step, column_names = run.step, run.factors.column_names
        posteriors = [start.q for start in run.starts]
        theta_nm, counts_nm = generate_mixture(seed, posteriors, num_rows, run.factors.model)
    else:
        raise CheckpointError(f"step {found_step} in {workdir} holds no q.log_shape and no q.rows")
    image_shape = IMAGE_SHAPE if identity.get("data") in _IMAGES else None
    return Generated(theta_nm, counts_nm, found_step, image_shape, column_names)
