"""Files and folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".partial-"
"""What the names of files and folders begin with that are being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, of the same ending; what is written there takes its place at the end.

    The folder is made if it is missing. After an error `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{UNFINISHED}{path.name}")
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; an OSError says how much room there was."""
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise with_room(error, path, len(content)) from error


def with_room(error: OSError, path: Path, bytes_needed: int) -> OSError:
    """The error of writing `path`, with the bytes that it takes and those that are free."""
    return OSError(error.errno, f"{error.strerror} ({room(path.parent, bytes_needed)})", str(path))


def room(folder: Path, bytes_needed: int) -> str:
    """The bytes that are needed in a folder, and those that are free, in words."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{bytes_needed:,} bytes needed, {shutil.disk_usage(existing).free:,} bytes free"


def flush(path: Path) -> None:
    """Returns when the file, or the list of names in the folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
