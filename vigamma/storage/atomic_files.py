"""Atomic writes: a file is written completely or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".partial-"
"""The prefix of the names of files and folders that are being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same suffix, that replaces `path` at the end.

    The folder is created if it is missing. After an error `path` is unchanged.
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
    """Writes a file atomically; the message of an OSError states the free space."""
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise with_room(error, path, len(content)) from error


def with_room(error: OSError, path: Path, bytes_needed: int) -> OSError:
    """The error of writing `path`, with the needed and the free bytes in its message."""
    return OSError(error.errno, f"{error.strerror} ({room(path.parent, bytes_needed)})", str(path))


def room(folder: Path, bytes_needed: int) -> str:
    """The text of the needed and the free bytes in a folder."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{bytes_needed:,} bytes needed, {shutil.disk_usage(existing).free:,} bytes free"


def flush(path: Path) -> None:
    """Waits until the file, or the list of names in the folder, is on the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
