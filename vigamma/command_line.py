"""Shared parts of the scripts that query a run: flags, one-line errors and exit statuses."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags, logging
from rich.console import Console

from vigamma.devices.mesh import start_devices
from vigamma.errors import Interrupted, LostProcessError, RunError
from vigamma.runs.fitted import FittedRun, WantedStep, load_run
from vigamma.runs.signals import StopSignals
from vigamma.runs.train import Outcome
from vigamma.terminal.console import (
    PlainConsole,
    PrintableText,
    complain,
    end_with_a_closed_pipe,
)

flags.disclaim_key_flags()  # --help lists them as flags of the script


class RunFlags:
    """The flags --workdir and --step, which select a run and one of its checkpoints."""

    def __init__(self) -> None:
        """Defines the flags."""
        self._workdir = flags.DEFINE_string(
            "workdir", None, "The directory of a run.", required=True
        )
        self._step = flags.DEFINE_string(
            "step",
            "best",
            "The posterior to read: best (by validation, if there is any), newest, or the step of "
            "a checkpoint.",
        )
        flags.register_validator(
            "step",
            lambda word: word in ("best", "newest") or word.isdecimal(),
            "must be best, newest or a whole number",
        )

    @property
    def workdir(self) -> Path:
        """The directory of the run."""
        return Path(self._workdir.value)

    @property
    def step(self) -> WantedStep:
        """The selected checkpoint, in the form that `load_run` takes."""
        word = self._step.value
        return int(word) if word.isdecimal() else "newest" if word == "newest" else "best"

    def load(self, console: Console, with_samples: bool = False) -> FittedRun:
        """Loads the run and prints a line per damaged checkpoint; raises what `load_run` raises.

        Samples, which take seconds to read and check, are for the scripts that ask for them.
        """
        return load_run(self.workdir, console.print, self.step, with_samples)


def status_of_run(run: Callable[[], tuple[Outcome, Path]], at_the_end: Callable[[], None]) -> int:
    """Calls `run`, prints its outcome and its directory, and returns the exit status.

    Of several processes the first one prints. `at_the_end` is called when all is written, or an
    error is printed: the status is final.

    Returns:
      0, 1 after a RunError, or 128 + the signal number. After a LostProcessError the process ends
      here, with status 1.
    """
    try:
        outcome, workdir = run()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except LostProcessError as error:
        complain(error)
        os._exit(1)  # the normal exit waits for the lost process
    except RunError as error:
        complain(error)
        return 1
    finally:
        at_the_end()
    if jax.process_index() == 0:
        print(outcome.table)
        print(f"written: {workdir}")
    return 0


def exit_status(answer: Callable[[Console], None]) -> int:
    """Calls `answer` with a console on standard error and returns the exit status.

    The status is 0 on success, 1 after a RunError or an OSError, which is printed as one line, and
    128 + the signal number after SIGTERM or Ctrl-C. If standard output is a pipe that its reader
    closes, as `| head` does, the process ends with status 141.
    """
    logging.set_verbosity(logging.WARNING)
    console = PlainConsole(stderr=True)
    try:
        with (
            end_with_a_closed_pipe(),
            contextlib.redirect_stdout(PrintableText(sys.stdout)),
            StopSignals() as stop,
            stop.interruptible("nothing is written"),
        ):
            start_devices()
            answer(console)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signum
    except (RunError, OSError) as error:
        complain(error)
        return 1
    return 0
