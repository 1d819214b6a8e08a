"""What fits of a factorization have in common: counts, scores and pictures."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vigamma.config import Experiment
from vigamma.data.count_rows import padded_rows
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOut, HeldOutCounts, Split
from vigamma.data.synthetic import SyntheticCounts
from vigamma.diagnostics.predictive import Score, heldout_log_likelihood
from vigamma.diagnostics.recovery import interval_coverage, matched_cosines
from vigamma.errors import ConfigError
from vigamma.fits.base import NAMES_CHECKSUM, Advance, Report, checksum_of, checksum_of_names
from vigamma.fits.validation import Validation
from vigamma.inference.best import next_look
from vigamma.mesh import by_rows, replicated
from vigamma.metrics import peak_memory_bytes
from vigamma.mixture import mixture_means
from vigamma.models.factor_model import FactorModel, Posterior, without_padding
from vigamma.random.keys import key_of_seed
from vigamma.typing import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EndOfStart(NamedTuple):
    """What is left of a start that has ended.

    Attributes:
      summary: how it ended.
      means: e_n E[θ_nk] and E[β_mk], float32, without padding.
      score: the log-likelihood of validation counts, or else the ELBO, in nats; -inf if unknown.
    """

    summary: dict[str, Any]
    means: tuple[np.ndarray, np.ndarray]
    score: float


class FactorFit:
    """Sparse counts, a part of them held out, and the factors of the rest.

    The base of the fits by each algorithm. The arrays are a state with `step`, and with the
    posterior `q`, in which rows and columns are padded and rows may be stored in batches or in
    another order.

    Attributes:
      identity: a checksum of the training counts and of those held out, their shape, and a
        checksum of their names.
      split: the counts.
      exposures: e_n; shape (N,).
      model: the model of the training counts.
      names: what its rows and columns are called, as "rows" and "columns", if they have names.
      steps_per_sweep: the steps that take in all counts once.
      only_for_steps: what of the state is only needed for further steps, to be left out.
      rows_are_balanced: whether the rows of the posterior are stored in `balanced_order`.
    """

    steps_per_sweep: int = 1
    only_for_steps: ClassVar[dict[str, None]] = {}
    rows_are_balanced: ClassVar[bool] = False

    def __init__(self, config: Experiment, data: LoadedCounts):
        """Splits the counts and builds the model; raises ValueError where that is not possible."""
        self._config, self._data = config, data
        self._validations: dict[Mesh, Validation] = {}
        self.split = _split(config.heldout, data)
        train = self.split.train
        self.exposures = _exposures(train, config.model.row_sum_exposures)
        self.model = self._build_model()
        arrays = [train.data, train.indices, train.indptr]
        for part in (self.split.valid, self.split.test):
            arrays += [] if part is None else part[:3]
        num_rows, num_columns = train.shape
        named = {"rows": data.row_names, "columns": data.column_names}
        self.names = {side: names.tolist() for side, names in named.items() if names is not None}
        self.identity = checksum_of(arrays) | {"num_rows": num_rows, "num_columns": num_columns}
        if self.names:
            self.identity[NAMES_CHECKSUM] = checksum_of_names(self.names)

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
        return self._config.model.build(train, self.exposures, num_missing)

    def before_the_first_step(
        self,
        arrays: PyTree,
        advance: Advance,
        mesh: Mesh,
        say: Callable[[str], None],
        index: int = 0,
    ) -> PyTree:
        """The arrays as they are."""
        del advance, mesh, say, index
        return arrays

    def step_of(self, arrays: PyTree) -> int:
        """The number of completed steps."""
        return int(arrays.step)

    def next_look(self, step: int) -> float:
        """When validation counts are to be looked at, if there are any."""
        return math.inf if self.split.valid is None else next_look(step, self.steps_per_sweep)

    def look(self, arrays: PyTree) -> tuple[PyTree, dict[str, float]]:
        """The state that has noted the log-likelihood of the validation counts, and that."""
        if self.split.valid is None:
            return arrays, {}
        score = self._validation_of(arrays)
        arrays = self._config.inference.after_validation(arrays, score)
        return arrays, {"valid_log_likelihood": score}

    def observe(self, arrays: PyTree) -> dict[str, float]:
        """The log-likelihoods of the validation and test counts, as far as there are any."""
        found = {}
        if self.split.valid is not None:
            found["valid_log_likelihood"] = self._validation_of(arrays)
        if self.split.test is not None:
            score = self._score(*self._means(arrays.q), self.split.test)
            found["heldout_log_likelihood"] = score.log_likelihood
        return found

    def kept(self, arrays: PyTree) -> Any:
        """What the run ends with, `model` and `q`: the best by validation, or else the newest."""
        return arrays.best if self._has_looked(arrays) else arrays

    def _best_step(self, arrays: PyTree) -> int | None:
        """The step of the posterior that is kept, if it is not the last."""
        step = self.step_of(self.kept(arrays))
        return step if step < self.step_of(arrays) else None

    @staticmethod
    def _has_looked(arrays: PyTree) -> bool:
        return arrays.best is not None and int(arrays.best.step) > 0

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step, and of all steps of a sweep."""
        per_sweep = None if seconds_per_step is None else self.steps_per_sweep * seconds_per_step
        return {"seconds_per_step": seconds_per_step, "seconds_per_sweep": per_sweep}

    def outcome(self, arrays: PyTree) -> tuple[Posterior, dict[str, Any]]:
        """The posterior that is kept, and `elbo`, `sweeps`, and `converged` where it is known."""
        raise NotImplementedError

    def end(self, arrays: PyTree) -> tuple[EndOfStart, PyTree]:
        """What is left of a start that has ended, and its state with nothing but what is kept."""
        q, summary = self.outcome(arrays)
        score = float(getattr(arrays, "elbo", -math.inf))
        if self._has_looked(arrays):
            score = float(arrays.best.log_likelihood)
        end = EndOfStart(summary | self._of_validation(arrays), self._means(q), score)
        return end, arrays.replace(q=self.kept(arrays).q, **self.only_for_steps)

    def report(self, arrays: PyTree, ends: Sequence[EndOfStart] = ()) -> Report:
        """The size of the problem, the outcome, and the score of the held-out counts.

        Of several starts the outcome is that of the best, the score that of their mixture.
        """
        (num_rows, num_columns), split = self.split.train.shape, self.split
        q, outcome = self.outcome(arrays)
        summary = {
            "model": type(self._config.model).__name__,
            "num_rows": num_rows,
            "num_columns": num_columns,
            "num_nonzeros": int(split.train.nnz),
            "num_factors": self._config.model.num_factors,
            **outcome,
            **self._of_validation(arrays),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        if split.test is not None:
            alone, independent = self._means(q), self.independent_columns()
            tables = {"": mixture_means([end.means for end in ends] or [alone])}
            tables |= {"_independent": independent} | ({"_best_start": alone} if ends else {})
            scores = {name: self._score(*table, split.test) for name, table in tables.items()}
            summary |= {
                "heldout_protocol": split.protocol,
                **{f"heldout_log_likelihood{n}": s.log_likelihood for n, s in scores.items()},
                "num_heldout": scores[""].num_heldout,
            }
        if ends:
            summary["starts"] = [end.summary for end in ends]
        if isinstance(self._data, SyntheticCounts):
            summary |= self._recovery(q)
        return Report(summary, _table(summary))

    def _of_validation(self, arrays: PyTree) -> dict[str, float]:
        """When validation counts were predicted best, and how well; {} without a look."""
        if not self._has_looked(arrays):
            return {}
        step = int(arrays.best.step)
        return {
            "best_step": step,
            "best_sweep": step / self.steps_per_sweep,
            "valid_log_likelihood": float(arrays.best.log_likelihood),
        }

    def _recovery(self, q: Posterior) -> dict[str, float]:
        """How the fit compares with the true factors, and with the true rates of 10,000 cells."""
        truth, train = self._data, self.split.train
        rng = np.random.default_rng(self._config.seed)
        row, column = (rng.integers(size, size=10_000) for size in train.shape)
        scale = train.sum(dtype=float) / truth.counts.sum(dtype=float)
        q = self._unpadded(q)
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
        self, arrays: PyTree, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """The way there, the weights of the factors, and images if the counts are of any."""
        from vigamma import plotting_factors

        q = self.kept(arrays).q
        theta, beta = self._means(q)
        independent = None
        if self.split.test is not None:
            independent = self._score(*self.independent_columns(), self.split.test).log_likelihood
        yield from plotting_factors.factor_figures(
            theta, beta, metrics, independent, self.steps_per_sweep, self._best_step(arrays)
        )
        image_shape = getattr(self._config.data, "image_shape", None)
        if image_shape is not None:
            yield "factors", plotting_factors.factor_images(theta, beta, image_shape)
            images = plotting_factors.synthetic_images(*self._images(q), image_shape)
            yield "synthetic_images", images

    def _images(self, q: Posterior):
        """Ten real rows; and rates and counts of ten rows, from q and from independent columns."""
        key = jax.random.fold_in(key_of_seed(self._config.seed), 1)
        drawn = self.model.generate_rows(key, jax.tree.map(jnp.asarray, self._unpadded(q)), 10)
        drawn = jax.tree.map(np.asarray, drawn)
        rates = np.tile(self.independent_columns()[1].T, (10, 1))
        counts = np.random.default_rng(self._config.seed).poisson(rates)
        return self._data.counts[:10].toarray(), drawn, (rates, counts)

    def posterior(self, arrays: PyTree) -> Posterior:
        """Without padding, in the order of the counts, in NumPy."""
        return self._unpadded(self.kept(arrays).q)

    def _unpadded(self, q: Posterior) -> Posterior:
        return without_padding(q, self.split.train.shape, self.rows_are_balanced)

    def _means(self, q: Posterior) -> tuple[np.ndarray, np.ndarray]:
        """e_n E[θ_nk] and E[β_mk], without padding."""
        q = self._unpadded({name: q[name] for name in ("rows", "columns")})
        theta, beta = q["rows"].mean, q["columns"].mean
        return theta * self.exposures[:, None].astype(theta.dtype), beta

    def _score(self, theta: np.ndarray, beta: np.ndarray, part: HeldOutCounts) -> Score:
        return heldout_log_likelihood(theta, beta, self.split, part)

    def _place_validation(self, mesh: Mesh, order: np.ndarray, num_rows: int) -> None:
        """Puts the validation counts on the devices, once for all models.

        Args:
          mesh: the devices.
          order: what is stored at place i is row order[i].
          num_rows: N, padded.
        """
        split = self.split
        if split.valid is None or mesh in self._validations:
            return
        sizes = num_rows, padded_rows(split.train.shape[1], mesh.size)
        placed = Validation.of(split, split.valid, self.exposures, order, sizes, mesh)
        self._validations[mesh] = placed

    def _validation_of(self, arrays: PyTree) -> float:
        """The log-likelihood of the validation counts, in nats."""
        mesh = arrays.q["columns"].rate.sharding.mesh
        return self._validations[mesh].log_likelihood(arrays.q)

    @property
    def counts(self) -> csr_array:
        """All counts, those held out among them; shape (N, M)."""
        return self._data.counts

    def exposures_of(self, counts: csr_array) -> np.ndarray:
        """The exposures of other rows: 1, or their sums over the mean sum of a training row."""
        if not self._config.model.row_sum_exposures:
            return np.ones(counts.shape[0])
        return counts.sum(axis=1) / self.split.train.sum(axis=1).astype(float).mean()

    def independent_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The best rates without factors: of each column one, times the exposure of the row.

        Σ_n x_nm + 1/2 over the exposures of the rows in which the column was observed.
        """
        train, missing = self.split.train, self.split.missing
        seen = np.full(train.shape[1], self.exposures.sum())
        if missing is not None:
            seen = seen - missing.T @ self.exposures
        beta = (train.sum(axis=0) + 0.5) / (seen + 1.0)
        return self.exposures[:, None].astype(np.float32), beta[:, None].astype(np.float32)


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


def shardings_of(state: Any, mesh: Mesh, *spread: str) -> PyTree:
    """Where the parts of a state live: the fields `spread` by their leading axes over devices.

    Args:
      state: a record; what is returned is one too, a prefix of it.
      mesh: the devices.
      spread: names of fields, of the state and of its `best`.
    """

    def placed(name: str, value: Any) -> PyTree:
        if name == "best" and value is not None:
            return shardings_of(value, mesh, *spread)
        return None if value is None else (by_rows if name in spread else replicated)(mesh)

    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return type(state)(**{name: placed(name, value) for name, value in fields.items()})


def _of_best_start(summary: dict[str, Any]) -> list[str]:
    if "starts" not in summary:
        return []
    score = summary["heldout_log_likelihood_best_start"]
    return [f"  of the best start alone   {score:>18.4f} nats"]


def _if_blind(summary: dict[str, Any]) -> list[str]:
    if summary.get("sees_convergence", True):
        return []
    return [
        "  counts are so large that rises of the ELBO as small as the tolerance are lost in its",
        "  rounding, in fewer cases with JAX_ENABLE_X64=1",
    ]


def _which(summary: dict[str, Any]) -> str:
    """Which sweep the posterior is of, if it is not the last."""
    if summary.get("best_sweep", summary["sweeps"]) == summary["sweeps"]:
        return ""
    return f"; kept is sweep {summary['best_sweep']:g}, the best by validation"


def _table(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['num_rows']:,} rows × {summary['num_columns']:,} columns, "
        f"{summary['num_nonzeros']:,} nonzeros, {summary['num_factors']} factors",
        f"  {summary['sweeps']:g} sweeps{_which(summary)}"
        f"{'' if summary.get('converged', True) else ', not yet converged'}",
        *_if_blind(summary),
        f"  ELBO                      {summary['elbo']:>18,.1f} nats",
    ]
    if "valid_log_likelihood" in summary:
        score = summary["valid_log_likelihood"]
        lines.append(f"  validation log-likelihood {score:>18.4f} nats")
    if "num_heldout" in summary:
        lines += [
            f"  held-out log-likelihood   {summary['heldout_log_likelihood']:>18.4f} nats  "
            f"({summary['heldout_protocol']}, {summary['num_heldout']:,})",
            *_of_best_start(summary),
            f"  of independent columns    "
            f"{summary['heldout_log_likelihood_independent']:>18.4f} nats",
        ]
    if "smallest_cosine" in summary:
        lines += [
            f"  true factors matched with cosines of at least {summary['smallest_cosine']:.4f}",
            f"  true rates within their 90 % intervals: {summary['coverage_of_90_percent']:.1%}",
        ]
    starts = f", mixture of {len(summary['starts'])} starts" if "starts" in summary else ""
    return "\n".join([f"Factorization{starts}", *lines])
