"""Runs in a directory: load, restore, take steps, save, report and draw figures."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vigamma.devices.mesh import make_mesh, start_devices
from vigamma.devices.processes import (
    gathered,
    is_of_processes,
    largest_of_processes,
    on_first_process,
)
from vigamma.errors import (
    CheckpointError,
    ConfigError,
    LostProcessError,
    NonFiniteError,
    first_line,
)
from vigamma.inference.train_state import TrainState
from vigamma.runs.experiment import Experiment, check_config, flatten
from vigamma.runs.exposures import write_exposures
from vigamma.runs.finished import (
    CONFIG,
    FIGURES,
    SUMMARY,
    checkpointer_of,
    of_program,
    summary_of_finished,
)
from vigamma.runs.fit import Fit, RunLog
from vigamma.runs.fitted import NAMES
from vigamma.runs.loading import load_fit
from vigamma.runs.loop import Pause, take_steps, what_stopped
from vigamma.runs.metrics import MetricsLog, ProgressLine, read_metrics, write_json
from vigamma.runs.signals import StopSignals
from vigamma.storage.manifest import sealed
from vigamma.storage.workdir import folder_of_start, locked

_ENDS = {
    "converged": "converged",
    "validation": "validation counts are past their best",
    "num_steps": "done",
}
"""Why no step follows, at the end of the line of the last one."""


class Outcome(NamedTuple):
    """The result of a run.

    Attributes:
      summary: the content of `summary.json`.
      table: the result as human-readable text.
      is_new: whether anything was written; not if the run had finished before.
    """

    summary: dict[str, Any]
    table: str
    is_new: bool = True


def run_experiment(
    config: Experiment, workdir: str | os.PathLike[str], *, print_table: bool = False
) -> Outcome:
    """Runs an experiment in `workdir`, or resumes it from the newest intact checkpoint.

    It writes `config.json`, `metrics.jsonl`, `summary.json`, checkpoints and `figures/*.png`, and
    prints its progress. A run that has finished before, and whose files are all there, says so, and
    changes nothing. If there are several processes, all must call it; the first one writes and
    prints.

    Args:
      config: the experiment.
      workdir: where it is written.
      print_table: whether to print the table of the outcome, before figures are drawn.

    Raises:
      ConfigError: for a config that cannot run, before any compilation.
      CheckpointError: for a workdir that cannot be used, or that holds another run.
      NonFiniteError: for NaN or infinity in a step; the last finite checkpoint is kept.
      LostProcessError: if another process has died; the newest checkpoint is kept.
      Interrupted: after SIGTERM or Ctrl-C; all completed steps are saved.
    """
    return run_fit(config, Path(workdir), lambda say: load_fit(config, say), print_table)


def run_fit(
    config: Experiment,
    workdir: Path,
    load: Callable[[Callable[[str], None]], Fit],
    print_table: bool = False,
) -> Outcome:
    """As `run_experiment`, for the fit that `load` returns, given a function that prints a line."""
    check_config(config)
    start_devices()
    progress = ProgressLine(config.num_steps, _objective(config), quiet=not _is_main())
    say_table = progress.say if print_table else lambda _: None
    with StopSignals() as stop, progress, _idle_core() as idle:
        started = time.monotonic()
        with _together(workdir), _held(workdir):
            mesh = make_mesh()
            with stop.interruptible("before the first step"):
                progress.phase("reading the data")
                fit = load(progress.say)
                if summary := summary_of_finished(config, workdir, fit):
                    return _outcome_before(summary, progress.say, say_table)
                progress.phase("preparing the start")
                state = fit.start(mesh)
            run = _Run(config, workdir, fit, mesh, progress, say_table, stop, idle)
            return run.to_the_end(state, started)


def _outcome_before(
    summary: dict[str, Any], say: Callable[[str], None], say_table: Callable[[str], None]
) -> Outcome:
    """The outcome of a run that has finished before."""
    table = "\n".join(summary["table"])
    say(
        f"finished at step {summary['steps']} before: nothing to do (without {SUMMARY} it would be "
        "scored and drawn again)"
    )
    say_table(table)
    return Outcome(summary, table, is_new=False)


@contextmanager
def _idle_core() -> Iterator[Executor]:
    """A thread beside the main one, for which an exception does not wait."""
    executor = ThreadPoolExecutor(1)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _together(workdir: Path) -> Iterator[None]:
    """A context that turns JAX errors due to other processes into LostProcessErrors."""
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
    """A context in which the first process locks the workdir; an OSError is a CheckpointError."""
    with ExitStack() as stack:
        on_first_process(lambda: stack.enter_context(locked(workdir)) or 0)
        try:
            yield
        except OSError as error:
            where = error.filename or workdir
            raise CheckpointError(f"cannot write {where}: {error.strerror or error}") from error


class _Run:
    """A run of all starts, each from its newest checkpoint to its end, in one process."""

    def __init__(
        self,
        config: Experiment,
        workdir: Path,
        fit: Fit,
        mesh: jax.sharding.Mesh,
        progress: ProgressLine,
        say_table: Callable[[str], None],
        stop: StopSignals,
        idle: Executor,
    ):
        self._config, self._workdir, self._fit, self._mesh = config, workdir, fit, mesh
        self._progress, self._say_table, self._stop = progress, say_table, stop
        self._seconds, self._steps, self._seconds_saving = 0.0, 0, 0.0
        self._idle = idle
        self._last_steps: list[int] = []
        self._prepared: Future[None] | None = None

    def to_the_end(self, state: TrainState, started: float) -> Outcome:
        """Runs every start to its end; `state` is the initial state of the first."""
        fit, num_starts = self._fit, self._config.num_starts
        ends, best, best_index, resumed_from = [], state, 0, None
        for index in range(num_starts):
            if index:
                self._progress.say(f"start {index + 1} of {num_starts}")
                self._progress.phase("preparing the start")
                state = fit.start(self._mesh, index)
            resumed = self._start(index, state)
            resumed_from = resumed if index == 0 else resumed_from
            if num_starts > 1:
                with self._uninterrupted(state):
                    ends.append(fit.end(state))
            if index and ends[index].score > ends[best_index].score:
                best, best_index = state, index
        with self._uninterrupted(best):
            self._folder = folder_of_start(self._workdir, best_index)
            ends = ends if num_starts > 1 else []
            return self._finish(best, ends, best_index, resumed_from, started)

    def _uninterrupted(self, state: TrainState) -> AbstractContextManager[None]:
        return self._stop.interruptible(
            f"all {state.num_steps} steps are saved in {self._folder}; the same command "
            "goes on to the outcome and the figures"
        )

    def _start(self, index: int, state: TrainState) -> int | None:
        """Runs a start to its end; returns the step it was resumed from, or None if it is new."""
        self._folder = folder_of_start(self._workdir, index)
        self._checkpoints = checkpointer_of(self._config, self._workdir, self._fit, index)
        with ExitStack() as stack:
            if index:
                on_first_process(lambda: stack.enter_context(locked(self._folder)) or 0)
            resumed_from = self._restore(state)
            if index == 0:
                on_first_process(self._write_config)
            self._take_steps(state, index, resumed_from is None)
        self._last_steps.append(state.num_steps)
        self._progress.phase("scoring")
        self._seconds_saving += self._checkpoints.seconds_saving
        return resumed_from

    def _finish(
        self,
        state: TrainState,
        ends: Sequence[Any],
        best_index: int,
        resumed_from: int | None,
        started: float,
    ) -> Outcome:
        """Writes the report and the figures; if interrupted, the next run repeats this."""
        if self._prepared:
            self._prepared.result()
        metrics = read_metrics(self._folder / "metrics.jsonl")
        report = self._fit.report(state, ends, RunLog(metrics, self._workdir))
        summary = {
            "config": flatten(self._config),
            **of_program(),
            "steps": state.num_steps,
            **report.summary,
            **({"best_start": best_index} if ends else {}),
            **self._fit.pace(self._seconds / self._steps if self._steps else None),
            "num_devices": self._mesh.size,
            "resumed_from": resumed_from,
            "seconds_saving": self._seconds_saving,
            "last_steps": self._last_steps,
            "table": report.table.splitlines(),
        }
        for name, value in report.summary.items():
            if isinstance(value, float) and not math.isfinite(value):
                with self._what_is_kept():
                    where = f"in the report of step {summary['steps']}: {name}"
                    raise NonFiniteError(f"not finite {where}")
        self._say_table(report.table)
        self._progress.phase("drawing figures")
        state.arrays = gathered(state.arrays)

        def write() -> int:
            summary["figures"] = self._draw(state, metrics)
            summary["seconds"] = time.monotonic() - started
            summary.update(sealed(summary))
            write_json(self._workdir / SUMMARY, summary)
            return 0

        on_first_process(write)
        return Outcome(summary, report.table)

    def _write_config(self) -> int:
        write_json(self._workdir / CONFIG, flatten(self._config))
        if self._fit.names:
            write_json(self._workdir / NAMES, self._fit.names)
        if self._fit.exposures is not None:
            write_exposures(self._workdir, self._fit.exposures)
        return 0

    def _restore(self, state: TrainState) -> int | None:
        """Restores the newest checkpoint into the state; returns its step, or None without one."""
        restored = self._checkpoints.restore(state.arrays, self._progress.say)
        if restored is None:
            return None
        state.arrays = restored
        if state.num_steps > self._config.num_steps:
            raise ConfigError(
                f"config.num_steps is {self._config.num_steps}, but {self._folder} has completed "
                f"{state.num_steps} steps already"
            )
        self._progress.say(f"resuming from step {state.num_steps} in {self._folder}")
        return state.num_steps

    def _take_steps(self, state: TrainState, index: int, is_new: bool) -> None:
        """Takes the remaining steps of a start."""
        config, fit, say = self._config, self._fit, self._progress.say
        if state.num_steps == config.num_steps or state.is_done:
            return
        if self._prepared is None and jax.process_count() == 1:
            self._prepared = self._idle.submit(fit.prepare)
        self._progress.phase("compiling")
        state.compile()
        if is_new:
            with self._stop.interruptible(self._before_the_first_step(index)), self._what_is_kept():
                self._progress.phase("preparing the first step")
                fit.before_the_first_step(state, say, index)
        first_step, every = state.num_steps, (config.log_every, config.save_every)
        metrics_path = self._folder / "metrics.jsonl" if _is_main() else None
        with MetricsLog(metrics_path, first_step, say) as metrics, self._what_is_kept():
            self._stop_if_requested(state, index)
            self._progress.start(first_step)
            started = time.monotonic()
            for pause in take_steps(fit, state, config.num_steps, every=every):
                self._at(pause, state, metrics)
                self._stop_if_requested(state, index)
            self._seconds += time.monotonic() - started
        self._steps += state.num_steps - first_step

    def _at(self, pause: Pause, state: TrainState, metrics: MetricsLog) -> None:
        """Logs, saves and shows the progress at a pause of the loop, as due."""
        step, seen = pause.step, pause.seen
        is_last = step == self._config.num_steps or state.is_done
        is_logged = step % self._config.log_every == 0 or state.is_done
        if is_logged:
            seen = seen | self._fit.observe(state)
        if is_logged or seen:
            name = _objective(self._config).lower().replace(" ", "_")
            metrics.write(step, **{name: pause.elbo}, **seen)
        if step % self._config.save_every == 0 or is_last:
            self._checkpoints.save(step, state.arrays)
        self._progress.update(step, pause.elbo, _ENDS[what_stopped(state)] if is_last else "")

    @staticmethod
    def _before_the_first_step(index: int) -> str:
        return f"before the first step{f' of start {index + 1}' if index else ''}"

    def _stop_if_requested(self, state: TrainState, index: int) -> None:
        """Saves and raises Interrupted if any process has been asked to stop."""
        self._stop.requested = largest_of_processes(self._stop.requested or 0) or None
        if self._stop.requested is not None:
            if step := state.num_steps:
                self._checkpoints.save(step, state.arrays)
            self._stop.raise_if_requested(
                f"step {step} is saved in {self._folder}; the same command goes on from there"
                if step
                else self._before_the_first_step(index)
            )

    @contextmanager
    def _what_is_kept(self) -> Iterator[None]:
        """A context in which the message of a NonFiniteError names the last checkpoint."""
        try:
            yield
        except NonFiniteError as error:
            saved = self._checkpoints.last_saved
            kept = f"step {saved} is kept in {self._folder}" if saved else "nothing was saved yet"
            raise NonFiniteError(f"{error}; {kept}") from None

    def _draw(self, state: TrainState, metrics: list[dict[str, Any]]) -> list[str]:
        """Draws the figures; returns the names of their files."""
        from vigamma.figures import (
            posteriors as plotting,  # Matplotlib takes 0.2 s to import: only when needed
        )

        directory, names = self._workdir / FIGURES, list[str]()
        directory.mkdir(exist_ok=True)
        for name, figure in self._fit.figures(state, metrics):
            names.append(f"{name}.png")
            plotting.save(figure, directory / names[-1])
        return names


def _objective(config: Experiment) -> str:
    """The name of the value that the steps of its algorithm report, in nats."""
    return getattr(config.inference, "objective", "ELBO")


def _is_main() -> bool:
    return jax.process_index() == 0
