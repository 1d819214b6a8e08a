"""The contracts: what a model, a family, an estimator, an algorithm and a data source must have.

Whatever keeps them takes part in a `TrainState`, in `fit` and in an `Experiment`: nothing is looked
up by its class, and no class of this package need be a base.
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
"""What the `nnx.Param`s of a family are to move along: one array for each of theirs."""


@runtime_checkable
class DataSource(Protocol):
    """Where data come from: a Spec in an experiment."""

    def load(self) -> Any:
        """The data: arrays with a leading axis of N rows, `LoadedCounts`, or what the model takes.

        Raises OSError, TypeError or ValueError where they cannot be used.
        """


@runtime_checkable
class SparseData(Protocol):
    """Sparse counts, as a data source loads them: `LoadedCounts`, for example."""

    @property
    def counts(self) -> Any:
        """Canonical counts, as of `check_sparse_counts`; shape (N, M)."""

    @property
    def parts(self) -> Any:
        """Their split, if they came in one."""

    @property
    def row_names(self) -> Any:
        """What the rows are called, strings of `StringDType`, or None."""

    @property
    def column_names(self) -> Any:
        """The same of the columns."""


@runtime_checkable
class Model(Protocol):
    """A model of data, as black-box inference needs it: a Spec or a Record.

    If it has latents that belong to single rows, it names them in `row_latents`, a tuple of
    strings; given the other latents, rows must be independent.
    """

    def log_joint(self, log_latents: LogLatents, batch: PyTree) -> Array:
        """log p(x, θ) in nats, at θ = exp(log_latents); a scalar.

        It is a density of θ, not of log θ. `batch` has all data or some of their rows; the latents
        of rows are those of the same rows.
        """


@runtime_checkable
class StartingModel(Model, Protocol):
    """A `Model` that stands in an experiment by itself: it says which latents it has."""

    def initial(self, data: Any) -> dict[str, Any]:
        """The `Gamma`s that inference starts from, by name: usually the prior.

        Those of rows have a leading axis of N rows.
        """


CONDITIONALS = ("table", "statistics", "with_local_conditionals", "with_global_conditionals")
"""What a conditionally conjugate model states, too; see `models.factor_model.FactorModel`."""


@runtime_checkable
class Factorization(Protocol):
    """A factorization of sparse counts, before it has seen any: a Spec.

    Attributes:
      num_factors: K.
      row_sum_exposures: whether the exposures of rows are the sums of their counts over the mean.
    """

    num_factors: int
    row_sum_exposures: bool

    def build(self, counts: Any, exposures: np.ndarray, num_missing: int) -> Any:
        """The model of these counts; see `PoissonFactorization.build`."""


class Family(Protocol):
    """A variational family: an `nnx.Module` whose `nnx.Param`s are trained.

    Those of single rows are `RowParam`s, in batches: shape (B, J, ...).
    """

    def distribution(self, batch: Any = None) -> Joint:
        """The independent distributions of the latents, by name, those of rows of a batch.

        Each has `log_sample(key)` and, elementwise, `log_prob_from_log(log_x)`, as a `Gamma` has.
        """


@runtime_checkable
class FamilyBuilder(Protocol):
    """Which family, before it is known of what: a Spec."""

    def build(self, model: Any, initial: Any, num_batches: int, key: Key) -> Family:
        """The family, given the distribution that inference starts from; see `MeanField`."""


@runtime_checkable
class Optimizer(Protocol):
    """How a step is made of a gradient: a Spec."""

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation, for gradients of the loss -ELBO."""


@runtime_checkable
class Estimator(Protocol):
    """How the ELBO and its gradient are estimated: a Spec.

    Attributes:
      num_samples: Monte Carlo samples a step, over all devices; 0 for none.
    """

    num_samples: int

    def estimate(
        self, model: Model, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient in the `nnx.Param`s of q, the same on all devices.

        `keys` are those of the samples of this device; see `vigamma.estimators.integrand`.
        """


class StepInfo(Record):
    """What a person may look at after a step.

    Attributes:
      elbo: the ELBO, or its estimate, before the update, in nats; a scalar.
      finite: whether all values are finite, of the ELBO, of gradients, and of all that the next
        step starts from; a dict of booleans.
    """

    elbo: Array
    finite: dict[str, Array]

    def late_change(self, num_steps: int) -> float:
        """By how much the ELBO may have risen in the second half of a run, in nats.

        A run whose learning rate fades looks calm at its end, wherever that is: what has converged
        did not change much before, either. Where this is more than the accuracy that is wanted, the
        rate faded while the run was still on its way, and it takes a longer schedule, or natural
        gradients. It is less than 1e-6 of the ELBO where float32 can say no more.

        Args:
          num_steps: how many steps were taken, at least 20; the leaves, in NumPy or JAX, may be
            longer.

        Returns:
          |d| + 2 s, where d is the mean of the last tenth of the estimates less that of the tenth
          after the middle, and s the standard error of this difference.

        Raises:
          ValueError: for less than 20 steps.
        """
        if num_steps < 20:
            raise ValueError(f"a trend needs at least 20 steps, got {num_steps}")
        elbo, tenth, middle = np.asarray(self.elbo, np.float64), num_steps // 10, num_steps // 2
        early, late = elbo[middle : middle + tenth], elbo[num_steps - tenth : num_steps]
        error = np.sqrt((early.var(ddof=1) + late.var(ddof=1)) / tenth)
        return float(abs(late.mean() - early.mean()) + 2 * error)

    def first_not_finite(self, num_steps: int) -> tuple[int, str] | None:
        """The first of several steps with NaN or infinity, and where; None if there is none.

        Args:
          num_steps: how many steps were taken; the leaves, in NumPy, may be longer.
        """
        bad = {name: ~np.asarray(finite)[:num_steps] for name, finite in self.finite.items()}
        steps = np.flatnonzero(np.any(list(bad.values()), axis=0))
        if not steps.size:
            return None
        first = int(steps[0])
        return first, ", ".join(name for name, where in bad.items() if where[first])


@runtime_checkable
class Algorithm(Protocol):
    """How the posterior is found: hyperparameters, a Spec, over a state that holds all the rest.

    The state is a pytree with `step`, the number of completed steps, and `model`, `q` and `best`;
    everything that decides the next step is in it.

    Of a model it needs what it names in `model_members`, a tuple of strings, if it has that.
    """

    def num_batches(self, num_rows: int) -> int | None:
        """J, into how many batches N rows are dealt; None where steps take the data as a whole."""

    def init(
        self,
        model: Any,
        q: Any,
        *,
        key: Key | None = None,
        num_batches: int = 1,
        validates: bool = False,
    ) -> Any:
        """The state before the first step, from `q`.

        `validates` if there are validation counts, so that the best posterior by them is kept.
        """

    def step(self, state: Any, batch: PyTree, devices: Collectives = ALONE) -> tuple[Any, StepInfo]:
        """One step: of the data on one device, or the part of this device."""

    def is_done(self, state: Any) -> Array | bool:
        """Whether a stopping rule holds."""

    def after_validation(self, state: Any, log_likelihood: float) -> Any:
        """The state that has noted the log-likelihood of the validation counts, in nats."""

    def shardings(self, state: Any, mesh: Mesh) -> PyTree:
        """Where the parts of a state live; a prefix of it."""

    def outcome(self, state: Any, kept: Any) -> tuple[Any, dict[str, Any]]:
        """The q that a run ends with, and what its summary says of it: "elbo" in nats, and more.

        Args:
          state: the `TrainState`.
          kept: the state of the algorithm, or its `best`: what has the `model` and `q` to report.

        Returns:
          kept.q, or that brought up to date where steps leave a part of it behind.
        """


def missing_members(value: Any, contract: type) -> str:
    """The names of what a value lacks of a contract, for an error; empty if it keeps it."""
    names = [
        name
        for base in contract.__mro__
        if getattr(base, "_is_protocol", False) and base is not Protocol
        for name in (*vars(base), *vars(base).get("__annotations__", {}))
        if not name.startswith("_")
    ]
    return ", ".join(name for name in dict.fromkeys(names) if not hasattr(value, name))
