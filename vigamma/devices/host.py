"""The machine that a process runs on: its cores and its memory."""

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of malloc.h


def use_all_cores() -> None:
    """Makes every core of a CPU a device, unless the user has chosen their number.

    To be called before JAX is first used. XLA spreads large matrix products over cores by itself,
    but not a loop over sparse entries.
    """
    chosen = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # made as JAX is imported
    if chosen < 1 and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def keep_freed_memory() -> None:
    """Keeps the memory of freed arrays for the next ones, where the C library is glibc.

    Otherwise each call of a program gets fresh pages for its temporary arrays: of 20 Newsgroups and
    50 factors 34,000, for which it waits half as long as for a sweep. To be called before JAX is
    first used, as nothing is kept of the heaps that threads have of their own.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_ARENA_MAX, 1)


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident so far."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss, not inherited from the process that started this one
        (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
