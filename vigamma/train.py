"""A run: load, restore, take steps, save, report, draw."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vigamma.checkpointing import Checkpointer
from vigamma.config import Experiment, check_config, flatten, identity
from vigamma.data.files import SparseCounts
from vigamma.errors import (
    CheckpointError,
    ConfigError,
    LostProcessError,
    NonFiniteError,
    first_line,
)
from vigamma.fits.base import Advance, Fit
from vigamma.fits.conjugate import ConjugateFit
from vigamma.fits.coordinate_ascent import CoordinateAscentFit
from vigamma.fits.stochastic import StochasticFit
from vigamma.fitted import NAMES
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.gradient_ascent import GradientAscent
from vigamma.inference.info import StepInfo
from vigamma.inference.stochastic import StochasticVariationalInference
from vigamma.mesh import (
    gathered,
    is_of_processes,
    largest_of_processes,
    make_mesh,
    on_first_process,
    start_devices,
)
from vigamma.metrics import MetricsLog, ProgressLine, read_metrics, write_json
from vigamma.signals import StopSignals
from vigamma.typing import PyTree
from vigamma.workdir import folder_of_start, locked


class Outcome(NamedTuple):
    """What a run ends with.

    Attributes:
      summary: what `summary.json` holds.
      table: the outcome for people.
    """

    summary: dict[str, Any]
    table: str


def run_experiment(config: Experiment, workdir: Path) -> Outcome:
    """Runs an experiment in `workdir`, or goes on with it from the newest intact checkpoint.

    Writes `config.json`, `metrics.jsonl`, `summary.json`, checkpoints and `figures/*.png`. With
    several processes all call it; the first one writes.

    Raises:
      ConfigError: for a config that cannot run, before any compilation.
      CheckpointError: for a workdir that cannot be used, or that holds another run.
      NonFiniteError: for NaN or infinity in a step; the last good checkpoint is kept.
      LostProcessError: if another process has died; the newest checkpoint is kept.
      Interrupted: after SIGTERM or Ctrl-C, with all finished chunks saved.
    """
    check_config(config)
    start_devices()
    with StopSignals() as stop, ProgressLine(config.num_steps, quiet=not _is_main()) as progress:
        started = time.monotonic()
        with _together(workdir), _held(workdir):
            mesh = make_mesh()
            with stop.interruptible("before the first step"):
                fit = load_fit(config, progress.say)
                arrays = fit.start(mesh)
            return _Run(config, workdir, fit, mesh, progress, stop).to_the_end(arrays, started)


@contextmanager
def _together(workdir: Path) -> Iterator[None]:
    """Inside, an error of JAX that comes of several processes is a LostProcessError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_of_processes(error):
            raise
        raise LostProcessError(
            f"the processes cannot go on together, as when one has died ({first_line(error)}); "
            f"started again, all go on from the newest checkpoint in {workdir}"
        ) from error


@contextmanager
def _held(workdir: Path) -> Iterator[None]:
    """The workdir is held by the first process, for all; a full disk is a CheckpointError."""
    with ExitStack() as stack:
        on_first_process(lambda: stack.enter_context(locked(workdir)) or 0)
        try:
            yield
        except OSError as error:
            where = error.filename or workdir
            raise CheckpointError(f"cannot write {where}: {error.strerror or error}") from error


def load_fit(config: Experiment, say: Callable[[str], None] = lambda _: None) -> Fit:
    """Loads the data and builds the model; raises ConfigError where they are not usable.

    What is worth knowing of the data goes to `say`, a line each; so does the name of a large file.
    """
    try:
        if isinstance(config.data, SparseCounts) and (line := config.data.announcement()):
            say(line)
        data = config.data.load()
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"config.data: {error}") from error
    for note in getattr(data, "notes", ()):
        say(note)
    try:
        return _FITS[type(config.inference)](config, data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.model: {error}") from error


_FITS = {
    GradientAscent: ConjugateFit,
    CoordinateAscent: CoordinateAscentFit,
    StochasticVariationalInference: StochasticFit,
}


class _Run:
    """One process's part of a run: all its starts, from their newest checkpoints to their ends."""

    def __init__(
        self,
        config: Experiment,
        workdir: Path,
        fit: Fit,
        mesh: jax.sharding.Mesh,
        progress: ProgressLine,
        stop: StopSignals,
    ):
        self._config, self._workdir, self._fit, self._mesh = config, workdir, fit, mesh
        self._progress, self._stop = progress, stop
        self._advance: Advance | None = None
        self._seconds, self._steps, self._seconds_saving = 0.0, 0, 0.0

    def to_the_end(self, arrays: PyTree, started: float) -> Outcome:
        """Every start to its end, and what they have come to; `arrays` are those of the first."""
        fit, num_starts = self._fit, self._config.num_starts
        ends, best, best_index, resumed_from = [], None, 0, None
        for index in range(num_starts):
            if index:
                self._progress.say(f"start {index + 1} of {num_starts}")
            arrays, resumed = self._start(index, fit.start(self._mesh, index) if index else arrays)
            resumed_from = resumed if index == 0 else resumed_from
            if num_starts > 1:
                with self._uninterrupted(arrays):
                    end, arrays = fit.end(arrays)
                    ends.append(end)
            if best is None or ends[index].score > ends[best_index].score:
                best, best_index = arrays, index
        with self._uninterrupted(best):
            self._folder = folder_of_start(self._workdir, best_index)
            return self._finish(
                best, ends if num_starts > 1 else [], best_index, resumed_from, started
            )

    def _uninterrupted(self, arrays: PyTree) -> AbstractContextManager[None]:
        return self._stop.interruptible(
            f"all {self._fit.step_of(arrays)} steps are saved in {self._folder}; the same command "
            "goes on to the outcome and the figures"
        )

    def _start(self, index: int, arrays: PyTree) -> tuple[PyTree, int | None]:
        """Takes a start to its end; and the step that it was resumed from, None for a new one."""
        self._folder = folder_of_start(self._workdir, index)
        own = {"start": index} if index else {}
        self._checkpoints = Checkpointer(
            self._folder, identity(self._config) | self._fit.identity | own
        )
        with ExitStack() as stack:
            if index:
                on_first_process(lambda: stack.enter_context(locked(self._folder)) or 0)
            arrays, resumed_from = self._restore(arrays)
            if index == 0:
                on_first_process(self._write_config)
            arrays = self._take_steps(arrays, index, resumed_from is None)
        self._seconds_saving += self._checkpoints.seconds_saving
        return arrays, resumed_from

    def _finish(
        self,
        arrays: PyTree,
        ends: Sequence[Any],
        best_index: int,
        resumed_from: int | None,
        started: float,
    ) -> Outcome:
        """Reports and draws; interrupted, it is done again."""
        report = self._fit.report(arrays, ends)
        summary = {
            "config": flatten(self._config),
            "steps": self._fit.step_of(arrays),
            **report.summary,
            **({"best_start": best_index} if ends else {}),
            **self._fit.pace(self._seconds / self._steps if self._steps else None),
            "num_devices": self._mesh.size,
            "resumed_from": resumed_from,
            "seconds_saving": self._seconds_saving,
        }
        for name, value in report.summary.items():
            if isinstance(value, float) and not math.isfinite(value):
                self._raise_not_finite(f"in the report of step {summary['steps']}: {name}")
        arrays = gathered(arrays)

        def write() -> int:
            self._draw(arrays)
            summary["seconds"] = time.monotonic() - started
            write_json(self._workdir / "summary.json", summary)
            return 0

        on_first_process(write)
        return Outcome(summary, report.table)

    def _write_config(self) -> int:
        write_json(self._workdir / "config.json", flatten(self._config))
        if self._fit.names:
            write_json(self._workdir / NAMES, self._fit.names)
        return 0

    def _restore(self, arrays: PyTree) -> tuple[PyTree, int | None]:
        restored = self._checkpoints.restore(arrays, self._progress.say)
        if restored is None:
            return arrays, None
        step = self._fit.step_of(restored)
        if step > self._config.num_steps:
            raise ConfigError(
                f"config.num_steps is {self._config.num_steps}, but {self._folder} has completed "
                f"{step} steps already"
            )
        self._progress.say(f"resuming from step {step} in {self._folder}")
        return restored, step

    def _program(self, arrays: PyTree) -> Advance:
        """The compiled steps, one program for all starts."""
        if self._advance is None:
            self._progress.phase("compiling")
            most_steps = min(self._config.log_every, self._config.num_steps)
            self._advance = self._fit.compile(arrays, self._mesh, most_steps)
        return self._advance

    def _take_steps(self, arrays: PyTree, index: int, is_new: bool) -> PyTree:
        """Takes all steps that are left of a start."""
        config, fit = self._config, self._fit
        if fit.step_of(arrays) == config.num_steps or fit.is_done(arrays):
            return arrays
        advance, say = self._program(arrays), self._progress.say
        if is_new:
            with self._stop.interruptible(self._before_the_first_step(index)):
                arrays = fit.before_the_first_step(arrays, advance, self._mesh, say, index)
        step = first_step = fit.step_of(arrays)
        metrics_path = self._folder / "metrics.jsonl" if _is_main() else None
        with MetricsLog(metrics_path, first_step, say) as metrics:
            self._stop_if_requested(step, arrays, index)
            self._progress.start(step)
            started = time.monotonic()
            while step < config.num_steps and not fit.is_done(arrays):
                look = fit.next_look(step)
                last_step = min(
                    _next_multiple(step, config.log_every),
                    _next_multiple(step, config.save_every),
                    config.num_steps,
                    look,
                )
                arrays, infos = advance(arrays, last_step)
                infos = jax.device_get(infos)
                last_step = fit.step_of(arrays)
                self._check_finite(infos, step, last_step)
                elbo = float(infos.elbo[last_step - step - 1])
                step = last_step
                seen = {}
                if step == look or fit.is_done(arrays):
                    arrays, seen = fit.look(arrays)
                is_logged = step % config.log_every == 0 or fit.is_done(arrays)
                if is_logged:
                    seen |= fit.observe(arrays)
                if is_logged or seen:
                    metrics.write(step, elbo=elbo, **seen)
                is_last = step == config.num_steps or fit.is_done(arrays)
                if step % config.save_every == 0 or is_last:
                    self._checkpoints.save(step, arrays)
                self._progress.update(step, elbo)
                self._stop_if_requested(step, arrays, index)
            self._seconds += time.monotonic() - started
        self._steps += step - first_step
        return arrays

    @staticmethod
    def _before_the_first_step(index: int) -> str:
        return f"before the first step{f' of start {index + 1}' if index else ''}"

    def _stop_if_requested(self, step: int, arrays: PyTree, index: int) -> None:
        """Saves and raises Interrupted if any process has been asked to stop."""
        self._stop.requested = largest_of_processes(self._stop.requested or 0) or None
        if self._stop.requested is not None:
            if step:
                self._checkpoints.save(step, arrays)
            self._stop.raise_if_requested(
                f"step {step} is saved in {self._folder}; the same command goes on from there"
                if step
                else self._before_the_first_step(index)
            )

    def _check_finite(self, infos: StepInfo, step: int, last_step: int) -> None:
        bad = infos.first_not_finite(last_step - step)
        if bad is not None:
            self._raise_not_finite(f"at step {step + bad[0] + 1}: {bad[1]}")

    def _raise_not_finite(self, where: str) -> None:
        saved = self._checkpoints.last_saved
        kept = f"step {saved} is kept in {self._folder}" if saved else "nothing was saved yet"
        raise NonFiniteError(f"not finite {where}; {kept}")

    def _draw(self, arrays: PyTree) -> None:
        from vigamma import plotting  # Matplotlib takes 0.2 s to import: not before it is needed

        directory = self._workdir / "figures"
        directory.mkdir(exist_ok=True)
        metrics = read_metrics(self._folder / "metrics.jsonl")
        for name, figure in self._fit.figures(arrays, metrics):
            plotting.save(figure, directory / f"{name}.png")


def _is_main() -> bool:
    return jax.process_index() == 0


def _next_multiple(step: int, interval: int) -> int:
    return (step // interval + 1) * interval
