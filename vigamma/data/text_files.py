"""Files at the border: opened, unzipped and decoded, and what is broken said in one line."""

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from vigamma.data.names import as_names

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_AT_ONCE = 2**18
_LONGEST_LINE = 2**26


class FormatError(ValueError):
    """A file that is not what its reader expects; names the file and, if it is text, the line."""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Makes one line of whatever a broken file raises.

    Args:
      path: the file.
      kind: what it was expected to be, for example "a MatrixMarket file".

    Raises:
      FormatError: for anything but a file that is missing or may not be read.
    """
    try:
        yield
    except (FormatError, FileNotFoundError, PermissionError):
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path} is cut short or damaged: {_reason(error)}") from error
    except Exception as error:  # a broken file can break the library that reads it anywhere
        raise FormatError(f"{path} is not {kind}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, unzipped if it is gzipped, after the byte order mark if there is one."""
    with path.open("rb") as stored:
        is_zipped = stored.read(len(_GZIP)) == _GZIP
        stored.seek(0)
        with gzip.GzipFile(fileobj=stored) if is_zipped else stored as file:
            if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
                file.seek(0)
            yield file


@contextmanager
def open_text(path: Path, long_delimiter: str = "") -> Iterator[TextIO]:
    """Opens UTF-8 text, in which a delimiter of two characters is replaced by a tab.

    Reading raises UnicodeDecodeError for other bytes, and ValueError for a null byte, and for a tab
    where tabs replace something.
    """
    with open_bytes(path) as file:
        raw = _CheckedText(file, long_delimiter.encode())
        with io.TextIOWrapper(io.BufferedReader(raw, _AT_ONCE), "utf-8", newline="") as text:
            text._CHUNK_SIZE = _AT_ONCE
            yield text


class _CheckedText(io.RawIOBase):
    """The bytes of a text, checked and replaced a block at a time."""

    def __init__(self, file: BinaryIO, long_delimiter: bytes):
        self._file, self._delimiter = file, long_delimiter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        block = self._file.read(len(buffer) - 1)
        if b"\0" in block:
            raise ValueError("it holds a null byte, and so is not a text in UTF-8")
        if self._delimiter:
            if b"\t" in block:
                raise ValueError(f"tabs and {self._delimiter.decode()!r} are mixed")
            if block.endswith(self._delimiter[:1]):  # perhaps half of one
                block += self._file.read(1)
            block = block.replace(self._delimiter, b"\t")
        buffer[: len(block)] = block
        return len(block)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text in UTF-8, without their ends, numbered from 1.

    Raises:
      FormatError: for a line that is no text in UTF-8.
    """
    with open_bytes(path) as file:
        lines = iter(lambda: file.readline(_LONGEST_LINE + 1), b"")
        for number, line in enumerate(lines, 1):
            if len(line) > _LONGEST_LINE:
                raise at_line(path, number, f"expected at most {_LONGEST_LINE >> 20} MB in a line")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise at_line(path, number, f"expected UTF-8 text: {error.reason}") from error
            if "\0" in text:
                raise at_line(path, number, "expected UTF-8 text, but there is a null byte")
            yield number, text.rstrip("\r\n")


def at_line(path: Path, number: int, problem: str) -> FormatError:
    """The error of one line."""
    return FormatError(f"{path}, line {number}: {problem}")


def shown(text: str) -> str:
    """A piece of a file as a message quotes it."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def is_number(text: str) -> bool:
    """Whether a field is a number; NaN and infinity are."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def is_finite(text: str) -> bool:
    """Whether a field is a number, and neither NaN nor infinity."""
    return is_number(text) and math.isfinite(float(text))


def read_names(path: Path) -> np.ndarray:
    """One name a line, strings of `StringDType`; raises FormatError for a broken file."""
    with reading(path, "a list of names"):
        return as_names(line.strip() for _, line in numbered_lines(path))


def beside(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in the folder, itself or with `.gz` after its name."""
    found = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in found if path.is_file()), None)
