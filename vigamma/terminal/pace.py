"""How far long work is, in plain lines."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 2.0


class Pace:
    """Says at most every two seconds how far a loop is; nothing if it is done before."""

    def __init__(
        self,
        total: int,
        unit: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock; `total` is how many of `unit`, a plural, there are."""
        self._total, self._unit, self._say, self._clock = total, unit, say, clock
        self._started = self._last_line = clock()

    def update(self, done: int) -> None:
        """Tells how many are done."""
        now = self._clock()
        if now - self._last_line < _SECONDS_BETWEEN_LINES or not done:
            return
        self._last_line = now
        left = (self._total - done) * (now - self._started) / done
        self._say(f"{done:,}/{self._total:,} {self._unit}  {left:.0f} s left")
