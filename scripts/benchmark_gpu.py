"""Measures vigamma on one device, a GPU or whatever JAX has, against its memory bandwidth.

    python scripts/benchmark_gpu.py --output gpu.md
    python scripts/benchmark_gpu.py --small             # of a CPU, in seconds

It prints one Markdown table, and writes it to --output. Seconds are of all draws once, of one step
or of one sweep: the median of repeats after compilation, whose seconds have a column of their own:
0 where a row above has compiled the program. The floor is the bytes that must move, at the
bandwidth of

    triad: y = x + 3 z, which reads two arrays and writes one,

and the ratio is the seconds over the floor: 1 is the best that the memory allows. What must move is

    draws            one float a draw, written,
    with gradients   two floats a draw, z and dz/da,
    digit zero       two floats for each sample of each of the 64 pixels,
    sweeps           the laid-out counts once, and the state twice: read and written.

The priors of sweeps are flat. Counts have 16 √nonzeros rows and 4 √nonzeros columns, and are drawn
and laid out on the host, in seconds of a column of their own. A row is skipped, and says so, if it
would hold more than the memory of the device, or if by what rows of the smaller size took it would
take longer than what is left of --budget_s. A row that has begun is finished.
"""

import argparse
import datetime
import functools
import inspect
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from benchmark_problems import flat_problem, synthetic_counts, zero_state

import vigamma
from vigamma.devices.mesh import in_default_float, make_mesh, place, replicated
from vigamma.inference.train_state import TrainState
from vigamma.random import gamma
from vigamma.typing import PyTree

_SHAPES = 0.05, 1.0, 30.0
_NUM_PIXELS = 64
_REPEATS = 7
_SHORTEST, _LONGEST = 0.02, 5.0
"""Seconds: what is shorter is timed several times in one, and repeats end after the longest."""

_BYTES_A_DRAW = 64
_BYTES_A_NONZERO = 24
"""What rows hold, about: a slot takes 4 to 8 bytes by row, and again by column."""


class Sizes(NamedTuple):
    """What to measure.

    Attributes:
      triad: the floats of each array of the triad.
      draws: numbers of draws; ascending and as many as `samples` and `nonzeros`.
      samples: samples a step of the digit zero.
      nonzeros: of coordinate ascent; chains take the first.
      factors: K.
    """

    triad: int
    draws: tuple[int, ...]
    samples: tuple[int, ...]
    nonzeros: tuple[int, ...]
    factors: tuple[int, ...]


FULL = Sizes(2**28, (10**6, 10**8), (128, 16_384), (10**7, 10**8), (20, 50))
SMALL = Sizes(2**18, (10**4,), (128,), (10**4,), (4,))

Run = Callable[[int], object]
"""Does the work so many times, and waits for the last."""


class Program(NamedTuple):
    """Work that is ready to be compiled, and the bytes that it must move."""

    compile: Callable[[], Run]
    moved_bytes: int


class Row(NamedTuple):
    """A line of the table before it is measured.

    Attributes:
      what: its name, the same for all sizes.
      size: the draws, samples or nonzeros of the work.
      needed_bytes: about what the device must hold.
      prepare: does what the host does first; None if this JAX cannot do the work.
    """

    what: str
    size: int
    needed_bytes: int
    prepare: Callable[[], Program] | None


class Measured(NamedTuple):
    """What a row took, in seconds.

    Attributes:
      size: of the row.
      host: before compilation.
      compile: of compilation.
      each: the median of the repeats.
      repeats: their number.
      moved_bytes: what must move.
    """

    size: int
    host: float
    compile: float
    each: float
    repeats: int
    moved_bytes: int


def draws(size: int, name: str, sampler: Callable | None, with_gradient: bool) -> Iterator[Row]:
    """A row for each shape; they share a program."""
    width = _float_bytes() * (1 + with_gradient)
    suffix = " with gradients" if with_gradient else ""
    for shape in _SHAPES:
        prepare = sampler and functools.partial(_drawing, sampler, size, width, shape)
        yield Row(f"{name}{suffix}, shape {shape:g}", size, _BYTES_A_DRAW * size, prepare)


def _drawing(sampler: Callable, size: int, width: int, shape: float) -> Program:
    with_gradient = width > _float_bytes()
    arguments = jax.random.key(0), jnp.asarray(shape, jnp.result_type(float))
    return Program(
        lambda: _queued(_compiled_draws(sampler, size, with_gradient), arguments), width * size
    )


@functools.cache
def _compiled_draws(sampler: Callable, size: int, with_gradient: bool) -> Callable:
    """(key, a) -> draws, and their derivatives in a if asked for."""

    def drawn(key, a):
        return sampler(key, a, (size,))

    def drawn_with_gradient(key, a):
        return jax.jvp(functools.partial(drawn, key), (a,), (jnp.ones_like(a),))

    a = jnp.ones((), jnp.result_type(float))
    work = drawn_with_gradient if with_gradient else drawn
    return jax.jit(work).lower(jax.random.key(0), a).compile()


def _queued(work: Callable, arguments: tuple) -> Run:
    """Dispatches all calls before it waits, so that the device does not."""

    def run(times: int) -> None:
        for _ in range(times):
            result = work(*arguments)
        jax.block_until_ready(result)

    return run


def triad(size: int) -> Row:
    """y = x + 3 z."""

    def prepare() -> Program:
        x, z = jnp.ones((2, size))
        work = jax.jit(lambda x, z: x + 3 * z)
        return Program(lambda: _queued(work.lower(x, z).compile(), (x, z)), 3 * x.nbytes)

    return Row("triad", size, 5 * _float_bytes() * size, prepare)


def steps(num_samples: int) -> Row:
    """A step of `configs/zero.py` with so many samples."""

    def prepare() -> Program:
        model, batch = in_default_float(vigamma.DomainKnowledge().build(vigamma.Digits().load()))
        mesh = one_device()
        batch = place(batch, replicated(mesh))
        state = zero_state(model, batch, num_samples, mesh)
        return _stepping(state, 2 * _float_bytes() * num_samples * _NUM_PIXELS)

    needed = _BYTES_A_DRAW * num_samples * _NUM_PIXELS
    return Row(f"step of the digit zero, {_NUM_PIXELS} pixels", num_samples, needed, prepare)


def sweeps(num_nonzeros: int, num_factors: int, of_chain: bool) -> Row:
    """A sweep of coordinate ascent, or of one Gibbs chain that starts where sweeps do."""

    def prepare() -> Program:
        problem = flat_problem(_counts(num_nonzeros), num_factors, one_device())
        state = problem.fit(0.0)
        if of_chain:
            state = problem.chains(state, vigamma.Gibbs(num_chains=1), 0)
        return _stepping(state, _bytes(state.data) + 2 * _bytes(state.arrays))

    name = "sweep of a Gibbs chain" if of_chain else "sweep of coordinate ascent"
    needed = _BYTES_A_NONZERO * num_nonzeros
    return Row(f"{name}, K = {num_factors}", num_nonzeros, needed, prepare)


@functools.lru_cache(maxsize=1)
def _counts(num_nonzeros: int):
    return synthetic_counts(num_nonzeros)


def _stepping(state: TrainState, moved_bytes: int) -> Program:
    jax.block_until_ready((state.arrays, state.data))

    def compiled() -> Run:
        state.compile()
        return state.step

    return Program(compiled, moved_bytes)


def rows_of(sizes: Sizes) -> Iterator[Row]:
    """All rows but the triad: smaller sizes first, and of a size those of others last."""
    has_methods = "method" in inspect.signature(jax.random.gamma).parameters
    approximate = functools.partial(jax.random.gamma, method="approximate") if has_methods else None
    default = "jax.random.gamma"
    for size, num_samples, num_nonzeros in zip(*sizes[1:4], strict=True):
        for with_gradient in (False, True):
            yield from draws(size, "vigamma.random.gamma", gamma, with_gradient)
        yield steps(num_samples)
        for of_chain in (False, True) if num_nonzeros == sizes.nonzeros[0] else (False,):
            yield from (sweeps(num_nonzeros, k, of_chain) for k in sizes.factors)
        for with_gradient in (False, True):
            yield from draws(size, default, jax.random.gamma, with_gradient)
        yield from draws(size, f'{default}, method="approximate"', approximate, False)


def measure(row: Row) -> Measured:
    """Prepares, compiles and repeats."""
    started = time.perf_counter()
    compiles, moved_bytes = row.prepare()
    prepared = time.perf_counter()
    run = compiles()
    compiled = time.perf_counter()
    each, repeats = _median_seconds(run)
    host, compiling = prepared - started, compiled - prepared
    return Measured(row.size, host, compiling, each, repeats, moved_bytes)


def _median_seconds(run: Run) -> tuple[float, int]:
    """The median over repeats, and their number."""
    first = _seconds(run, 1)  # warms up
    once = first if first > _LONGEST else min(first, _seconds(run, 1))
    times = min(max(int(_SHORTEST / once), 1), 100)
    seconds: list[float] = []
    while len(seconds) < _REPEATS and (not seconds or sum(seconds) * times < _LONGEST):
        seconds.append(_seconds(run, times) / times)
    return statistics.median(seconds), len(seconds)


def _seconds(run: Run, times: int) -> float:
    started = time.perf_counter()
    run(times)
    return time.perf_counter() - started


def expected_seconds(row: Row, done: dict[str, Measured]) -> float:
    """Of a row, by those of the next smaller size; 0 if there is none.

    The first row of a size also draws the counts, so the longest time on the host is that of all.
    """
    if row.what not in done:
        return 0.0
    smaller = done[row.what]
    ratio = row.size / smaller.size
    host = max(m.host for m in done.values() if m.size == smaller.size)
    each = ratio * smaller.each
    return ratio * host + smaller.compile + 2 * each + min(_REPEATS * each, _LONGEST + each)


def table(sizes: Sizes, budget_s: float) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured; the triad is never skipped."""
    deadline = time.perf_counter() + budget_s
    memory = memory_bytes()
    first = triad(min(sizes.triad, memory // (32 * _float_bytes())))
    measured = measure(first)
    bandwidth = measured.moved_bytes / measured.each
    yield from _header(bandwidth)
    yield _line(first, measured, bandwidth)
    done: dict[str, Measured] = {}
    for row in rows_of(sizes):
        left = deadline - time.perf_counter()
        result = _reason_to_skip(row, expected_seconds(row, done), left, memory)
        result = result or _measured_or_reason(row)
        if isinstance(result, Measured):
            done[row.what] = result
        yield _line(row, result, bandwidth)


def _reason_to_skip(row: Row, expected: float, left: float, memory: int) -> str:
    """Why a row is not measured; empty if it is."""
    if row.prepare is None:
        return f"JAX {jax.__version__} does not have it"
    if row.needed_bytes > memory:
        return f"needs {row.needed_bytes / 1e9:.2g} GB of memory, not {memory / 1e9:.2g}"
    if left <= 0:
        return "no time is left"
    if expected > left:
        return f"would take {expected:.0f} s, {left:.0f} s are left"
    return ""


def _measured_or_reason(row: Row) -> Measured | str:
    """What a row took, or that its memory did not suffice; other errors are raised."""
    try:
        return measure(row)
    except MemoryError:
        return "the memory of the host did not suffice"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return "the memory of the device did not suffice"


def _header(bandwidth: float) -> Iterator[str]:
    device = jax.devices()[0]
    dtype, date = jnp.result_type(float).name, datetime.date.today().isoformat()
    yield (
        f"{device.device_kind} ({device.platform}), JAX {jax.__version__}, {dtype}, {date}; "
        f"bandwidth of the triad {bandwidth / 1e9:.4g} GB/s"
    )
    yield ""
    columns = (
        "what", "size", "host s", "compile s", "s", "repeats", "size a second", "floor s", "ratio"
    )  # fmt: skip
    yield _cells(*columns)
    yield _cells("---", *(len(columns) - 1) * ["---:"])


def _line(row: Row, result: Measured | str, bandwidth: float) -> str:
    size = f"{row.size:,}"
    if isinstance(result, str):
        return _cells(row.what, size, f"skipped: {result}", *6 * ["-"])
    floor = result.moved_bytes / bandwidth
    figures = f"{row.size / result.each:.3g}", f"{floor:.3g}", f"{result.each / floor:.3g}"
    times = f"{result.host:.2f}", f"{result.compile:.2f}", f"{result.each:.3g}"
    return _cells(row.what, size, *times, str(result.repeats), *figures)


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def one_device():
    """A mesh of the first device."""
    return make_mesh(jax.devices()[:1])


def memory_bytes() -> int:
    """The memory that JAX may use on the first device: of a CPU, all that the host has."""
    limits = jax.devices()[0].memory_stats() or {}
    return limits.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bytes(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _float_bytes() -> int:
    return jnp.result_type(float).itemsize


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes it to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="the file to write, in Markdown")
    parser.add_argument("--budget_s", type=float, default=480.0, help="seconds for all rows")
    parser.add_argument("--small", action="store_true", help="small sizes, for a trial")
    chosen = parser.parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    lines = []
    for line in table(SMALL if chosen.small else FULL, chosen.budget_s):
        lines.append(line)
        print(line, flush=True)
        if chosen.output:  # so that an interrupt keeps what is measured
            chosen.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
