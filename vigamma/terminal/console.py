"""Printing of scripts, safe for all terminals, pipes and encodings."""

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from rich.console import Console

_CONTROL = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f"  # control characters
    r"\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # marks of direction, lone surrogates
)
_IN_ASCII = {"×": "x", "‖": "||", "→": "->", "θ": "theta", "β": "beta", "≥": ">=", "…": "..."}
_ERRORS = "vigamma.in_ascii"
_CLOSED_PIPE = 141
"""The exit status that shells report after SIGPIPE."""


def printable(text: str) -> str:
    """Escapes the control characters of a text, except line ends.

    Names from data must not move the cursor, change colors or reverse the direction of writing.
    Lone surrogates, as in file names that are not UTF-8, are escaped, too.
    """
    return _CONTROL.sub(lambda found: _escape(found[0]), text)


def in_one_line(text: str) -> str:
    """Escapes all control characters of a text, including line ends."""
    return printable(text).replace("\n", "\\n")


def complain(error: object) -> None:
    """Prints an error to standard error as one line."""
    print(f"error: {in_one_line(str(error))}", file=sys.stderr, flush=True)


def take_any_character() -> None:
    """Makes standard output and error replace unencodable characters: × by x, others by escapes."""
    codecs.register_error(_ERRORS, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


@contextmanager
def end_with_a_closed_pipe() -> Iterator[None]:
    """Ends a script silently when its standard output is closed, as by `| head`.

    SIGPIPE stays ignored. Its default action would end the process for any closed pipe or socket,
    such as those by which asyncio, in Orbax, wakes its loops.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _end()


class PlainConsole(Console):
    """A Rich console without markup, soft-wrapped, that escapes control characters."""

    def __init__(self, **options: Any):
        """Passes the options to Rich."""
        super().__init__(soft_wrap=True, highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints strings literally, with control characters escaped."""
        shown = (printable(o) if isinstance(o, str) else o for o in objects)
        super().print(*shown, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Ends the script as `end_with_a_closed_pipe` does."""
        _end()


class PrintableText:
    """A wrapper of standard output that escapes control characters."""

    def __init__(self, stream: TextIO):
        """Wraps `stream`."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text; returns its length."""
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Delegates all else to the stream."""
        return getattr(self._stream, name)


def _end() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards the rest
    raise SystemExit(_CLOSED_PIPE)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(c) or _escape(c) for c in lacking), error.end
