"""The directory of a run, locked by one run at a time."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vigamma.errors import CheckpointError
from vigamma.storage.atomic_files import UNFINISHED, room

_LOCK = ".lock"
_BLOCK = 4096
"""The disk space of a small file on most file systems."""


def folder_of_start(workdir: Path, index: int) -> Path:
    """The folder of the checkpoints and metrics of a start; for the first it is the workdir."""
    return workdir / "starts" / str(index) if index else workdir


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """A context in which `workdir` exists, is writable, and is locked by this process.

    Partial files of killed runs are removed first. The lock is released when the process ends, in
    whatever way. A directory that was created here is removed if nothing was written to it.

    Raises:
      CheckpointError: if the directory is not writable, or locked by another run.
    """
    try:
        missing = [path for path in (workdir, *workdir.parents) if not path.exists()]
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            lock = _lock(workdir)
    except OSError as error:
        why = str(error.strerror)
        if error.errno == errno.ENOSPC:
            why += f" ({room(workdir, _BLOCK)})"
        raise CheckpointError(f"cannot write in the workdir {workdir}: {why}") from error
    with lock:
        _remove_unfinished(workdir)
        try:
            yield
        finally:
            if missing and workdir.exists() and os.listdir(workdir) == [_LOCK]:
                (workdir / _LOCK).unlink()
                for path in missing:
                    path.rmdir()


def check_held(workdir: Path) -> None:
    """Raises OSError if the workdir was removed after this process `locked` it."""
    lock = workdir / _LOCK
    if not lock.exists() or lock.read_text() != str(os.getpid()):
        raise OSError("the workdir was removed while the run was at work in it")


def _lock(workdir: Path) -> TextIO:
    """The open and locked file `<workdir>/.lock`, which contains the id of this process."""
    path = workdir / _LOCK
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise CheckpointError(f"another run (process {holder}) is at work in {workdir}") from None
    if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
        lock.close()  # its holder has just removed it
        return _lock(workdir)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _remove_unfinished(workdir: Path) -> None:
    for folder in (workdir, workdir / "figures", workdir / "draws"):
        for path in folder.glob(f"{UNFINISHED}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
