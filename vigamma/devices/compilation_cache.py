"""JAX's persistent compilation cache: programs that one process compiled serve the next."""

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

_MOST_BYTES = 2**30


def use_compilation_cache() -> Path | None:
    """Makes JAX keep compiled programs in the user's cache folder, and look for them there first.

    Results are the same, bit for bit. The folder is $VIGAMMA_CACHE, or else `vigamma` in
    $XDG_CACHE_HOME or ~/.cache. It is kept below 1 GB by removing what was not used for longest.
    Call it before JAX compiles.

    Nothing is done for VIGAMMA_CACHE=off, if JAX's own JAX_COMPILATION_CACHE_DIR is set, or if the
    folder cannot be written. Programs in the cache that cannot be read, as after a full disk, are
    compiled again.

    Returns:
      the folder, or None if there is no cache.
    """
    chosen = os.environ.get("VIGAMMA_CACHE", "")
    if chosen == "off" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return None
    try:
        cache = Path(chosen) if chosen else _cache_home() / "vigamma"
        folder = cache.absolute() / f"programs-{_machine()}"
        folder.mkdir(parents=True, exist_ok=True)
        _remove_least_used(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    return folder


def _cache_home() -> Path:
    """The user's folder for caches, by the XDG Base Directory Specification."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".cache"


def _machine() -> str:
    """A hash of the processor: a home may be shared by machines with other instructions."""
    described = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:12]


def _remove_least_used(folder: Path) -> None:
    """Removes the files that were not read for longest, beyond `_MOST_BYTES`."""
    used = sorted(
        ((found.stat().st_atime, found.stat().st_size, found.path) for found in os.scandir(folder)),
        reverse=True,
    )
    total = 0
    for _, size, path in used:
        total += size
        if total > _MOST_BYTES:
            with contextlib.suppress(FileNotFoundError):  # another process removes, too
                os.remove(path)
