"""The fit of a factorization by any algorithm: layout, scores, results and figures."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vigamma.contracts import SparseData
from vigamma.data.heldout import HeldOutCounts
from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_rows import balanced_order, lay_out_rows, padded_rows
from vigamma.data.layout.minibatches import Minibatches
from vigamma.data.split_data import SplitData
from vigamma.data.synthetic import SyntheticCounts
from vigamma.devices.host import peak_memory_bytes
from vigamma.devices.mesh import place
from vigamma.diagnostics.predictive import Score, heldout_log_likelihood
from vigamma.diagnostics.recovery import interval_coverage, matched_cosines
from vigamma.diagnostics.weighted_cells import score_of_rows
from vigamma.inference.best import next_look
from vigamma.inference.passes import distribution_of_family
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import (
    PROBABILITIES,
    FactorModel,
    Posterior,
    random_perturbations,
)
from vigamma.models.factor_order import factor_weights, result_of
from vigamma.models.mixture import mean_probabilities, mixture_means
from vigamma.random.keys import key_of_seed
from vigamma.runs.experiment import Experiment
from vigamma.runs.factor_facts import facts_of_factors, facts_of_intervals, facts_of_steps
from vigamma.runs.factor_table import table_of
from vigamma.runs.fit import NOTHING_LOGGED, Report, RunLog
from vigamma.runs.loop import take_steps
from vigamma.runs.validation import Validation
from vigamma.typing import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RatesAndCounts = tuple[np.ndarray, np.ndarray]


class EndOfStart(NamedTuple):
    """The result of a finished start.

    Attributes:
      summary: its entries in `summary.json`.
      means: e_n E[θ_nk] and E[β_mk], without padding.
      score: the log-likelihood of validation counts, or else the ELBO, in nats.
      probabilities: E[p_m] of negative binomials; None for Poisson counts.
    """

    summary: dict[str, Any]
    means: tuple[np.ndarray, np.ndarray]
    score: float
    probabilities: np.ndarray | None = None


class FactorFit:
    """The fit of a factorization to sparse counts, a part of which may be held out.

    If the algorithm takes the data as a whole, rows are stored in `balanced_order`, and the
    posterior "rows" has the shape (N, K); if it takes minibatches, (B, J, K). Rows and columns are
    padded.

    Attributes:
      identity: the identity of the data.
      names: the names of rows and columns.
      data: the split counts.
      exposures: e_n; None if all are 1.
      model: the model of the training counts.
      steps_per_sweep: the number of steps that process all counts once.
    """

    def __init__(self, config: Experiment, data: SparseData):
        """Splits the counts and builds the model; raises ValueError if that is not possible."""
        self._config = config
        self._truth = data if isinstance(data, SyntheticCounts) else None
        self._placed: dict[Any, Any] = {}
        self.data = SplitData(data, config.heldout, config.model.row_sum_exposures)
        self.identity, self.names = self.data.identity, self.data.names
        self.exposures = self.data.exposures if config.model.row_sum_exposures else None
        num_batches = config.inference.num_batches(self.data.split.train.shape[0])
        self._is_dealt, self.steps_per_sweep = num_batches is not None, num_batches or 1
        self.model = self._build_model()

    def with_model(self, model: Any) -> Self:
        """The fit of another model to the same counts, with the same split and layout.

        Args:
          model: may differ from `config.model` in the number of factors, the shapes and the
            likelihood only.
        """
        fit = copy.copy(self)
        fit._config = dataclasses.replace(self._config, model=model)
        fit.model = fit._build_model()
        return fit

    def _build_model(self) -> FactorModel:
        split = self.data.split
        num_missing = 0 if split.missing is None else split.missing.nnz
        return self._config.model.build(split.train, self.data.exposures, num_missing)

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """The state with q at the prior, randomly perturbed."""
        return self.start_from(self.perturbations(index * self._num_restarts, mesh), mesh)

    def perturbations(self, index: int, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        """The random perturbations of a start; the same for all models of the same K."""
        train, config = self.data.split.train, self._config
        num_rows = padded_rows(-(-train.shape[0] // self.steps_per_sweep), mesh.size)
        sizes = num_rows * self.steps_per_sweep, padded_rows(train.shape[1], mesh.size)
        return random_perturbations([config.seed, index], train, sizes, config.model.num_factors)

    def start_from(self, perturbations: tuple[np.ndarray, np.ndarray], mesh: Mesh) -> TrainState:
        """The state with q at the prior, with these perturbations."""
        config = self._config
        self._place_validation(mesh, len(perturbations[0]))
        return TrainState(
            _stepping(config.inference),
            self.model,
            self.model.initial(perturbations),
            self.batches(mesh),
            key=key_of_seed(config.seed),
            validates=self.data.split.valid is not None,
            mesh=mesh,
            fused_steps=config.log_every,
        )

    def batches(self, mesh: Mesh) -> PyTree | Minibatches:
        """The training counts: as a whole on the devices, or in batches on the host.

        Models that need the same layout share it.
        """
        slots = block_slots(self._config.model.num_factors)
        if (mesh, slots) not in self._placed:
            self._placed[mesh, slots] = self._laid_out(mesh, slots)
        return self._placed[mesh, slots]

    def _laid_out(self, mesh: Mesh, slots: int) -> PyTree | Minibatches:
        split, exposures = self.data.split, self.data.exposures
        layout = {"num_shards": mesh.size, "block_slots": slots}
        if self._is_dealt:
            layout |= {"num_batches": self.steps_per_sweep, "seed": self._config.seed}
            return Minibatches.of_counts(split.train, exposures, split.missing, **layout)
        order = self._order
        missing = None if split.missing is None else split.missing[order]
        rows = lay_out_rows(split.train[order], exposures[order], missing, **layout)
        return place(rows, rows.shardings(mesh))

    @property
    def _order(self) -> np.ndarray:
        """The order of storage: row order[i] is stored at position i."""
        num_rows = self.data.split.train.shape[0]
        return np.arange(num_rows) if self._is_dealt else balanced_order(num_rows)

    @property
    def _num_restarts(self) -> int:
        return getattr(self._config.inference, "num_restarts", 1)

    def prepare(self) -> None:
        """Imports Matplotlib."""
        import vigamma.figures.factors  # noqa: F401

    def before_the_first_step(
        self, state: TrainState, say: Callable[[str], None], index: int = 0
    ) -> None:
        """Continues with the best of several random starts, if the config asks for restarts.

        The best has the highest log-likelihood of validation counts after `restart_sweeps`, or the
        highest ELBO if there are none. NaN or infinity in any of them raises NonFiniteError.
        """
        inference: Any = self._config.inference
        number, highest = self._num_restarts, -np.inf
        if number == 1:
            return
        for restart in range(number):
            perturbations = self.perturbations(index * number + restart, state.mesh)
            other = self.start_from(perturbations, state.mesh)
            last_step, where = inference.restart_sweeps, f" of restart {restart + 1}"
            for _ in take_steps(self, other, last_step, where=where):
                pass
            elbo, validated = float(other.arrays.elbo), other.arrays.best is not None
            score = float(other.arrays.best.log_likelihood) if validated else elbo
            detail = f", validation {score:.4f} nats" if validated else ""
            say(f"restart {restart + 1}/{number}: ELBO {elbo:,.1f} nats{detail}")
            if restart == 0 or score > highest:
                state.arrays, highest = other.arrays, score

    def next_look(self, step: int) -> float:
        """The next step after which validation counts are scored; infinity if there are none."""
        return math.inf if self.data.split.valid is None else next_look(step, self.steps_per_sweep)

    def look(self, state: TrainState) -> dict[str, float]:
        """The log-likelihood of the validation counts, if there are any."""
        if self.data.split.valid is None:
            return {}
        score = self._validation_of(state)
        state.arrays = state.algorithm.after_validation(state.arrays, score)
        return {"valid_log_likelihood": score}

    def observe(self, state: TrainState) -> dict[str, float]:
        """The log-likelihoods of the validation and test counts, if there are any."""
        found = {}
        if self.data.split.valid is not None:
            found["valid_log_likelihood"] = self._validation_of(state)
        if self.data.split.test is not None:
            q = self._result(state.arrays.q, state.mesh)
            score = self._score(*self._means(q), self.data.split.test, _probabilities(q))
            found["heldout_log_likelihood"] = score.log_likelihood
        return found

    def is_whole(self, summary: Mapping[str, Any]) -> bool:
        """True: looks write nothing."""
        del summary
        return True

    @property
    def independent_validation(self) -> float:
        """The validation score of independent columns, in nats."""
        assert self.data.split.valid is not None
        return self._score(*self.data.independent_columns(), self.data.split.valid).log_likelihood

    def validation_of_rows(self, state: TrainState) -> np.ndarray:
        """What each row adds to the validation score of the kept posterior, in nats; shape (N,)."""
        split, q = self.data.split, self.posterior(state)
        assert split.valid is not None
        return score_of_rows(split, split.valid, *self._means(q), _probabilities(q))

    def kept(self, state: TrainState) -> Any:
        """The final `model` and `q` of the run: the best by validation, or else the newest."""
        return state.arrays.best if _has_looked(state) else state.arrays

    def _best_step(self, state: TrainState) -> int | None:
        """The step of the posterior that is kept, if it is not the last."""
        step = int(self.kept(state).step)
        return step if step < state.num_steps else None

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step, and of all steps of a sweep."""
        per_sweep = None if seconds_per_step is None else self.steps_per_sweep * seconds_per_step
        return {"seconds_per_step": seconds_per_step, "seconds_per_sweep": per_sweep}

    def outcome(self, state: TrainState) -> tuple[Posterior, dict[str, Any]]:
        """The kept posterior, as `posterior` returns it, and the results of its algorithm."""
        sweeps = state.num_steps / self.steps_per_sweep if self._is_dealt else state.num_steps
        q, outcome = state.algorithm.outcome(state, self.kept(state))
        return self._result(q, state.mesh), {"sweeps": sweeps, **outcome}

    def end(self, state: TrainState) -> EndOfStart:
        """The result of a finished start; of its posteriors the state retains the kept one only."""
        q, summary = self.outcome(state)
        has_looked = _has_looked(state)
        score = float(state.arrays.best.log_likelihood) if has_looked else summary["elbo"]
        summary |= self._of_validation(state)
        end = EndOfStart(summary, self._means(q), score, _probabilities(q))
        only_for_steps = {"start": None} if hasattr(state.arrays, "start") else {}
        state.arrays = state.arrays.replace(q=self.kept(state).q, **only_for_steps)
        return end

    def report(
        self, state: TrainState, ends: Sequence[EndOfStart] = (), log: RunLog = NOTHING_LOGGED
    ) -> Report:
        """The size of the problem, the result, and the score of the held-out counts.

        With several starts the result is that of the best, and the score that of their mixture.
        """
        split = self.data.split
        num_rows, num_columns = split.train.shape
        q, outcome = self.outcome(state)
        summary = {
            "model": type(self._config.model).__name__,
            "num_rows": num_rows,
            "num_columns": num_columns,
            "num_nonzeros": int(split.train.nnz),
            "num_factors": self._config.model.num_factors,
            **outcome,
            **self._of_validation(state),
            **facts_of_steps(state, log, self.steps_per_sweep),
            **facts_of_factors(*self._means(q)),
            **facts_of_intervals(log, self.kept(state).model, q),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        summary |= self._of_test(q, ends)
        if ends:
            summary["starts"] = [end.summary for end in ends]
        summary |= self._recovery(q)
        return Report(summary, table_of(summary, log.workdir))

    def _of_test(self, q: Posterior, ends: Sequence[EndOfStart]) -> dict[str, Any]:
        """The scores of the test counts; {} if there are none."""
        split = self.data.split
        if split.test is None:
            return {}
        alone, of_alone = self._means(q), _probabilities(q)
        of_ends = mean_probabilities([end.probabilities for end in ends] or [of_alone])
        tables = {"": (*mixture_means([end.means for end in ends] or [alone]), of_ends)}
        tables["_independent"] = (*self.data.independent_columns(), None)
        if ends:
            tables["_best_start"] = (*alone, of_alone)
        scores = {
            name: self._score(theta, beta, split.test, probabilities)
            for name, (theta, beta, probabilities) in tables.items()
        }
        return {
            "heldout_protocol": split.protocol,
            **{f"heldout_log_likelihood{n}": s.log_likelihood for n, s in scores.items()},
            "heldout_gain": scores[""].log_likelihood - scores["_independent"].log_likelihood,
            "num_heldout": scores[""].num_heldout,
        }

    def _of_validation(self, state: TrainState) -> dict[str, float]:
        """The best validation score, its step and sweep, and the baseline; {} without one."""
        if not _has_looked(state):
            return {}
        step = int(state.arrays.best.step)
        return {
            "best_step": step,
            "best_sweep": step / self.steps_per_sweep,
            "valid_log_likelihood": float(state.arrays.best.log_likelihood),
            "valid_log_likelihood_independent": self.independent_validation,
        }

    def _recovery(self, q: Posterior) -> dict[str, float]:
        """A comparison of the fit with the true factors, and with the true rates of 10,000 cells.

        It is {} if these are not known.
        """
        truth, train = self._truth, self.data.split.train
        if truth is None:
            return {}
        rng = np.random.default_rng(self._config.seed)
        row, column = (rng.integers(size, size=10_000) for size in train.shape)
        scale = train.sum(dtype=float) / truth.counts.sum(dtype=float)
        rows, columns = (
            jax.tree.map(lambda leaf, index=index: jnp.asarray(leaf[index]), side)
            for side, index in ((q["rows"], row), (q["columns"], column))
        )
        rates = jnp.asarray(scale * (truth.theta[row] * truth.beta[column]).sum(axis=1))
        key = jax.random.fold_in(key_of_seed(self._config.seed), 2)
        return {
            "smallest_cosine": float(matched_cosines(self._means(q)[1], truth.beta).min()),
            "coverage_of_90_percent": interval_coverage(key, rows, columns, rates),
        }

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The path of the ELBO, the weights of the factors, and images if the data are images."""
        from vigamma.figures import factors as plotting_factors

        q = self.posterior(state)
        independent = None
        if self.data.split.test is not None:
            columns = self.data.independent_columns()
            independent = self._score(*columns, self.data.split.test).log_likelihood
        weights = factor_weights(q, self.exposures)
        yield from plotting_factors.factor_figures(
            weights, metrics, independent, self.steps_per_sweep, self._best_step(state)
        )
        image_shape = getattr(self._config.data, "image_shape", None)
        if image_shape is not None:
            yield "factors", plotting_factors.factor_images(*self._means(q), image_shape)
            images = plotting_factors.synthetic_images(*self._images(q), image_shape)
            yield "synthetic_images", images

    def _images(self, q: Posterior) -> tuple[np.ndarray, _RatesAndCounts, _RatesAndCounts]:
        """Ten real rows; and rates and counts of ten rows, from q and from independent columns."""
        key = jax.random.fold_in(key_of_seed(self._config.seed), 1)
        drawn = self.model.generate_rows(key, jax.tree.map(jnp.asarray, q), 10)
        drawn = jax.tree.map(np.asarray, drawn)
        rates = np.tile(self.data.independent_columns()[1].T, (10, 1))
        counts = np.random.default_rng(self._config.seed).poisson(rates)
        return self.data.counts[:10].toarray(), drawn, (rates, counts)

    def posterior(self, state: TrainState) -> Posterior:
        """The kept posterior: without padding, by counts and by weight, in NumPy."""
        return self._result(self.kept(state).q, state.mesh)

    def _result(self, q: PyTree, mesh: Mesh) -> Posterior:
        """A posterior of the state, or its family, as `result_of`."""
        return result_of(
            self._distribution(q, mesh),
            self.data.split.train.shape,
            is_balanced=not self._is_dealt,
            exposures=self.exposures,
        )

    def _distribution(self, q: PyTree, mesh: Mesh) -> Posterior:
        """The posterior as it is stored; a family is evaluated on the rows of every batch."""
        if not isinstance(q, nnx.Module):
            return q
        return distribution_of_family(q, self.batches(mesh), self.model.row_latents, mesh)

    def _means(self, q: Posterior) -> tuple[np.ndarray, np.ndarray]:
        """e_n E[θ_nk] and E[β_mk]."""
        theta, beta = (np.asarray(q[side].mean) for side in ("rows", "columns"))
        return theta * self.data.exposures[:, None].astype(theta.dtype), beta

    def _score(
        self,
        theta: np.ndarray,
        beta: np.ndarray,
        part: HeldOutCounts,
        probabilities: np.ndarray | None = None,
    ) -> Score:
        return heldout_log_likelihood(theta, beta, self.data.split, part, probabilities)

    def _place_validation(self, mesh: Mesh, num_rows: int) -> None:
        """Places the validation counts on the devices, once for all models; num_rows is padded."""
        split = self.data.split
        if split.valid is None or mesh in self._placed:
            return
        sizes = num_rows, padded_rows(split.train.shape[1], mesh.size)
        placed = Validation.of(split, split.valid, self.data.exposures, self._order, sizes, mesh)
        self._placed[mesh] = placed

    def _validation_of(self, state: TrainState) -> float:
        """The log-likelihood of the validation counts, in nats."""
        q = self._distribution(state.arrays.q, state.mesh)
        return self._placed[state.mesh].log_likelihood(q)


def _probabilities(q: Posterior) -> np.ndarray | None:
    """E[p_m] of negative binomials; None for Poisson counts."""
    return np.asarray(q[PROBABILITIES].mean) if PROBABILITIES in q else None


def _has_looked(state: TrainState) -> bool:
    return state.arrays.best is not None and int(state.arrays.best.step) > 0


def _stepping(inference: Any) -> Any:
    """The algorithm without the fields of its restarts, so that all starts share one program."""
    names = {field.name for field in dataclasses.fields(inference)}
    return dataclasses.replace(
        inference, **{name: 1 for name in ("num_restarts", "restart_sweeps") if name in names}
    )
