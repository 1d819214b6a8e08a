"""Handling of SIGTERM and Ctrl-C: they stop a run at a point where nothing is lost."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from vigamma.errors import Interrupted


class StopSignals:
    """A context in which the first SIGTERM or SIGINT is recorded; a second one ends the process.

    The run calls `raise_if_requested` where it can stop. Work that may be interrupted, because the
    next run repeats it, is done inside `interruptible`, where a signal raises at once. Python drops
    what is raised in a finalizer or a callback of the garbage collector (JAX has one); the signal
    is then sent again, without a word.

    Attributes:
      requested: the number of the received signal, or None.
    """

    def __init__(self) -> None:
        """Initializes the context, with no signal received."""
        self.requested: int | None = None
        self._interruptible: str | None = None
        self._sent_again: threading.Timer | None = None

    def __enter__(self) -> Self:
        """Installs the handlers."""
        self._previous = {
            signum: signal.signal(signum, self._note) for signum in (signal.SIGTERM, signal.SIGINT)
        }
        self._previous_hook = sys.unraisablehook
        sys.unraisablehook = self._send_again
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the previous handlers."""
        if self._sent_again is not None:
            self._sent_again.cancel()
        sys.unraisablehook = self._previous_hook
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        if self.requested is not None and self._sent_again is None:
            os._exit(128 + signum)
        self.requested, self._sent_again = signum, None
        if self._interruptible is not None:
            self.raise_if_requested(self._interruptible)

    def _send_again(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            self._previous_hook(unraisable)
            return
        signum = unraisable.exc_value.signum
        self._sent_again = threading.Timer(0.01, os.kill, (os.getpid(), signum))
        self._sent_again.start()

    @contextmanager
    def interruptible(self, where: str) -> Iterator[None]:
        """A context in which a signal raises Interrupted at once, with `where` in its message."""
        self.raise_if_requested(where)
        self._interruptible = where
        try:
            yield
        finally:
            self._interruptible = None

    def raise_if_requested(self, where: str) -> None:
        """Raises Interrupted, with `where` in its message, if a signal was received."""
        if self.requested is not None:
            name = signal.Signals(self.requested).name
            raise Interrupted(f"stopped by {name}: {where}", self.requested)
