"""A state that is saved by some processes and restored by others; a process of its own.

`python -m tests.faults.process_trials save|restore NAME STEP FOLDER OUTPUT [COORDINATOR PROCESS]`
saves a state after STEP steps, or restores it, and takes 200 more. OUTPUT.npz says how the state
was and what the steps led to. Two processes take part if a coordinator is named.
"""

import hashlib
import sys
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from tests.faults.device_trials import MORE_STEPS, bits, experiment, outcome
from vigamma.devices.mesh import make_mesh
from vigamma.runs.train import load_fit
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked


def main(action: str, name: str, step: int, folder: Path, output: str) -> None:
    fit, mesh = load_fit(experiment(name)), make_mesh()
    state, checkpoints = fit.start(mesh), Checkpointer(folder, {})
    with locked(folder) if jax.process_index() == 0 else nullcontext():
        if action == "save":
            state.step(step)
            checkpoints.save(step, state.arrays)
        else:
            state.arrays = checkpoints.restore(state.arrays, print)
    digests = [f"{kind} {hashlib.sha256(data).hexdigest()}" for kind, data in bits(state.arrays)]
    infos = state.step(MORE_STEPS)
    found = dict(enumerate(outcome(fit, state)))
    if jax.process_index() == 0:
        np.savez(output, digests=digests, elbos=infos.elbo, **{str(i): x for i, x in found.items()})


if __name__ == "__main__":
    action, name, step, folder, output, *together = sys.argv[1:]
    if together:
        jax.distributed.initialize(together[0], 2, int(together[1]))
    main(action, name, int(step), Path(folder), output)
