"""The contracts (protocols) of models, families, estimators, algorithms and data sources.

An object that satisfies one works in a `TrainState`, in `fit` and in an `Experiment`. Only its
members matter, not its class: it need not inherit from a class of this package.
"""

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from vigamma.devices.mesh import ALONE, Collectives
from vigamma.families.joint import Joint, LogLatents
from vigamma.typing import Array, Key, PyTree, Record

Gradient: TypeAlias = nnx.State[Any, Any]
"""A gradient with respect to the `nnx.Param`s of a family: one array per parameter."""


@runtime_checkable
class DataSource(Protocol):
    """A source of data; in an experiment it is a Spec."""

    def load(self) -> Any:
        """Loads arrays with a leading axis of N rows, `LoadedCounts`, or whatever the model takes.

        Raises OSError, TypeError or ValueError if the data cannot be used.
        """


@runtime_checkable
class SparseData(Protocol):
    """Sparse counts as a data source loads them, for example `LoadedCounts`."""

    @property
    def counts(self) -> Any:
        """Canonical counts, as `check_sparse_counts` returns them; shape (N, M)."""

    @property
    def parts(self) -> Any:
        """The split that the data come with, or None."""

    @property
    def row_names(self) -> Any:
        """The names of the rows, strings of `StringDType`, or None."""

    @property
    def column_names(self) -> Any:
        """The names of the columns, likewise."""


@runtime_checkable
class Model(Protocol):
    """A model as black-box inference needs it: a Spec or a Record.

    If some latents belong to single rows, `row_latents`, a tuple of strings, names them. Given the
    other latents, rows must be independent.
    """

    def log_joint(self, log_latents: LogLatents, batch: PyTree) -> Array:
        """log p(x, θ) in nats, at θ = exp(log_latents); a scalar.

        It is a density of θ, not of log θ. `batch` holds all rows of the data or some of them, and
        the row latents are those of the same rows.
        """


@runtime_checkable
class StartingModel(Model, Protocol):
    """A `Model` that also provides the distribution that inference starts from."""

    def initial(self, data: Any) -> dict[str, Any]:
        """The `Gamma`s that inference starts from, by the name of the latent; usually the prior.

        Those of row latents have a leading axis of N rows.
        """


CONDITIONALS = ("table", "statistics", "with_local_conditionals", "with_global_conditionals")
"""Further members of a conditionally conjugate model; see `models.factor_model.FactorModel`."""


@runtime_checkable
class Factorization(Protocol):
    """A factorization of sparse counts, not yet built for any data: a Spec.

    Attributes:
      num_factors: K.
      row_sum_exposures: whether the exposure of a row is the sum of its counts, divided by the mean
        of these sums.
    """

    num_factors: int
    row_sum_exposures: bool

    def build(self, counts: Any, exposures: np.ndarray, num_missing: int) -> Any:
        """Builds the model for these counts; see `PoissonFactorization.build`."""


class Family(Protocol):
    """A variational family: an `nnx.Module` whose `nnx.Param`s are trained.

    Parameters of single rows are `RowParam`s, stored by batch; shape (B, J, ...).
    """

    def distribution(self, batch: Any = None) -> Joint:
        """The independent distributions of the latents, by name; of row latents, those in `batch`.

        Each has `log_sample(key)` and the elementwise `log_prob_from_log(log_x)`, like `Gamma`.
        """


@runtime_checkable
class FamilyBuilder(Protocol):
    """The choice of a variational family, not yet built for a model: a Spec."""

    def build(self, model: Any, initial: Any, num_batches: int, key: Key) -> Family:
        """Builds the family from the distribution that inference starts from; see `MeanField`."""


@runtime_checkable
class Optimizer(Protocol):
    """The rule that turns a gradient into an update: a Spec."""

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation, for gradients of the loss -ELBO."""


@runtime_checkable
class Estimator(Protocol):
    """How the ELBO and its gradient are estimated: a Spec.

    Attributes:
      num_samples: Monte Carlo samples per step, over all devices; 0 for none.
    """

    num_samples: int

    def estimate(
        self, model: Model, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient in the `nnx.Param`s of q, equal on all devices.

        `keys` are the random keys of this device's samples; see `vigamma.estimators.integrand`.
        """


class StepInfo(Record):
    """Diagnostics of a step.

    Attributes:
      elbo: the ELBO, or its estimate, before the update, in nats; a scalar.
      finite: whether all values are finite in the ELBO, in the gradients and in the state of the
        next step; a dict of booleans.
    """

    elbo: Array
    finite: dict[str, Array]

    def late_change(self, num_steps: int) -> float:
        """A rough upper bound on the change of the ELBO in the second half of a run, in nats.

        With a decaying learning rate, the ELBO is flat at the end of a run even without
        convergence. After convergence, it has changed little over the whole second half. If this
        bound exceeds the desired accuracy, the rate decayed too early: use a longer schedule or
        natural gradients. Changes below 1e-6 of the ELBO are within the rounding of float32.

        Args:
          num_steps: the number of steps taken, at least 20; the leaves, arrays of NumPy or JAX, may
            be longer.

        Returns:
          |d| + 2 s, where d is the mean of the last tenth of the estimates minus the mean of the
          tenth after the middle, and s is the standard error of d.

        Raises:
          ValueError: for fewer than 20 steps.
        """
        if num_steps < 20:
            raise ValueError(f"a trend needs at least 20 steps, got {num_steps}")
        elbo, tenth, middle = np.asarray(self.elbo, np.float64), num_steps // 10, num_steps // 2
        early, late = elbo[middle : middle + tenth], elbo[num_steps - tenth : num_steps]
        error = np.sqrt((early.var(ddof=1) + late.var(ddof=1)) / tenth)
        return float(abs(late.mean() - early.mean()) + 2 * error)

    def first_not_finite(self, num_steps: int) -> tuple[int, str] | None:
        """The first step with NaN or infinity, and the names of the values; None if there is none.

        Args:
          num_steps: the number of steps taken; the leaves, NumPy arrays, may be longer.
        """
        bad = {name: ~np.asarray(finite)[:num_steps] for name, finite in self.finite.items()}
        steps = np.flatnonzero(np.any(list(bad.values()), axis=0))
        if not steps.size:
            return None
        first = int(steps[0])
        return first, ", ".join(name for name, where in bad.items() if where[first])


@runtime_checkable
class Algorithm(Protocol):
    """An inference algorithm: a Spec of hyperparameters that acts on a state.

    The state is a pytree with `step`, the number of completed steps, and `model`, `q` and `best`.
    It holds everything that the next step depends on.

    If present, `model_members`, a tuple of strings, names the members of a model that it needs.
    """

    def num_batches(self, num_rows: int) -> int | None:
        """J, the number of minibatches for N rows; None if every step uses all data."""

    def init(
        self,
        model: Any,
        q: Any,
        *,
        key: Key | None = None,
        num_batches: int = 1,
        validates: bool = False,
    ) -> Any:
        """The state before the first step, which starts from `q`.

        `validates` is whether there are validation counts, by which the best posterior is kept.
        """

    def step(self, state: Any, batch: PyTree, devices: Collectives = ALONE) -> tuple[Any, StepInfo]:
        """Takes one step on the data, or on this device's shard of them."""

    def is_done(self, state: Any) -> Array | bool:
        """Whether a stopping rule holds."""

    def after_validation(self, state: Any, log_likelihood: float) -> Any:
        """The state updated with the log-likelihood of the validation counts, in nats."""

    def shardings(self, state: Any, mesh: Mesh) -> PyTree:
        """The shardings of a state, as a prefix of its pytree."""

    def outcome(self, state: Any, kept: Any) -> tuple[Any, dict[str, Any]]:
        """The q that a run ends with, and what its summary says of it: "elbo" in nats, and more.

        Args:
          state: the `TrainState`.
          kept: the state of the algorithm, or its `best`: what has the `model` and `q` to report.

        Returns:
          kept.q, or that brought up to date where steps leave a part of it behind.
        """


def missing_members(value: Any, contract: type) -> str:
    """The names of the members of `contract` that `value` lacks, for an error; empty if none."""
    names = [
        name
        for base in contract.__mro__
        if getattr(base, "_is_protocol", False) and base is not Protocol
        for name in (*vars(base), *vars(base).get("__annotations__", {}))
        if not name.startswith("_")
    ]
    return ", ".join(name for name in dict.fromkeys(names) if not hasattr(value, name))
