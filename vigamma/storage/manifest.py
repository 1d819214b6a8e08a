"""Folders that are written atomically, with checksums to detect damage.

A folder is written under a temporary name, and receives a manifest with the size and the CRC-32 of
every file, and the CRC-32 of the manifest itself. It is renamed when all of it is on the disk.
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

_READ_BYTES = 2**20  # so that files need not fit in memory


class DamageError(Exception):
    """The folder differs from what was written; the message names the file."""


def commit(partial: Path, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes a manifest with `facts` into `partial`, and renames it to `folder`.

    Returns when all files, folders and the new name are on the disk.
    """
    files = {
        path.relative_to(partial).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in sorted(partial.rglob("*"))
        if path.is_file()
    }
    (partial / MANIFEST).write_text(json.dumps(sealed({**facts, "files": files}), indent=1))
    for parent, _, names in os.walk(partial, topdown=False):
        for name in names:
            flush(Path(parent, name))
        flush(Path(parent))
    partial.rename(folder)
    flush(folder.parent)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest that `commit` wrote; raises DamageError if it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        is_good = is_intact(manifest)
    except FileNotFoundError:
        raise DamageError(f"{MANIFEST} is missing") from None
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise DamageError(f"{MANIFEST} cannot be read: {error}") from None
    if not is_good:
        raise DamageError(f"{MANIFEST} has another checksum than it should have")
    return manifest


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, converted to JSON values, with their checksum."""
    values = json.loads(json.dumps(facts))
    return {**values, "crc32": zlib.crc32(json.dumps(values, sort_keys=True).encode())}


def is_intact(values: Mapping[str, Any]) -> bool:
    """Whether these are `sealed` values, as they were."""
    return sealed({name: values[name] for name in values if name != "crc32"}) == values


def numbered_folders(parent: Path) -> list[int]:
    """The numbers of the folders in `parent` that are named by one, ascending, sealed or not."""
    names = [path.name for path in parent.glob("*") if path.name.isdecimal() and path.is_dir()]
    return sorted(int(name) for name in names if name == str(int(name)))


def is_sealed(folder: Path) -> bool:
    """Whether the folder has a manifest, intact or not."""
    return (folder / MANIFEST).is_file()


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises DamageError unless every file has the size and checksum of the manifest."""
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
    """Removes a folder, renaming it first, so that a kill leaves no partial folder of its name."""
    doomed = folder.with_name(f"{UNFINISHED}{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def set_aside(folder: Path) -> None:
    """Renames a damaged folder, so that it is no longer taken for a step."""
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
