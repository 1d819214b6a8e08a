"""How a command ends: one-line errors and exit statuses."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from absl import logging
from rich.console import Console

from vigamma.command_line.early_signals import ignore_signals
from vigamma.devices.mesh import start_devices
from vigamma.errors import Interrupted, LostProcessError, RunError
from vigamma.runs.signals import StopSignals
from vigamma.runs.train import Outcome
from vigamma.terminal.console import (
    PlainConsole,
    PrintableText,
    complain,
    end_with_a_closed_pipe,
)
from vigamma.terminal.invocation import command


def status_of_run(run: Callable[[], tuple[Outcome, Path]]) -> int:
    """Calls `run`, prints what it has written, and returns the exit status.

    The run itself prints its outcome. Of several processes the first one prints. Signals are
    ignored as soon as all is written, or an error is printed: the status is final.

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
        ignore_signals()
    if jax.process_index() == 0:
        print("\n".join(_written(outcome, workdir)))
    return 0


def _written(outcome: Outcome, workdir: Path) -> Iterator[str]:
    """What is in the directory of a run; and for a factorization, how to see all of it."""
    figures = outcome.summary["figures"]
    number = f", {len(figures)} figure{'s' * (len(figures) != 1)} in figures/" if figures else ""
    verb = "written" if outcome.is_new else "unchanged"
    yield f"{verb}: {workdir}: summary.json, metrics.jsonl, checkpoints{number}"
    if "num_factors" in outcome.summary:
        yield f"to see it on a page: {command('report')} --workdir {shlex.quote(str(workdir))}"


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
