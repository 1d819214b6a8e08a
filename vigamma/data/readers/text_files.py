"""Text files: decoding, splitting into lines, and one-line errors."""

import codecs
import functools
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from vigamma.counts.names import as_names
from vigamma.data.readers.packed_files import (
    BYTES_AT_ONCE,
    DAMAGED,
    PACKED_ENDS,
    FormatError,
    open_bytes,
)

_MARKS = {  # UTF-32 before UTF-16, whose marks are prefixes
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NULL_BYTE = "expected UTF-8 text, but there is a null byte"
_LONGEST_LINE = 2**26  # bounds the memory for a file without line ends
_ENCODING_HINT = "--config.data.encoding=latin-1 (or cp1252, utf-16, ...) reads other texts"


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Converts any error of a broken file to a FormatError with a message of one line.

    Args:
      path: the file.
      kind: the expected kind, for example "a MatrixMarket file".

    Raises:
      FormatError: for any error, except if the file is missing or may not be read.
    """
    try:
        yield
    except (FormatError, FileNotFoundError, PermissionError):
        raise
    except DAMAGED as error:
        raise FormatError(f"{path} is cut short or damaged: {_reason(error)}") from error
    except Exception as error:  # on broken files, libraries may raise anything
        raise FormatError(f"{path} is not {kind}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_encoding(name: str) -> None:
    """Raises ValueError unless `name` is a text encoding known to Python, or ""."""
    try:
        "".encode(name or "utf-8")
    except LookupError as error:
        raise ValueError(
            f"encoding is {name!r}, which is none; for example utf-8, latin-1, cp1252, utf-16"
        ) from error


@contextmanager
def open_utf8(path: Path, encoding: str = "") -> Iterator[io.BufferedReader]:
    """Opens a text, decompressed and converted to UTF-8, without a byte order mark.

    Args:
      path: the file.
      encoding: the encoding of the file; "" for UTF-8, or that of a byte order mark.

    Raises:
      FormatError: for the mark of another encoding and, while it is read, for bytes that are
        invalid in the encoding, unless that is UTF-8.
    """
    with open_bytes(path) as file:
        start = file.peek(4)
        mark = next((mark for mark in _MARKS if start.startswith(mark)), b"")
        given = codecs.lookup(encoding or _MARKS.get(mark, "utf-8")).name
        if mark and not given.startswith(_MARKS[mark]):
            raise FormatError(
                f"{path} begins with the mark of {_MARKS[mark]}, but --config.data.encoding is "
                f"{encoding!r}"
            )
        if given.startswith("utf-8"):
            file.read(len(mark))
            yield file
        else:
            name = _MARKS.get(mark, given)
            yield io.BufferedReader(_Recoded(path, file, name), BYTES_AT_ONCE)


class _Recoded(io.RawIOBase):
    """The UTF-8 bytes of a text in another encoding."""

    def __init__(self, path: Path, file: BinaryIO, encoding: str):
        self._path, self._file, self._encoding = path, file, encoding
        self._decoder, self._num_lines = codecs.getincrementaldecoder(encoding)(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        text, block = "", b"more"
        while block and not text:
            block = self._file.read(len(buffer) // 4)  # each byte becomes at most 3
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeError as error:
                raise self._problem(error) from error
        self._num_lines += text.count("\n")
        recoded = text.encode()
        buffer[: len(recoded)] = recoded
        return len(recoded)

    def _problem(self, error: UnicodeError) -> FormatError:
        number, reason = self._num_lines + 1, str(error)
        if isinstance(error, UnicodeDecodeError):
            before = error.object[: error.start].decode(self._encoding, "ignore")
            number, reason = number + before.count("\n"), error.reason
        problem = f"expected text in {self._encoding}: {reason}; {_ENCODING_HINT}"
        return at_line(self._path, number, problem)


@contextmanager
def open_text(path: Path, long_delimiter: str = "", encoding: str = "") -> Iterator[TextIO]:
    """Opens a text, in which a delimiter of two characters is replaced by a tab.

    Reading raises UnicodeDecodeError for invalid UTF-8 if that is the encoding, and ValueError for
    a null byte or, if delimiters are replaced, for a tab.
    """
    with open_utf8(path, encoding) as file:
        raw = _CheckedText(file, long_delimiter.encode())
        with io.TextIOWrapper(io.BufferedReader(raw, BYTES_AT_ONCE), "utf-8", newline="") as text:
            text._CHUNK_SIZE = BYTES_AT_ONCE  # type: ignore[attr-defined]  # of CPython
            yield text


class _CheckedText(io.RawIOBase):
    """The bytes of a text, validated and with delimiters replaced block by block."""

    def __init__(self, file: BinaryIO, long_delimiter: bytes):
        self._file, self._delimiter = file, long_delimiter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer) - 1)
        if b"\0" in block:
            raise ValueError("it holds a null byte, and so is not a text in UTF-8")
        if self._delimiter:
            if b"\t" in block:
                raise ValueError(f"tabs and {self._delimiter.decode()!r} are mixed")
            if block.endswith(self._delimiter[:1]):  # possibly half a delimiter
                block += self._file.read(1)
            block = block.replace(self._delimiter, b"\t")
        buffer[: len(block)] = block
        return len(block)


def numbered_lines(path: Path, encoding: str = "") -> Iterator[tuple[int, str]]:
    """Yields the lines of a text, without line ends, numbered from 1.

    Raises:
      FormatError: for a line that is invalid in the encoding; "" is UTF-8 or that of a mark.
    """
    with open_utf8(path, encoding) as file:
        lines = iter(lambda: file.readline(_LONGEST_LINE + 1), b"")
        for number, line in enumerate(lines, 1):
            if len(line) > _LONGEST_LINE:
                raise at_line(path, number, f"expected at most {_LONGEST_LINE >> 20} MB in a line")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = f"expected UTF-8 text: {error.reason}; {_ENCODING_HINT}"
                raise at_line(path, number, problem) from error
            if "\0" in text:
                raise at_line(path, number, f"{_NULL_BYTE}; {_ENCODING_HINT}")
            text = text.rstrip("\r\n")
            if "\r" in text:
                raise at_line(path, number, "a carriage return stands inside the line")
            yield number, text


def at_line(path: Path, number: int, problem: str) -> FormatError:
    """The error for a problem in one line."""
    return FormatError(f"{path}, line {number}: {problem}")


def shown(text: str) -> str:
    """A piece of text, quoted and shortened for a message."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def is_number(text: str) -> bool:
    """Whether a field is a number, including NaN and infinity."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def is_finite(text: str) -> bool:
    """Whether a field is a number, and neither NaN nor infinity."""
    return is_number(text) and math.isfinite(float(text))


def read_names(path: Path, encoding: str = "") -> np.ndarray:
    """Reads one name per line, as `StringDType`; raises FormatError for a broken file.

    The parts of a split have one file of names, which is read once.
    """
    with reading(path, "a list of names"):
        return _names_in(path, encoding, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)  # of rows and of columns
def _names_in(path: Path, encoding: str, changed: int) -> np.ndarray:
    del changed
    names = as_names(line.strip() for _, line in numbered_lines(path, encoding))
    names.flags.writeable = False
    return names


def beside(folder: Path, *names: str) -> Path | None:
    """The first of these files that exists in the folder, plain or compressed."""
    found = (folder / f"{name}{end}" for name in names for end in ("", *PACKED_ENDS))
    return next((path for path in found if path.is_file()), None)
