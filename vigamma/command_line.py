"""What scripts that answer have in common: one line for an error, and an exit status."""

import signal
import sys
from collections.abc import Callable

from absl import logging
from rich.console import Console

from vigamma.errors import Interrupted, RunError
from vigamma.signals import StopSignals


def exit_status(answer: Callable[[Console], None]) -> int:
    """Calls `answer` with a console of standard error, and returns what the process ends with.

    That is 0; 1 after a RunError or an OSError, which is printed as one line; 128 + the signal
    after SIGTERM or Ctrl-C. A pipe that is closed, as by `| head`, ends the process.
    """
    logging.set_verbosity(logging.WARNING)
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with StopSignals() as stop, stop.interruptible("nothing is written"):
            answer(console)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signum
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
