"""Runs an experiment, or resumes it.

vigamma train --config zero
vigamma train --config configs/zero.py --config.num_steps=1000 --workdir checkpoints/short
vigamma train --config counts_factors --config.data.path=ratings.csv --workdir checkpoints/ratings
"""

import signal
from pathlib import Path

import jax
from absl import flags, logging

import vigamma
from vigamma.command_line.flags import define_config, load_config
from vigamma.command_line.statuses import status_of_run
from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.runs.train import Outcome
from vigamma.terminal.console import end_with_a_closed_pipe

define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is written, and resumed from; checkpoints/NAME by default."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other processes of a cluster that JAX recognizes."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, to join processes that JAX does not find itself."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one, from 0.")
_HEARTBEAT_SECONDS = flags.DEFINE_integer(
    "heartbeat_seconds", 30, "A process silent for so long is given up, and all others leave."
)


@end_with_a_closed_pipe()
def main(argv: list[str]) -> int:
    """Runs the experiment and prints its outcome."""
    del argv
    logging.set_verbosity(logging.WARNING)
    if _DISTRIBUTED.value or _COORDINATOR.value:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # by which JAX aborts if process 0 dies
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS.value,
            shutdown_timeout_seconds=_HEARTBEAT_SECONDS.value,
        )
    return status_of_run(_run)


def _run() -> tuple[Outcome, Path]:
    name, config = load_config(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("checkpoints") / name)
    if getattr(config.inference, "spreads_over_cores", False):  # of one's own, perhaps
        use_all_cores()
        keep_freed_memory()
    return vigamma.run_experiment(config, workdir, print_table=True), workdir
