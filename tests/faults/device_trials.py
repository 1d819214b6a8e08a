"""Checkpoints carried from any number of devices to any other: what comes back, what follows.

`python -m tests.faults.device_trials NAME FIRST_STEP FOLDER` prints the trials of an experiment as
JSON, on 1, 2, 4 and 8 devices, or as many as there are.
"""

import dataclasses
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tests.command import ROOT
from vigamma import Experiment, Gamma, SyntheticFactors
from vigamma.devices.mesh import make_mesh
from vigamma.devices.processes import whole
from vigamma.inference.train_state import TrainState
from vigamma.runs.train import load_fit
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked

MORE_STEPS = 200

SMALL = SyntheticFactors(num_rows=300, num_columns=200, num_factors=4, num_nonzeros=6000)


class Trial(NamedTuple):
    """From one number of devices to another.

    Attributes:
      saved_on: the devices before.
      restored_on: the devices after.
      is_bit_equal: whether every leaf came back as it was, its dtype and its bits.
      elbo_error: the largest relative difference of the ELBO, in 200 more steps on either.
      error: the relative difference, in the norm, of the largest of `outcome` after them.
    """

    saved_on: int
    restored_on: int
    is_bit_equal: bool
    elbo_error: float
    error: float


def experiment(name: str) -> Experiment:
    """An experiment of `configs/`; that of factors with few counts, and without an end."""
    config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]()
    if not name.endswith("_factors"):
        return config
    return dataclasses.replace(
        config,
        data=SMALL,
        model=dataclasses.replace(config.model, num_factors=4),
        inference=dataclasses.replace(config.inference, tolerance=0, num_restarts=1),
    )


def trials(
    config: Experiment, first_step: int, device_counts: Sequence[int], workdir: Path
) -> list[Trial]:
    """Saves after `first_step` steps on each number of devices, goes on on all others."""
    meshes = {count: make_mesh(jax.devices()[:count]) for count in device_counts}
    fits = {count: load_fit(config) for count in device_counts}
    found = []
    for saved_on in device_counts:
        folder = workdir / str(saved_on)
        state = fits[saved_on].start(meshes[saved_on])
        if first_step:
            state.step(first_step)
        saved = bits(state.arrays)
        ends = {}
        with locked(folder):
            Checkpointer(folder, {}).save(first_step, state.arrays)
            for count, fit in fits.items():
                end = fit.start(meshes[count])
                end.arrays = Checkpointer(folder, {}).restore(end.arrays, print)
                is_bit_equal = bits(end.arrays) == saved
                infos = end.step(MORE_STEPS)
                ends[count] = is_bit_equal, infos.elbo, outcome(fit, end)
        _, elbos, outcomes = ends[saved_on]
        found += [
            Trial(
                saved_on,
                count,
                is_bit_equal,
                float(np.abs(other_elbos / elbos - 1).max()),
                max(map(relative, other, outcomes)),
            )
            for count, (is_bit_equal, other_elbos, other) in ends.items()
        ]
    return found


def bits(arrays: Any) -> list[tuple[str, bytes]]:
    """The dtype and the bits of every leaf."""
    return [
        (str(leaf.dtype), whole(jax.random.key_data(leaf) if is_key(leaf) else leaf).tobytes())
        for leaf in jax.tree.leaves(arrays)
    ]


def is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def outcome(fit: Any, state: TrainState) -> list[np.ndarray]:
    """Shapes and rates of the digit; of factors the rates of all cells.

    The scale of a factor may move from its rows to its columns at hardly any change of the ELBO,
    as far as float32 can tell; so rows and columns are compared by their products.
    """
    q = fit.posterior(state)
    if isinstance(q, Gamma):
        return [q.concentration, q.rate]
    return [q["rows"].mean @ q["columns"].mean.T]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the difference over the norm."""
    difference = found.astype(float) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected.astype(float)))


if __name__ == "__main__":
    name, first_step, folder = sys.argv[1:]
    counts = [count for count in (1, 2, 4, 8) if count <= jax.device_count()]
    print(json.dumps(trials(experiment(name), int(first_step), counts, Path(folder))))
