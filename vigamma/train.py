"""A run: load, restore, take steps, save, certify, draw."""

import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vigamma import plotting
from vigamma.certificate import Certificate, certify, gamma_in_float64, kl_to_exact
from vigamma.checkpointing import Checkpointer
from vigamma.config import Experiment, check_config, flatten, identity
from vigamma.data.digits import IMAGE_SHAPE, KnowledgeAndCounts
from vigamma.errors import ConfigError, NonFiniteError
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.inference.info import StepInfo
from vigamma.mesh import check_divisible, largest_of_processes, make_mesh, replicate
from vigamma.metrics import MetricsLog, ProgressLine, read_metrics, write_json
from vigamma.models.gamma_poisson import CountStatistics, GammaPoisson
from vigamma.signals import StopSignals
from vigamma.train_state import TrainState, compile_steps
from vigamma.typing import PyTree


class Problem(NamedTuple):
    """What is to be fitted: the data, the model, and its sufficient statistics, in float64."""

    data: KnowledgeAndCounts
    model: GammaPoisson
    batch: CountStatistics


class Outcome(NamedTuple):
    """What a run ends with: its `summary.json`, and the certificate that it was made from."""

    summary: dict[str, Any]
    certificate: Certificate


def run_experiment(config: Experiment, workdir: Path) -> Outcome:
    """Runs an experiment in `workdir`, or goes on with it from the newest intact checkpoint.

    Writes `config.json`, `metrics.jsonl`, `summary.json`, checkpoints and `figures/*.png`. With
    several processes all call it; the first one writes.

    Raises:
      ConfigError: for a config that cannot run, before any compilation.
      CheckpointError: for a workdir that cannot be used, or that holds another run.
      NonFiniteError: for NaN or infinity in a step; the last good checkpoint is kept.
      Interrupted: after SIGTERM or Ctrl-C, with all finished chunks saved.
    """
    check_config(config)
    mesh = make_mesh()
    _check_devices(config, mesh)
    with StopSignals() as stop, ProgressLine(config.num_steps, quiet=not _is_main()) as progress:
        with stop.interruptible("before the first step"):
            problem = load_problem(config)
        with Checkpointer(workdir, _identity(config, problem), mesh) as checkpoints:
            run = _Run(config, workdir, problem, mesh, checkpoints, progress, stop)
            return run.to_the_end()


def load_problem(config: Experiment) -> Problem:
    """Loads the data and builds the model; raises ConfigError where they are not usable."""
    try:
        data = config.data.load()
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"config.data: {error}") from error
    try:
        return Problem(data, *config.model.build(data))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.model: {error}") from error


class _Run:
    """One process's part of a run, from the newest checkpoint to the end."""

    def __init__(
        self,
        config: Experiment,
        workdir: Path,
        problem: Problem,
        mesh: Mesh,
        checkpoints: Checkpointer,
        progress: ProgressLine,
        stop: StopSignals,
    ):
        self._config, self._workdir, self._problem, self._mesh = config, workdir, problem, mesh
        self._checkpoints, self._progress, self._stop = checkpoints, progress, stop
        self._exact = problem.model.exact_posterior(problem.batch)

    def to_the_end(self) -> Outcome:
        started = time.monotonic()
        model, batch = for_the_device(self._problem)
        state = TrainState(
            MeanFieldGamma(model.prior), self._config.inference, jax.random.key(self._config.seed)
        )
        resumed_from = self._restore(state)
        if _is_main():
            write_json(self._workdir / "config.json", flatten(self._config))
        seconds_per_step = self._take_steps(state, model, batch)
        certificate = certify(self._problem.model, self._problem.batch, state.q)
        summary = {
            "config": flatten(self._config),
            "model": type(self._problem.model).__name__,
            "steps": state.step,
            "elbo": certificate.elbo,
            "log_evidence": certificate.log_evidence,
            "kl_to_exact": certificate.kl_to_exact,
            "max_kl_to_exact": certificate.max_kl_to_exact,
            "within_tolerance": certificate.kl_to_exact <= self._config.tolerance,
            "seconds_per_step": seconds_per_step,
            "num_devices": self._mesh.size,
            "resumed_from": resumed_from,
        }
        if _is_main():
            self._draw(state.q, certificate)
            summary["seconds"] = time.monotonic() - started
            write_json(self._workdir / "summary.json", summary)
        return Outcome(summary, certificate)

    def _restore(self, state: TrainState) -> int | None:
        restored = self._checkpoints.restore(nnx.state(state), self._progress.say)
        if restored is None:
            return None
        nnx.update(state, restored)
        if state.step > self._config.num_steps:
            raise ConfigError(
                f"config.num_steps is {self._config.num_steps}, but {self._workdir} has completed "
                f"{state.step} steps already"
            )
        self._progress.say(f"resuming from step {state.step} in {self._workdir}")
        return state.step

    def _take_steps(self, state: TrainState, model: GammaPoisson, batch: CountStatistics):
        """Takes all steps that are left; returns seconds per step, None if none was left."""
        config, first_step = self._config, state.step
        if first_step == config.num_steps:
            return None
        self._progress.phase("compiling")
        advance = compile_steps(
            state,
            config.inference,
            model,
            batch,
            self._mesh,
            min(config.log_every, config.num_steps),
        )
        arrays, step = replicate(nnx.state(state), self._mesh), first_step
        metrics_path = self._workdir / "metrics.jsonl" if _is_main() else None
        with MetricsLog(metrics_path, first_step) as metrics:
            self._stop_if_requested(step, arrays)
            self._progress.start(step)
            started = time.monotonic()
            while step < config.num_steps:
                last_step = min(
                    _next_multiple(step, config.log_every),
                    _next_multiple(step, config.save_every),
                    config.num_steps,
                )
                arrays, infos = advance(arrays, last_step)
                infos = jax.device_get(infos)
                self._check_finite(infos, step, last_step)
                elbo = float(infos.elbo[last_step - step - 1])
                step = last_step
                if step % config.log_every == 0:
                    metrics.write(step, elbo=elbo, kl_to_exact=self._kl_to_exact(arrays))
                if step % config.save_every == 0 or step == config.num_steps:
                    self._checkpoints.save(step, arrays)
                self._progress.update(step, elbo)
                self._stop_if_requested(step, arrays)
            seconds = time.monotonic() - started
        nnx.update(state, arrays)
        return seconds / (step - first_step)

    def _kl_to_exact(self, arrays: PyTree) -> float:
        q = gamma_in_float64(arrays.q.log_shape[...], arrays.q.log_rate[...])
        return float(kl_to_exact(q, self._exact).sum())

    def _stop_if_requested(self, step: int, arrays: PyTree) -> None:
        """Saves and raises Interrupted if any process has been asked to stop."""
        self._stop.requested = largest_of_processes(self._stop.requested or 0) or None
        if self._stop.requested is not None:
            if step:
                self._checkpoints.save(step, arrays)
            self._stop.raise_if_requested(
                f"step {step} is saved in {self._workdir}; the same command goes on from there"
                if step
                else "before the first step"
            )

    def _check_finite(self, infos: StepInfo, step: int, last_step: int) -> None:
        taken = last_step - step
        bad = {name: ~finite[:taken] for name, finite in infos.finite.items()}
        steps = np.flatnonzero(np.any(list(bad.values()), axis=0))
        if steps.size:
            names = ", ".join(name for name, where in bad.items() if where[steps[0]])
            saved = self._checkpoints.last_saved
            kept = f"step {saved} is kept in {self._workdir}" if saved else "nothing was saved yet"
            raise NonFiniteError(f"not finite at step {step + steps[0] + 1}: {names}; {kept}")

    def _draw(self, q: MeanFieldGamma, certificate: Certificate) -> None:
        directory, config = self._workdir / "figures", self._config
        directory.mkdir(exist_ok=True)
        with self._stop.interruptible(
            f"all {config.num_steps} steps are saved in {self._workdir}; the same command draws "
            "the figures that are missing"
        ):
            key = jax.random.fold_in(jax.random.key(config.seed), config.num_steps)
            figures = plotting.run_figures(
                *self._problem.data,
                prior=self._problem.model.prior,
                exact=self._exact,
                q=gamma_in_float64(q.log_shape[...], q.log_rate[...]),
                synthetic=np.asarray(self._problem.model.generate(key, q.distribution(), 10)[1]),
                image_shape=IMAGE_SHAPE,
                metrics=read_metrics(self._workdir / "metrics.jsonl"),
                log_evidence=certificate.log_evidence,
                tolerance=config.tolerance,
            )
            for name, figure in figures:
                plotting.save(figure, directory / f"{name}.png")


def _is_main() -> bool:
    return jax.process_index() == 0


def _next_multiple(step: int, interval: int) -> int:
    return (step // interval + 1) * interval


def _check_devices(config: Experiment, mesh: Mesh) -> None:
    try:
        check_divisible(
            config.inference.estimator.num_samples, mesh, "config.inference.estimator.num_samples"
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _identity(config: Experiment, problem: Problem) -> dict[str, Any]:
    """What a checkpoint must share with this run: its config, and a checksum of its numbers."""
    checksum = 0
    for leaf in jax.tree.leaves((problem.model, problem.batch)):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return identity(config) | {"data and prior (checksum)": checksum}


def for_the_device(problem: Problem) -> tuple[GammaPoisson, CountStatistics]:
    """The model and its data in the default float type, float32 unless x64 is enabled."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), (problem.model, problem.batch)
    )
