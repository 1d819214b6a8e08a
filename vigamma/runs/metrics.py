"""The output of a run for people and programs: `metrics.jsonl`, JSON files, a progress line."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from vigamma.storage.atomic_files import replace_file, with_room
from vigamma.terminal.console import PlainConsole


class MetricsLog:
    """A file of JSON objects, one per line, each with its step."""

    def __init__(
        self, path: Path | None, last_step: int, warn: Callable[[str], None] = lambda _: None
    ):
        """Opens `path` for appending, after removing the lines of steps beyond `last_step`.

        A killed run may have logged steps that it had not saved; they are taken again. Damaged
        lines are removed as well, see `read_metrics`. Without a path (on all processes but the
        first) nothing is written.
        """
        self._file = None
        if path is not None:
            kept = [line for line in read_metrics(path, warn) if line["step"] <= last_step]
            replace_file(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
            self._seconds = kept[-1]["seconds"] if kept else 0.0
            self._started = time.monotonic()
            self._path, self._file = path, path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        """Returns the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def write(self, step: int, **values: float) -> None:
        """Appends one line, with the seconds spent on steps so far."""
        if self._file is not None:
            seconds = self._seconds + time.monotonic() - self._started
            values = {"step": step, **values, "seconds": round(seconds, 6)}
            line = f"{json.dumps(values)}\n".encode()
            try:
                written = self._file.write(line)
                self._file.write(line[written:])
            except OSError as error:
                raise with_room(error, self._path, len(line)) from error


def read_metrics(path: Path, warn: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """The lines of a metrics file; [] if there is no file.

    An incomplete last line, as after a crash, is ignored. Lines are damaged if they are not JSON
    objects of numbers, or if their names are neither a subset nor a superset of the most common set
    of names. They are skipped, with one call of `warn`.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = list(map(_numbers_by_name, lines))
    usual = Counter(frozenset(values) for values in found if values).most_common(1)
    good = [v for v in found if v and (set(v) <= usual[0][0] or set(v) >= usual[0][0])]
    if len(good) < len(lines):
        warn(f"{path}: passed over {len(lines) - len(good)} damaged of {len(lines)} lines")
    return good


def _numbers_by_name(line: str) -> dict[str, float] | None:
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    is_good = isinstance(values, dict) and all(type(v) in (int, float) for v in values.values())
    return values if is_good else None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    replace_file(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


class ProgressLine:
    """What a run does: a live line on a terminal, plain lines of steps elsewhere.

    The live line is a bar with the step, the ELBO, steps per second and the time left; or, while no
    steps are taken, what the run does instead, and for how long. It is gone when the run ends.
    Plain lines come at most every `seconds_between_lines`; the last of the steps is printed in any
    case, on a terminal, too.
    """

    def __init__(
        self,
        num_steps: int,
        objective: str = "ELBO",
        *,
        quiet: bool = False,
        console: PlainConsole | None = None,
        seconds_between_lines: float = 1.0,
    ):
        """Prepares a line for `num_steps` steps; a quiet one prints nothing.

        `objective` is the name of the value that is shown, in nats.
        """
        self._num_steps, self._pause = num_steps, seconds_between_lines
        self._objective = objective
        self._console = console or PlainConsole(quiet=quiet)
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._step = self._bar.add_task("", total=num_steps)
        self._clock = Progress(TextColumn("{task.description}"), TimeElapsedColumn())
        self._phase = self._clock.add_task("")
        self._shown = self._clock
        self._live = Live(
            get_renderable=lambda: self._shown,
            console=self._console,
            refresh_per_second=10,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Starts the live line."""
        if self._console.is_terminal:
            self._live.start()
        self._started, self._first_step, self._last_line = time.monotonic(), 0, -math.inf
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the live line."""
        self._live.stop()

    def say(self, line: str) -> None:
        """Prints a line above the live one."""
        self._console.print(line)

    def phase(self, name: str) -> None:
        """Shows what the run does while it takes no steps; on the live line only."""
        self._clock.reset(self._phase, description=name)
        self._shown = self._clock

    def start(self, step: int) -> None:
        """Starts the clock of the steps, after loading and compilation."""
        self._bar.reset(self._step, completed=step, description="")
        self._shown = self._bar
        self._started, self._first_step = time.monotonic(), step

    def update(self, step: int, value: float, end: str = "") -> None:
        """Shows a step and its ELBO or other objective; with `end`, why it is the last one."""
        now = time.monotonic()
        rate = (step - self._first_step) / max(now - self._started, 1e-9)
        status = f"{self._objective} {value:,.3f} nats  {rate:,.{int(rate < 10)}f} steps/s"
        self._bar.update(self._step, completed=step, description=status)
        is_due = not self._live.is_started and now - self._last_line >= self._pause
        if end or is_due:
            self._last_line = now
            left = (self._num_steps - step) / max(rate, 1e-9)
            self.say(f"step {step}/{self._num_steps}  {status}  {end or f'{left:.0f} s left'}")
