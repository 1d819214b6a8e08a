"""What scripts that answer have in common: a run, one line for an error, and an exit status."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags, logging
from rich.console import Console

from vigamma.devices.mesh import start_devices
from vigamma.errors import Interrupted, RunError
from vigamma.runs.fitted import FittedRun, WantedStep, load_run
from vigamma.runs.signals import StopSignals
from vigamma.terminal.console import (
    PlainConsole,
    PrintableText,
    complain,
    end_with_a_closed_pipe,
)

flags.disclaim_key_flags()  # --help shows them with those of the script


class RunFlags:
    """The flags --workdir and --step: which run, and which of its checkpoints."""

    def __init__(self) -> None:
        """Defines them."""
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
        """The checkpoint, as `load_run` takes it."""
        word = self._step.value
        return int(word) if word.isdecimal() else "newest" if word == "newest" else "best"

    def load(self, console: Console) -> FittedRun:
        """Reads it, with a line for each damaged checkpoint; raises as `load_run`."""
        return load_run(self.workdir, console.print, self.step)


def exit_status(answer: Callable[[Console], None]) -> int:
    """Calls `answer` with a console of standard error, and returns what the process ends with.

    That is 0; 1 after a RunError or an OSError, which is printed as one line; 128 + the signal
    after SIGTERM or Ctrl-C. A pipe that is closed, as by `| head`, ends the process.
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
