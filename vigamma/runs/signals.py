"""Handling of SIGTERM and Ctrl-C: they stop a run at a point where nothing is lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from vigamma.errors import Interrupted


class StopSignals:
    """A context in which the first SIGTERM or SIGINT is recorded; a second one ends the process.

    The run calls `raise_if_requested` where it can stop. Work that may be interrupted, because the
    next run repeats it, is done inside `interruptible`, where a signal raises at once.

    Attributes:
      requested: the number of the received signal, or None.
    """

    def __init__(self) -> None:
        """Initializes the context, with no signal received."""
        self.requested: int | None = None
        self._interruptible: str | None = None

    def __enter__(self) -> Self:
        """Installs the handlers."""
        self._previous = {
            signum: signal.signal(signum, self._note) for signum in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the previous handlers."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        if self.requested is not None:
            os._exit(128 + signum)
        self.requested = signum
        if self._interruptible is not None:
            self.raise_if_requested(self._interruptible)

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
