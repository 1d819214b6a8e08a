"""What scripts print: text that every terminal, pipe and encoding takes as it is meant."""

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from rich.console import Console

_CONTROL = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f"  # of terminals
    r"\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # of directions; halves of pairs
)
_IN_ASCII = {"×": "x", "‖": "||", "→": "->", "θ": "theta", "β": "beta", "≥": ">=", "…": "..."}
_ERRORS = "vigamma.in_ascii"
_CLOSED_PIPE = 141
"""The exit status after SIGPIPE, as shells give it."""


def printable(text: str) -> str:
    """Text with its control characters, line ends apart, as escapes.

    What a name holds must not move the cursor, change colours or turn the direction of writing.
    Halves of surrogate pairs, as in file names that are not UTF-8, are escaped, too.
    """
    return _CONTROL.sub(lambda found: _escape(found[0]), text)


def in_one_line(text: str) -> str:
    """Printable text with its line ends as escapes, too."""
    return printable(text).replace("\n", "\\n")


def complain(error: object) -> None:
    """Prints an error to standard error, in one line."""
    print(f"error: {in_one_line(str(error))}", file=sys.stderr, flush=True)


def take_any_character() -> None:
    """Lets both outputs replace what their encoding lacks: × by x, others by escapes."""
    codecs.register_error(_ERRORS, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


@contextmanager
def end_with_a_closed_pipe() -> Iterator[None]:
    """Ends a script without a word where its standard output is closed, as by `| head`.

    SIGPIPE stays ignored. Its default would end the process at other pipes, too: asyncio, in Orbax,
    wakes its loops through sockets, and now and then through one that was just closed.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _end()


class PlainConsole(Console):
    """A console of Rich without markup, soft-wrapped, whose strings are printable."""

    def __init__(self, **options: Any):
        """Takes the options of Rich."""
        super().__init__(soft_wrap=True, highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints strings as they are, control characters escaped."""
        shown = (printable(o) if isinstance(o, str) else o for o in objects)
        super().print(*shown, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Ends the script as `end_with_a_closed_pipe` does."""
        _end()


class PrintableText:
    """Standard output of a script that answers: all that is printed there is printable."""

    def __init__(self, stream: TextIO):
        """Writes to `stream`."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text; returns its length."""
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's."""
        return getattr(self._stream, name)


def _end() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
    raise SystemExit(_CLOSED_PIPE)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(c) or _escape(c) for c in lacking), error.end
