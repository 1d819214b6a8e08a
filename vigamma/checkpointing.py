"""Checkpoints that are whole or absent: Orbax behind a lock, a checksum per leaf, and a way back.

Orbax alone restores a flipped bit as a wrong number, casts a wrong dtype silently, and does not
fall back when its newest step is damaged. Here every save is synchronous, every leaf has a
CRC-32, and `restore` walks back to the newest step that is intact.
"""

import fcntl
import gc
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from vigamma.errors import CheckpointError
from vigamma.typing import PyTree

_KEPT_STEPS = 3


class Checkpointer:
    """The checkpoints of one run, `<workdir>/<step>/`, written by this process alone.

    A context manager. With several processes each makes one; the first one holds the lock.

    Attributes:
      last_saved: the newest step on disk that this object saved or restored, or None.
    """

    def __init__(self, workdir: Path, identity: Mapping[str, Any]):
        """Locks `workdir`, creates it if needed, and removes what a killed save left behind.

        Args:
          workdir: the directory of the run.
          identity: what a checkpoint must share with the run that resumes it; JSON values.

        Raises:
          CheckpointError: if the directory cannot be written, or another run is at work in it.
        """
        self._workdir, self._identity = workdir.absolute(), dict(identity)
        self.last_saved: int | None = None
        self._lock = None
        if jax.process_index() == 0:
            self._lock = _lock(self._workdir)
            for unfinished in self._workdir.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished)
        self._manager = ocp.CheckpointManager(
            self._workdir,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEPT_STEPS, enable_async_checkpointing=False
            ),
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the manager and gives the lock back."""
        self._manager.close()
        if self._lock is not None:
            self._lock.close()

    def save(self, step: int, arrays: PyTree) -> None:
        """Saves `arrays`, a pytree, as `step`; returns when it is on disk.

        Raises:
          CheckpointError: if it could not be saved.
        """
        if step == self.last_saved:
            return
        leaves = _named_leaves(arrays)
        meta = {
            "step": step,
            "identity": self._identity,
            "leaves": {name: _describe(leaf) for name, leaf in leaves.items()},
        }
        try:
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(leaves), meta=ocp.args.JsonSave(_seal(meta))
                ),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"could not save step {step} in {self._workdir}: {_first_line(error)}"
            ) from error
        if not saved:
            raise CheckpointError(f"could not save step {step} in {self._workdir}")
        self.last_saved = step

    def restore(self, arrays: PyTree, warn: Callable[[str], None]) -> PyTree | None:
        """The newest intact checkpoint, on the devices like `arrays`; None if there is none.

        Damaged newer checkpoints are set aside as `<step>.damaged-<process>`, each with a line to
        `warn`.

        Raises:
          CheckpointError: if the checkpoint is of another run (its config, data, leaves, shapes
            or dtypes differ: all are named), or if there are checkpoints but none is intact.
        """
        steps, leaves = self._manager.all_steps(), _named_leaves(arrays)

        def read(step: int) -> PyTree:
            meta = _read_meta(self._workdir / str(step))
            self._check_identity(meta, step)
            _check_leaves(meta, leaves, step)
            return _with_leaves(arrays, self._restore_leaves(step, leaves, meta))

        found = _newest_intact(self._workdir, steps, read, warn)
        if found is None and steps:
            raise CheckpointError(f"none of the checkpoints in {self._workdir} is intact")
        if found is None:
            return None
        self.last_saved, restored = found
        self._set_aside([step for step in steps if step > self.last_saved])
        return restored

    def _restore_leaves(
        self, step: int, leaves: Mapping[str, jax.Array], meta: Mapping[str, Any]
    ) -> Mapping[str, jax.Array]:
        target = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for name, leaf in leaves.items()
        }
        args = ocp.args.Composite(arrays=ocp.args.StandardRestore(target))
        restored = self._manager.restore(step, args=args)["arrays"]
        _verify(restored, meta)
        return restored

    def _check_identity(self, meta: Mapping[str, Any], step: int) -> None:
        stored, wanted = meta["identity"], json.loads(json.dumps(self._identity))
        names = [n for n in sorted({*stored, *wanted}) if stored.get(n) != wanted.get(n)]
        if names:
            changes = "; ".join(f"{n}: {stored.get(n)} → {wanted.get(n)}" for n in names)
            raise CheckpointError(
                f"{self._workdir} holds step {step} of another run ({changes}); choose another "
                "--workdir, or the old values"
            )

    def _set_aside(self, damaged: list[int]) -> None:
        if jax.process_index() == 0:
            for step in damaged:
                path = self._workdir / str(step)
                path.rename(path.with_name(f"{step}.damaged-{os.getpid()}"))
        if damaged:
            self._manager.reload()


def read_latest(
    workdir: Path, warn: Callable[[str], None]
) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
    """Reads the newest intact checkpoint without knowing its run, on one process.

    Damaged newer checkpoints are passed over, each with a line to `warn`.

    Returns:
      the step, its leaves by name, and the identity of its run.

    Raises:
      CheckpointError: if there is no intact checkpoint.
    """
    workdir = workdir.absolute()

    def read(step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        meta = _read_meta(workdir / str(step))
        target = {name: np.zeros(d["shape"], d["dtype"]) for name, d in meta["leaves"].items()}
        with ocp.StandardCheckpointer() as reader:
            leaves = reader.restore(workdir / str(step) / "arrays", target)
        _verify(leaves, meta)
        return leaves, meta["identity"]

    steps = [int(path.name) for path in workdir.glob("*") if path.name.isdecimal()]
    found = _newest_intact(workdir, steps, read, warn)
    if found is None:
        raise CheckpointError(f"there is no intact checkpoint in {workdir}")
    step, (leaves, identity) = found
    return step, leaves, identity


def _newest_intact(
    workdir: Path, steps: Sequence[int], read: Callable[[int], Any], warn: Callable[[str], None]
) -> tuple[int, Any] | None:
    """The newest step that `read` reads, and what it read; a line to `warn` for the others.

    A CheckpointError says that a checkpoint is intact but not the one that is wanted.
    """
    for step in sorted(steps, reverse=True):
        with warnings.catch_warnings():
            # Orbax, when a restore fails half-way, leaves coroutines to the garbage collector.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            try:
                return step, read(step)
            except CheckpointError:
                raise
            except Exception as error:  # whatever damage makes of a file
                reason = _first_line(error)
            gc.collect()
        warn(f"checkpoint {workdir / str(step)} is damaged: {reason}")
    return None


def _lock(workdir: Path):
    """Opens and locks `<workdir>/.lock`; the lock goes when the process goes, however it ends."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("a+")
    except OSError as error:
        raise CheckpointError(f"cannot write in the workdir {workdir}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise CheckpointError(f"another run (process {holder}) is at work in {workdir}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _named_leaves(arrays: PyTree) -> dict[str, jax.Array]:
    """The leaves of a pytree by path, typed PRNG keys as their data."""
    pure = nnx.to_pure_dict(arrays) if isinstance(arrays, nnx.State) else arrays
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
    array = np.asarray(leaf)
    checksum = zlib.crc32(array.tobytes())
    return {"shape": list(array.shape), "dtype": array.dtype.name, "crc32": checksum}


def _verify(leaves: Mapping[str, jax.Array], meta: Mapping[str, Any]) -> None:
    for name, leaf in leaves.items():
        if _describe(leaf) != meta["leaves"][name]:
            raise ValueError(f"the checksum of {name} is wrong")


def _seal(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with a checksum of itself."""
    return {**meta, "crc32": zlib.crc32(json.dumps(meta, sort_keys=True).encode())}


def _read_meta(checkpoint: Path) -> dict[str, Any]:
    meta = json.loads((checkpoint / "meta" / "metadata").read_text())
    checksum = meta.pop("crc32", None)
    if _seal(meta)["crc32"] != checksum:
        raise ValueError("the checksum of its metadata is wrong")
    return meta


def _check_leaves(meta: Mapping[str, Any], leaves: Mapping[str, jax.Array], step: int) -> None:
    for name in sorted({*meta["leaves"], *leaves}):
        stored, wanted = meta["leaves"].get(name), leaves.get(name)
        have = stored and f"{stored['dtype']}{tuple(stored['shape'])}"
        want = None if wanted is None else f"{wanted.dtype.name}{wanted.shape}"
        if have != want:
            raise CheckpointError(f"step {step} holds {name} as {have}, but {want} is wanted")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
