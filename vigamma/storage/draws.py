"""Posterior draws on disk: a sealed folder per draw, `<folder>/<step>/*.npy`."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vigamma.errors import CheckpointError
from vigamma.storage.atomic_files import UNFINISHED, room
from vigamma.storage.manifest import (
    DamageError,
    check_files,
    commit,
    discard,
    numbered_folders,
    read_manifest,
)


def save_draw(
    folder: Path, step: int, arrays: Mapping[str, np.ndarray], identity: Mapping[str, Any]
) -> None:
    """Writes a draw atomically, in place of an older one of the same step.

    Args:
      folder: of all draws; created if it is missing.
      step: the sweep that the draw is from.
      arrays: the values by name.
      identity: JSON values that all draws of a run share.

    Raises:
      CheckpointError: if the disk is full, or the folder cannot be written.
    """
    partial, final = folder / f"{UNFINISHED}{step}", folder / str(step)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        if final.exists():
            discard(final)
        partial.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        commit(partial, final, {"step": step, "identity": dict(identity)})
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        needed = sum(array.nbytes for array in arrays.values())
        raise CheckpointError(
            f"could not save the draw of sweep {step} in {folder} ({room(folder, needed)}): "
            f"{error.strerror or error}"
        ) from error


def saved_draws(folder: Path) -> list[int]:
    """The sweeps of the draws in a folder, ascending."""
    return numbered_folders(folder)


def read_draw(folder: Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a draw, memory-mapped, and the identity that it was saved with.

    Raises:
      CheckpointError: if it is not as it was written.
    """
    path = folder / str(step)
    try:
        manifest = read_manifest(path)
        check_files(path, manifest)
    except DamageError as error:
        raise CheckpointError(f"the draw of sweep {step} in {folder} is damaged: {error}") from None
    names = [name.removesuffix(".npy") for name in manifest["files"]]
    arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in names}
    return arrays, manifest["identity"]


def remove_draws(folder: Path) -> None:
    """Removes all draws of a folder."""
    for step in saved_draws(folder):
        discard(folder / str(step))
