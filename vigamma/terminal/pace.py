"""The progress of long work, as lines of text."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 2.0


class Pace:
    """Reports the progress of a loop at most every two seconds; not at all if it ends before."""

    def __init__(
        self,
        total: int,
        unit: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock; `total` is the number of items, and `unit` their name in the plural."""
        self._total, self._unit, self._say, self._clock = total, unit, say, clock
        self._started = self._last_line = clock()

    def update(self, done: int) -> None:
        """Reports the number of items done, if a line is due."""
        now = self._clock()
        if now - self._last_line < _SECONDS_BETWEEN_LINES or not done:
            return
        self._last_line = now
        left = (self._total - done) * (now - self._started) / done
        self._say(f"{done:,}/{self._total:,} {self._unit}  {left:.0f} s left")
