"""Folders that are whole or absent, and that tell when they are damaged.

A folder is filled under another name and gets a manifest, with the size and the CRC-32 of every
file and one of the manifest itself. It has its own name when all of it is on the disk.
"""

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vigamma.storage.atomic_files import UNFINISHED, flush

MANIFEST = "manifest.json"

_READ_BYTES = 2**20


class DamageError(Exception):
    """Why a folder is not what was written; names the file."""


def commit(partial: Path, folder: Path, facts: Mapping[str, Any]) -> None:
    """Gives `partial` a manifest, with `facts` in it, and the name `folder`.

    Returns when all files and folders are on the disk, and so is the new name.
    """
    files = {
        path.relative_to(partial).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in sorted(partial.rglob("*"))
        if path.is_file()
    }
    (partial / MANIFEST).write_text(json.dumps(_sealed({**facts, "files": files}), indent=1))
    for parent, _, names in os.walk(partial, topdown=False):
        for name in names:
            flush(Path(parent, name))
        flush(Path(parent))
    partial.rename(folder)
    flush(folder.parent)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `commit` wrote; raises DamageError where that is not what there is."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sealed = _sealed({name: manifest[name] for name in manifest if name != "crc32"})
    except FileNotFoundError:
        raise DamageError(f"{MANIFEST} is missing") from None
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise DamageError(f"{MANIFEST} cannot be read: {error}") from None
    if sealed != manifest:
        raise DamageError(f"{MANIFEST} has another checksum than it should have")
    return manifest


def is_sealed(folder: Path) -> bool:
    """Whether the folder has a manifest, intact or not."""
    return (folder / MANIFEST).is_file()


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises DamageError unless every file is as it was written."""
    for name, (size, checksum) in manifest["files"].items():
        try:
            bytes_found = (folder / name).stat().st_size
            if bytes_found != size:
                raise DamageError(f"{name} has {bytes_found} bytes instead of {size}")
            if _checksum(folder / name) != checksum:
                raise DamageError(f"{name} has another checksum than it should have")
        except FileNotFoundError:
            raise DamageError(f"{name} is missing") from None
        except OSError as error:
            raise DamageError(f"{name} cannot be read: {error.strerror}") from None


def discard(folder: Path) -> None:
    """Removes a folder; a kill half-way leaves none of its name."""
    doomed = folder.with_name(f"{UNFINISHED}{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def set_aside(folder: Path) -> None:
    """Renames a damaged folder, so that nothing takes it for a step."""
    number = 1
    while (aside := folder.with_name(f"damaged-{folder.name}-{number}")).exists():
        number += 1
    folder.rename(aside)


def size_on_disk(folder: Path) -> int:
    """The bytes that the files and folders in `folder` take up."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            checksum = zlib.crc32(part, checksum)
    return checksum


def _sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, as JSON has them, with a checksum of them."""
    values = json.loads(json.dumps(facts))
    return {**values, "crc32": zlib.crc32(json.dumps(values, sort_keys=True).encode())}
