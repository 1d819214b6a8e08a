"""Files as decompressed bytes; the compression is recognized by the first bytes."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vigamma.terminal.invocation import pip_install

BYTES_AT_ONCE = 2**18
PACKED_ENDS = (".gz", ".bz2", ".xz", ".zst", ".zip")
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile)
"""The exceptions raised when a damaged file is decompressed."""

_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "lz4",
}
_TAR = slice(257, 262), b"ustar"


class FormatError(ValueError):
    """A file that its reader cannot read; the message names the file and, for text, the line."""


def plain_name(path: Path) -> str:
    """The name of a file without the suffix of its compression."""
    return path.name.removesuffix(next(filter(path.name.endswith, PACKED_ENDS), ""))


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Opens a file, and decompresses gzip, bzip2, xz, Zstandard or zip.

    A zip archive must hold a single file. An `.npz`, a zip archive of NumPy arrays, is not
    unpacked.

    Raises:
      FormatError: for an archive of several files, for an unsupported compression and, while it is
        read, for a damaged file.
    """
    with _buffered(path.open("rb", 0)) as stored:
        start = stored.peek(8)
        for beginning, kind in _OTHERS.items():
            if start.startswith(beginning):
                raise FormatError(f"{path} is compressed by {kind}; unpack it first")
        unpack = next((u for b, u in _UNPACK.items() if start.startswith(b)), None)
        try:
            with (
                unpack(stored, path) if unpack else stored as unpacked,
                _buffered(unpacked) as file,
            ):
                place, magic = _TAR
                if file.peek(place.stop)[place] == magic:
                    raise FormatError(f"{path} is an archive of tar; unpack it first")
                yield file
        except DAMAGED as error:
            raise FormatError(f"{path} is cut short or damaged: {error}") from error


def _buffered(file: io.BufferedIOBase | io.FileIO) -> io.BufferedReader:
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, BYTES_AT_ONCE)


def _unzip(stored: io.BufferedReader, path: Path) -> io.BufferedIOBase:
    archive = zipfile.ZipFile(stored)
    files = [
        file
        for file in archive.infolist()
        if not file.is_dir() and not file.filename.startswith("__MACOSX/")
    ]
    names = [file.filename for file in files]
    if any(name.endswith(".npy") for name in names):
        stored.seek(0)
        return stored
    if "[Content_Types].xml" in names:
        raise FormatError(f"{path} is a workbook of a spreadsheet; save it as CSV")
    if len(files) != 1:
        some = ", ".join([*names[:5], *["..."] * (len(names) > 5)])
        raise FormatError(
            f"{path} has {len(files)} files ({some}); unpack it, and name one of them"
        )
    if files[0].flag_bits & 1:
        raise FormatError(f"{path} is encrypted; unpack it first")
    return archive.open(files[0])  # type: ignore[return-value]  # typed as IO[bytes]


def _unpack_zstandard(stored: io.BufferedReader, path: Path) -> io.BufferedIOBase:
    try:
        import pyarrow
    except ImportError as error:
        raise FormatError(
            f"{path} is compressed by Zstandard, which needs pyarrow: {pip_install('parquet')}; or "
            "unpack it first"
        ) from error
    return pyarrow.CompressedInputStream(stored, "zstd")


_UNPACK: dict[bytes, Callable[[io.BufferedReader, Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda stored, _: gzip.GzipFile(fileobj=stored),
    b"BZh": lambda stored, _: bz2.BZ2File(stored),
    b"\xfd7zXZ\0": lambda stored, _: lzma.LZMAFile(stored),  # noqa: SIM115
    b"\x28\xb5\x2f\xfd": _unpack_zstandard,
    b"PK\x03\x04": _unzip,
}
