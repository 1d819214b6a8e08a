"""The fit of a factorization by coordinate ascent."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from matplotlib.figure import Figure

from vigamma import plotting_factors
from vigamma.config import Experiment
from vigamma.data.blocks import block_slots
from vigamma.data.count_rows import CountRows, lay_out_rows, padded_rows
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOut, HeldOutCounts, Split
from vigamma.data.synthetic import SyntheticCounts
from vigamma.diagnostics.predictive import Score, heldout_log_likelihood, scores
from vigamma.diagnostics.recovery import interval_coverage, matched_cosines
from vigamma.errors import ConfigError
from vigamma.families.gamma import Gamma
from vigamma.fits.base import Advance, Report, checksum_of
from vigamma.inference.coordinate_ascent import AscentState
from vigamma.mesh import ACROSS_DEVICES, by_rows, on_every_device, place, replicated
from vigamma.metrics import peak_memory_bytes
from vigamma.models.factor_model import ROW_LATENTS, FactorModel
from vigamma.train_state import fuse_steps
from vigamma.typing import Array, PyTree


class FactorFit:
    """Sparse counts, a part of them held out, and the factors of the rest.

    Attributes:
      identity: a checksum of the training counts and of those held out, and their shape.
      split: the counts.
      model: the model of the training counts.
    """

    def __init__(self, config: Experiment, data: LoadedCounts):
        """Splits the counts and builds the model; raises ValueError where that is not possible."""
        self._config, self._data = config, data
        self.split = _split(config.heldout, data)
        train = self.split.train
        self._exposures = _exposures(train, config.model.row_sum_exposures)
        self.model = self._build_model()
        arrays = [train.data, train.indices, train.indptr]
        for part in (self.split.valid, self.split.test):
            arrays += [] if part is None else part[:3]
        num_rows, num_columns = train.shape
        self.identity = checksum_of(arrays) | {"num_rows": num_rows, "num_columns": num_columns}
        self._batches: dict[tuple[Mesh, int], CountRows] = {}

    def with_model(self, model: Any) -> Self:
        """The fit of another model to the same counts, which stay split and laid out as they are.

        Args:
          model: differs from `config.model` in the number of factors and the shapes at most.
        """
        fit = copy.copy(self)
        fit._config = dataclasses.replace(self._config, model=model)
        fit.model = fit._build_model()
        return fit

    def _build_model(self) -> FactorModel:
        train, missing = self.split.train, self.split.missing
        num_missing = 0 if missing is None else missing.nnz
        return self._config.model.build(train, self._exposures, num_missing)

    def start(self, mesh: Mesh, say: Callable[[str], None]) -> AscentState:
        """The prior with a random tilt; of several such starts, the best after some sweeps."""
        inference = self._config.inference
        model = jax.tree.map(jnp.asarray, self.model)

        def initial(key: Array) -> AscentState:
            sizes = (padded_rows(size, mesh.size) for size in self.split.train.shape)
            q = model.initial(key, *sizes, self._config.model.num_factors)
            state = inference.init(model, q)
            return place(state, _shardings(state, mesh))

        keys = jax.random.split(jax.random.key(self._config.seed), inference.num_restarts)
        if inference.num_restarts == 1:
            return initial(keys[0])
        return self._best_start(initial, keys, mesh, say)

    def _batch(self, mesh: Mesh) -> CountRows:
        """The training counts on the devices; laid out once for all models that want them alike."""
        key = mesh, block_slots(self._config.model.num_factors)
        if key not in self._batches:
            train, missing = self.split.train, self.split.missing
            batch = lay_out_rows(
                train, self._exposures, missing, num_shards=mesh.size, block_slots=key[1]
            )
            self._batches[key] = place(batch, by_rows(mesh))
        return self._batches[key]

    def _best_start(self, initial, keys: Array, mesh: Mesh, say) -> AscentState:
        inference = self._config.inference
        advance, best = None, None
        for index, key in enumerate(keys):
            state = initial(key)
            advance = advance or self.compile(state, mesh, inference.restart_sweeps)
            state, _ = advance(state, inference.restart_sweeps)
            say(f"start {index + 1}/{len(keys)}: ELBO {float(state.elbo):,.1f} nats")
            if best is None or state.elbo > best.elbo:
                best = state
        return best

    def compile(self, arrays: AscentState, mesh: Mesh, most_steps: int) -> Advance:
        """The program of `CoordinateAscent`, rows spread over the devices."""
        inference = self._config.inference

        def take_step(state: AscentState, batch: PyTree):
            return inference.step(state, batch, ACROSS_DEVICES)

        def is_before(state: AscentState, last_step: Array) -> Array:
            return (state.step < last_step) & ~inference.is_done(state)

        shardings, everywhere = _shardings(arrays, mesh), replicated(mesh)
        program = on_every_device(
            fuse_steps(take_step, is_before, most_steps),
            mesh,
            inputs=(shardings, everywhere, by_rows(mesh)),
            outputs=(shardings, everywhere),
        )
        batch = self._batch(mesh)
        compiled = jax.jit(program, donate_argnums=0).lower(arrays, jnp.uint32(0), batch).compile()
        return lambda arrays, last_step: compiled(arrays, jnp.uint32(last_step), batch)

    def step_of(self, arrays: AscentState) -> int:
        """The number of completed sweeps."""
        return int(arrays.step)

    def is_done(self, arrays: AscentState) -> bool:
        """Whether the stopping rule of `CoordinateAscent` holds."""
        return bool(self._config.inference.is_done(arrays))

    def observe(self, arrays: AscentState) -> tuple[AscentState, dict[str, float]]:
        """The log-likelihoods of the validation and test counts, as far as there are any."""
        found = {
            f"{name}_log_likelihood": score.log_likelihood
            for name, score in scores(*self._means(arrays), self.split).items()
        }
        if "valid_log_likelihood" in found:
            inference = self._config.inference
            arrays = inference.after_validation(arrays, found["valid_log_likelihood"])
        return arrays, found

    def log_likelihood(self, arrays: AscentState, part: HeldOutCounts) -> float:
        """The log-likelihood of a held-out part of the split, in nats."""
        return self._score(*self._means(arrays), part).log_likelihood

    def report(self, arrays: AscentState) -> Report:
        """The size of the problem, the ELBO, and the score of the held-out counts."""
        (num_rows, num_columns), split = self.split.train.shape, self.split
        summary = {
            "model": type(self._config.model).__name__,
            "elbo": float(arrays.elbo),
            "num_rows": num_rows,
            "num_columns": num_columns,
            "num_nonzeros": int(split.train.nnz),
            "num_factors": self._config.model.num_factors,
            "sweeps": self.step_of(arrays),
            "converged": self.is_done(arrays),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        if split.test is not None:
            score = self._score(*self._means(arrays), split.test)
            independent = self._score(*self._independent_columns(), split.test)
            summary |= {
                "heldout_protocol": split.protocol,
                "heldout_log_likelihood": score.log_likelihood,
                "heldout_log_likelihood_independent": independent.log_likelihood,
                "num_heldout": score.num_heldout,
            }
        if isinstance(self._data, SyntheticCounts):
            summary |= self._recovery(arrays)
        return Report(summary, _table(summary))

    def _recovery(self, arrays: AscentState) -> dict[str, float]:
        """How the fit compares with the true factors, and with the true rates of 10,000 cells."""
        truth, split = self._data, self.split
        rng = np.random.default_rng(self._config.seed)
        row, column = (rng.integers(size, size=10_000) for size in split.train.shape)
        scale = split.train.sum(dtype=float) / truth.counts.sum(dtype=float)
        coverage = interval_coverage(
            jax.random.fold_in(jax.random.key(self._config.seed), 2),
            jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[row]), arrays.q["rows"]),
            jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[column]), arrays.q["columns"]),
            jnp.asarray(scale * (truth.theta[row] * truth.beta[column]).sum(axis=1)),
        )
        cosines = matched_cosines(self._means(arrays)[1], truth.beta)
        return {"smallest_cosine": float(cosines.min()), "coverage_of_90_percent": coverage}

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step, which is a sweep."""
        return {"seconds_per_step": seconds_per_step, "seconds_per_sweep": seconds_per_step}

    def figures(
        self, arrays: AscentState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, Figure]]:
        """The way there, the weights of the factors, and images if the counts are of any."""
        theta, beta = self._means(arrays)
        independent = None
        if self.split.test is not None:
            independent = self._score(*self._independent_columns(), self.split.test).log_likelihood
        yield from plotting_factors.factor_figures(theta, beta, metrics, independent)
        image_shape = getattr(self._config.data, "image_shape", None)
        if image_shape is not None:
            yield "factors", plotting_factors.factor_images(theta, beta, image_shape)
            images = plotting_factors.synthetic_images(*self._images(arrays), image_shape)
            yield "synthetic_images", images

    def _images(self, arrays: AscentState):
        """Ten real rows; and rates and counts of ten rows, from q and from independent columns."""
        key = jax.random.fold_in(jax.random.key(self._config.seed), 1)
        q = {name: self._without_padding(name, gamma) for name, gamma in arrays.q.items()}
        drawn = jax.tree.map(np.asarray, self.model.generate_rows(key, q, 10))
        rates = np.tile(self._independent_columns()[1].T, (10, 1))
        counts = np.random.default_rng(self._config.seed).poisson(rates)
        return self._data.counts[:10].toarray(), drawn, (rates, counts)

    def _without_padding(self, name: str, gamma: Gamma) -> Gamma:
        size = self.split.train.shape[0 if name in ROW_LATENTS else 1]
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[:size]), gamma)

    def _means(self, arrays: AscentState) -> tuple[np.ndarray, np.ndarray]:
        """e_n E[θ_nk] and E[β_mk], without padding."""
        num_rows, num_columns = self.split.train.shape
        theta = np.asarray(arrays.q["rows"].mean)[:num_rows]
        exposures = self._exposures[:, None].astype(theta.dtype)
        return theta * exposures, np.asarray(arrays.q["columns"].mean)[:num_columns]

    def _score(self, theta: np.ndarray, beta: np.ndarray, part: HeldOutCounts) -> Score:
        return heldout_log_likelihood(theta, beta, self.split, part)

    def _independent_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The best rates without factors: of each column one, times the exposure of the row.

        Σ_n x_nm + 1/2 over the exposures of the rows in which the column was observed.
        """
        train, missing = self.split.train, self.split.missing
        seen = np.full(train.shape[1], self._exposures.sum())
        if missing is not None:
            seen = seen - missing.T @ self._exposures
        beta = (train.sum(axis=0) + 0.5) / (seen + 1.0)
        return self._exposures[:, None].astype(np.float32), beta[:, None].astype(np.float32)


def _split(heldout: HeldOut | None, data: LoadedCounts) -> Split:
    if heldout is None:
        return Split("", data.counts, None, None, None)
    try:
        return heldout.split(data)
    except ValueError as error:
        raise ConfigError(f"config.heldout: {error}") from error


def _exposures(train, from_row_sums: bool) -> np.ndarray:
    if not from_row_sums:
        return np.ones(train.shape[0])
    sums = train.sum(axis=1).astype(float)
    if not sums.all():
        raise ValueError(
            f"row_sum_exposures needs a count in every row, but row {int(sums.argmin())} has none"
        )
    return sums / sums.mean()


def _shardings(state: AscentState, mesh: Mesh) -> AscentState:
    """Where the parts of a state live: the latents of rows and columns are spread over devices."""
    everywhere, spread = replicated(mesh), by_rows(mesh)
    shardings = jax.tree.map(lambda _: everywhere, state)
    return shardings.replace(
        q=jax.tree.map(lambda _: spread, state.q),
        previous=jax.tree.map(lambda _: spread, state.previous),
    )


def _table(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['num_rows']:,} rows × {summary['num_columns']:,} columns, "
        f"{summary['num_nonzeros']:,} nonzeros, {summary['num_factors']} factors",
        f"  {summary['sweeps']} sweeps{'' if summary['converged'] else ', not yet converged'}",
        f"  ELBO                      {summary['elbo']:>18,.1f} nats",
    ]
    if "num_heldout" in summary:
        lines += [
            f"  held-out log-likelihood   {summary['heldout_log_likelihood']:>18.4f} nats  "
            f"({summary['heldout_protocol']}, {summary['num_heldout']:,})",
            f"  of independent columns    "
            f"{summary['heldout_log_likelihood_independent']:>18.4f} nats",
        ]
    if "smallest_cosine" in summary:
        lines += [
            f"  true factors matched with cosines of at least {summary['smallest_cosine']:.4f}",
            f"  true rates within their 90 % intervals: {summary['coverage_of_90_percent']:.1%}",
        ]
    return "\n".join(["Factorization", *lines])
