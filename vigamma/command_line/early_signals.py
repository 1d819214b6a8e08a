"""Handling of SIGTERM and Ctrl-C during the slow imports of a command, and at its end."""

import os
import signal
from types import FrameType
from typing import Any


def leave_on_signals() -> None:
    """Makes signals print one line and exit at once, while there is nothing to save."""
    _on_signals(_leave)


def ignore_signals() -> None:
    """Ignores signals, once all is written and the exit status is final."""
    _on_signals(signal.SIG_IGN)


def _leave(signum: int, _frame: FrameType | None) -> None:
    os.write(2, b"stopped by %s: before the first step\n" % signal.Signals(signum).name.encode())
    os._exit(128 + signum)


def _on_signals(handler: Any) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, handler)
