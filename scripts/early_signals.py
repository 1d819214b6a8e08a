"""SIGTERM and Ctrl-C while a script imports its libraries, which takes seconds, and at its end."""

import os
import signal


def leave_on_signals():
    """Before there is anything to save: one line, and out at once."""
    _on_signals(_leave)


def ignore_signals():
    """Once all is written, and the exit status stands."""
    _on_signals(signal.SIG_IGN)


def _leave(signum, _frame):
    os.write(2, b"stopped by %s: before the first step\n" % signal.Signals(signum).name.encode())
    os._exit(128 + signum)


def _on_signals(handler):
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, handler)
