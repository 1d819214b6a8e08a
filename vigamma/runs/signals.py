"""SIGTERM and Ctrl-C: noted at once, acted on where nothing is lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from vigamma.errors import Interrupted


class StopSignals:
    """While entered, the first SIGTERM or SIGINT is only noted; a second one ends the process.

    The run calls `raise_if_requested` where it can stop. Work that may be left half-done, because
    the next run does it again, is done inside `interruptible`, and ends at once.

    Attributes:
      requested: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.requested: int | None = None
        self._interruptible: str | None = None

    def __enter__(self) -> Self:
        """Installs the handlers."""
        self._previous = {
            signum: signal.signal(signum, self._note) for signum in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Puts the earlier handlers back."""
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
        """Inside, a signal raises Interrupted at once, with a message that says `where`."""
        self.raise_if_requested(where)
        self._interruptible = where
        try:
            yield
        finally:
            self._interruptible = None

    def raise_if_requested(self, where: str) -> None:
        """Raises Interrupted, with a message that says where the run stopped."""
        if self.requested is not None:
            name = signal.Signals(self.requested).name
            raise Interrupted(f"stopped by {name}: {where}", self.requested)
