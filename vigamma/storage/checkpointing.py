"""Atomic checkpoints with checksums: Orbax writes the arrays, and a manifest seals them.

Orbax alone restores a flipped bit as a wrong number, casts a wrong dtype silently, lists partly
deleted steps, and does not fall back when its newest step is damaged. Here it writes to a temporary
folder, and reads files only after their checksums were verified.
"""

import gc
import json
import logging
import os
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from vigamma.devices.processes import is_of_processes, on_first_process, whole
from vigamma.errors import CheckpointError, first_line
from vigamma.random.forks import check_not_forked
from vigamma.storage.atomic_files import UNFINISHED, room
from vigamma.storage.manifest import (
    DamageError,
    check_files,
    commit,
    discard,
    is_sealed,
    numbered_folders,
    read_manifest,
    set_aside,
    size_on_disk,
)
from vigamma.storage.workdir import check_held
from vigamma.typing import PyTree

_KEPT_STEPS = 3
_ARRAYS = "arrays"
_NOTHING = -1  # no step: `on_first_process` broadcasts an int
_SECONDS_TO_END = 5.0
_SECONDS_OF_ECHOES = 0.2
_BYTES_ADDED = 2**16
"""The bytes that Orbax and the manifest add to the arrays of a small step."""


class Checkpointer:
    """The checkpoints of one run, `<workdir>/<step>/`.

    The workdir must be `locked`. The newest three steps are kept.

    Attributes:
      last_saved: the newest step on disk that this object saved or restored, or None.
      seconds_saving: the total time of its saves.
    """

    def __init__(self, workdir: str | os.PathLike[str], identity: Mapping[str, Any]):
        """Prepares to save and restore, without touching the disk.

        Args:
          workdir: the directory of the run.
          identity: what a checkpoint must share with the run that resumes it; JSON values.
        """
        self._workdir, self._identity = Path(workdir).absolute(), dict(identity)
        self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        self.last_saved: int | None = None
        self.seconds_saving = 0.0

    def save(self, step: int, arrays: PyTree) -> None:
        """Saves a pytree as `step`; returns when all of it is on the disk.

        Args:
          step: the step; nothing is done if it is `last_saved`.
          arrays: the pytree. If there are several processes, all must call this.

        Raises:
          CheckpointError: if it could not be saved; steps saved before are unchanged.
        """
        if step == self.last_saved:
            return
        started = time.monotonic()
        leaves = _named_leaves(arrays)
        facts = {
            "step": step,
            "identity": self._identity,
            "leaves": {name: _describe(leaf) for name, leaf in leaves.items()},
        }
        partial = self._workdir / f"{UNFINISHED}{step}"
        needed = self._bytes_needed(leaves)
        try:
            on_first_process(lambda: self._check_workdir(needed))
            with _all_threads_ended():
                self._orbax.save(partial / _ARRAYS, args=ocp.args.StandardSave(leaves))
            on_first_process(lambda: self._commit(partial, facts))
        except (OSError, ValueError, RuntimeError) as error:
            if is_of_processes(error):
                raise
            if jax.process_index() == 0:
                shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(
                f"could not save step {step} in {self._workdir} ({room(self._workdir, needed)}): "
                f"{_reason(error)}"
            ) from error
        self.last_saved = step
        self.seconds_saving += time.monotonic() - started

    def _commit(self, partial: Path, facts: Mapping[str, Any]) -> int:
        step = facts["step"]
        check_held(self._workdir)  # Orbax would create it again if it is missing
        commit(partial, self._workdir / str(step), facts)
        for old in saved_steps(self._workdir)[:-_KEPT_STEPS]:
            if is_sealed(self._workdir / str(old)):  # and not a folder of another program
                discard(self._workdir / str(old))
        return step

    def _bytes_needed(self, leaves: Mapping[str, jax.Array]) -> int:
        """The disk space of a step: that of the newest one, and at least the size of the arrays."""
        least = sum(leaf.nbytes for leaf in leaves.values()) + _BYTES_ADDED
        newest = saved_steps(self._workdir)[-1:]
        return max([least, *(size_on_disk(self._workdir / str(step)) for step in newest)])

    def _check_workdir(self, bytes_needed: int) -> int:
        """Raises OSError if the workdir is no longer held, or has too little space for a step."""
        check_held(self._workdir)
        disk = shutil.disk_usage(self._workdir)
        if disk.total and disk.free < bytes_needed:  # both are 0 on file systems without a limit
            raise OSError("no space left on device")
        return 0

    def restore(self, arrays: PyTree, warn: Callable[[str], None]) -> PyTree | None:
        """The newest intact checkpoint, on the devices like `arrays`; None if there is none.

        Damaged newer ones are renamed `damaged-<step>-<number>`, with one call of `warn` each.

        Raises:
          CheckpointError: if the checkpoint is of another run (the message names the differences of
            config, data, leaves, shapes or dtypes), or if there are checkpoints but none is intact.
        """
        leaves = _named_leaves(arrays)
        step = on_first_process(lambda: self._newest_of_this_run(leaves, warn))
        if step == _NOTHING:
            return None
        target = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for name, leaf in leaves.items()
        }
        restored = _read_arrays(self._workdir / str(step), target)
        self.last_saved = step
        return _with_leaves(arrays, restored)

    def newest(self) -> int | None:
        """The step of the newest intact checkpoint, on one process; None if there is none.

        Raises:
          CheckpointError: if it is of another run, or none is intact.
        """
        step, _ = self._newest_intact(lambda _: None)
        return None if step == _NOTHING else step

    def _newest_intact(self, warn: Callable[[str], None]) -> tuple[int, Mapping[str, Any]]:
        found = _first_intact(self._workdir, saved_steps(self._workdir)[::-1], warn)
        if found is None:
            return _NOTHING, {}
        step, manifest = found
        self._check_identity(manifest, step)
        return step, manifest

    def _newest_of_this_run(
        self, leaves: Mapping[str, jax.Array], warn: Callable[[str], None]
    ) -> int:
        step, manifest = self._newest_intact(warn)
        if step == _NOTHING:
            return _NOTHING
        _check_leaves(manifest, leaves, step)
        for damaged in (s for s in saved_steps(self._workdir) if s > step):
            set_aside(self._workdir / str(damaged))
        return step

    def _check_identity(self, manifest: Mapping[str, Any], step: int) -> None:
        stored, wanted = manifest["identity"], json.loads(json.dumps(self._identity))
        names = [n for n in sorted({*stored, *wanted}) if stored.get(n) != wanted.get(n)]
        if names:
            changes = "; ".join(f"{n}: {stored.get(n)} → {wanted.get(n)}" for n in names)
            raise CheckpointError(
                f"{self._workdir} holds step {step} of another run ({changes}); choose another "
                "--workdir, or the old values"
            )


def read_checkpoint(
    workdir: str | os.PathLike[str], warn: Callable[[str], None], wanted: int | None = None
) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
    """Reads a checkpoint, on one process, without the config of its run.

    Args:
      workdir: the directory of the run.
      warn: called with a line for each damaged checkpoint that is skipped.
      wanted: the step to read; by default that of the newest intact checkpoint.

    Returns:
      the step, its leaves by name, and the identity of its run.

    Raises:
      CheckpointError: if there is no such checkpoint, or none intact.
      RunError: in a process that was forked after JAX had started.
    """
    check_not_forked()
    workdir = Path(workdir).absolute()
    found = _first_intact(workdir, _candidates(workdir, wanted), warn)
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {workdir}")
    step, manifest = found
    target = {name: np.zeros(d["shape"], d["dtype"]) for name, d in manifest["leaves"].items()}
    return step, _read_arrays(workdir / str(step), target), manifest["identity"]


def saved_steps(workdir: str | os.PathLike[str]) -> list[int]:
    """The steps of all checkpoints, in ascending order, intact or not."""
    return numbered_folders(Path(workdir))


def _candidates(workdir: Path, wanted: int | None) -> list[int]:
    """The steps to try, in order; raises CheckpointError if the wanted step is missing."""
    steps = saved_steps(workdir)
    if wanted is None or not steps:
        return steps[::-1]
    if wanted not in steps:
        kept = ", ".join(map(str, steps))
        raise CheckpointError(f"step {wanted} is not in {workdir}; kept are {kept}")
    return [wanted]


def _first_intact(
    workdir: Path, steps: Sequence[int], warn: Callable[[str], None]
) -> tuple[int, dict[str, Any]] | None:
    """The first of the steps whose files are intact, and its manifest.

    None if there are no checkpoints; raises CheckpointError if all are damaged.
    """
    damaged = 0
    for step in steps:
        folder = workdir / str(step)
        try:
            manifest = read_manifest(folder)
            check_files(folder, manifest)
            if manifest["step"] != step:
                raise DamageError(f"it is a copy of step {manifest['step']}")
            return step, manifest
        except DamageError as damage:
            if folder.exists():  # unless a run has just deleted it as an old step
                damaged += 1
                warn(f"checkpoint {folder} is damaged: {damage}")
    if damaged:
        tried = ", ".join(map(str, steps))
        raise CheckpointError(f"nothing to read in {workdir}: not intact are {tried}")
    return None


def _read_arrays(folder: Path, target: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a checkpoint whose files are intact, as `target` describes them."""
    try:
        with _all_threads_ended(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as orbax:
            leaves = orbax.restore(folder / _ARRAYS, args=ocp.args.StandardRestore(dict(target)))
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        if is_of_processes(error):
            raise
        raise CheckpointError(f"{folder} cannot be restored: {_reason(error)}") from error
    stored = read_manifest(folder)["leaves"]
    for name, leaf in leaves.items():
        if _describe(leaf) != stored[name]:
            raise CheckpointError(f"{folder} cannot be restored: {name} is not what was saved")
    return leaves


def _reason(error: Exception) -> str:
    """The message of an error of Orbax, without the TensorStore settings that follow it."""
    return first_line(error).split(" [tensorstore_spec=")[0]


@contextmanager
def _all_threads_ended() -> Iterator[None]:
    """A context that, after an error in one thread of Orbax, waits for the others and mutes them.

    Otherwise they would continue to write into a folder that is being removed, and log errors that
    are raised anyway, or that their event loop is closed.
    """
    before = threading.enumerate()
    loggers = map(logging.getLogger, ("absl", "asyncio", "concurrent.futures"))
    with _quiet(*loggers), _without_closed_loops():
        try:
            yield
        except BaseException:
            deadline = time.monotonic() + _SECONDS_TO_END
            for thread in set(threading.enumerate()).difference(before):
                thread.join(max(deadline - time.monotonic(), 0))
            gc.collect()  # destroys tasks now, which log errors that were never retrieved
            time.sleep(_SECONDS_OF_ECHOES)  # for TensorStore's threads, which Python cannot join
            raise


@contextmanager
def _without_closed_loops() -> Iterator[None]:
    """A context that suppresses the message that an event loop was closed before a thread ended.

    After an error it stays suppressed: TensorStore's threads end when the disk lets them.
    """
    hook = sys.unraisablehook

    def others(unraisable: "sys.UnraisableHookArgs") -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    sys.unraisablehook = others
    yield
    sys.unraisablehook = hook


@contextmanager
def _quiet(*loggers: logging.Logger) -> Iterator[None]:
    were_disabled = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in zip(loggers, were_disabled, strict=True):
            logger.disabled = was_disabled


def _named_leaves(arrays: PyTree) -> dict[str, jax.Array]:
    """The leaves of a pytree by path, typed PRNG keys as their data, Variables as their arrays."""

    def is_variable(leaf: Any) -> bool:
        return isinstance(leaf, nnx.Variable)

    pure = jax.tree.map(
        lambda leaf: leaf[...] if is_variable(leaf) else leaf, arrays, is_leaf=is_variable
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _key_data(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(pure)
    }


def _with_leaves(arrays: PyTree, leaves: Mapping[str, jax.Array]) -> PyTree:
    """`arrays` with its leaves replaced by those of the same names."""
    old, structure = jax.tree.flatten(arrays)
    new = [
        jax.random.wrap_key_data(leaves[name], impl=jax.random.key_impl(like))
        if _is_key(like)
        else leaves[name]
        for like, name in zip(old, _named_leaves(arrays), strict=True)
    ]
    return jax.tree.unflatten(structure, new)


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _describe(leaf: jax.Array) -> dict[str, Any]:
    array = whole(leaf)
    checksum = zlib.crc32(np.ascontiguousarray(array).data) if array.size else 0
    return {"shape": list(array.shape), "dtype": array.dtype.name, "crc32": checksum}


def _check_leaves(manifest: Mapping[str, Any], leaves: Mapping[str, jax.Array], step: int) -> None:
    for name in sorted({*manifest["leaves"], *leaves}):
        stored, wanted = manifest["leaves"].get(name), leaves.get(name)
        have = stored and f"{stored['dtype']}{tuple(stored['shape'])}"
        want = None if wanted is None else f"{wanted.dtype.name}{wanted.shape}"
        if have != want:
            raise CheckpointError(f"step {step} holds {name} as {have}, but {want} is wanted")
