"""Gradient ascent of the ELBO: any estimator, any Optax transformation, any family."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from vigamma.contracts import (
    Estimator,
    Family,
    FamilyBuilder,
    Gradient,
    Model,
    Optimizer,
    StepInfo,
)
from vigamma.data.layout.minibatches import Minibatch, row_latents_of
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.estimators.integrand import local_sample_keys
from vigamma.estimators.pathwise import PathwiseElbo
from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.families.product import ProductOfGammas
from vigamma.inference.adam import Adam
from vigamma.inference.best import Best, noted, nothing_yet
from vigamma.inference.finite import all_finite
from vigamma.inference.passes import elbo_of_family, shardings_of_params
from vigamma.random.keys import threefry_key
from vigamma.typing import Array, Key, PyTree, Record, spec


class GradientState(Record):
    """Everything that determines the next step.

    Attributes:
      step: the number of completed updates.
      model: the model.
      q: the variational family, an `nnx.Module`.
      optimizer: the Optax state.
      key: the PRNG key from which the keys of all steps are derived.
      best: the best posterior so far on validation counts; None if there are none.
    """

    step: Array
    model: Model
    q: Family
    optimizer: optax.OptState
    key: Key
    best: Best | None = None


@spec
class MeanField:
    """The mean-field family: one independent Gamma, or for probabilities Beta, for each latent."""

    def build(self, model: Model, initial: PyTree, num_batches: int, key: Key) -> Family:
        """The family that starts at `initial`, one `Gamma`, or several distributions by name.

        The latents of rows have a leading axis of rows in `initial`, and the axes (B, J) in the
        family.
        """
        del key
        if isinstance(initial, Gamma):
            return MeanFieldGamma(initial)
        rows = row_latents_of(model)

        def in_batches(name: str, q: Any) -> Any:
            if name not in rows:
                return q
            return jax.tree.map(lambda leaf: leaf.reshape(-1, num_batches, *leaf.shape[1:]), q)

        return ProductOfGammas({name: in_batches(name, q) for name, q in initial.items()}, rows)


@spec
class GradientAscent:
    """Updates the parameters of q by gradient estimates of the ELBO, one Optax update per step.

    Attributes:
      estimator: the estimator of the ELBO and its gradient.
      optimizer: a Spec whose `transformation()` returns an Optax gradient transformation.
      family: a Spec whose `build` returns q, such as `MeanField`.
      batch_rows: the largest number of rows of a minibatch; None for all rows in every step.
    """

    estimator: Estimator = PathwiseElbo()
    optimizer: Optimizer = Adam()
    family: FamilyBuilder = MeanField()
    batch_rows: int | None = None

    spreads_over_cores: ClassVar[bool] = False

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        if self.batch_rows is not None and self.batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, got {self.batch_rows}")

    @property
    def model_members(self) -> tuple[str, ...]:
        """The members that the estimator needs of a model."""
        return getattr(self.estimator, "model_members", ("log_joint",))

    def num_batches(self, num_rows: int) -> int:
        """J, the smallest number of batches that hold all rows."""
        return 1 if self.batch_rows is None else -(-num_rows // self.batch_rows)

    def init(
        self,
        model: Model,
        q: PyTree,
        *,
        key: Key,
        num_batches: int = 1,
        validates: bool = False,
    ) -> GradientState:
        """The state before the first step.

        Args:
          model: the model.
          q: the family, an `nnx.Module`, or the initial distribution of one built by `family`.
          key: the PRNG key of the run.
          num_batches: J.
          validates: whether there are validation counts.
        """
        key = threefry_key(key)
        if not isinstance(q, nnx.Module):
            q = self.family.build(model, q, num_batches, jax.random.fold_in(key, 0))
        return GradientState(
            step=jnp.uint32(0),
            model=model,
            q=q,
            optimizer=self.optimizer.transformation().init(nnx.state(q, nnx.Param)),
            key=key,
            best=nothing_yet(model, q) if validates else None,
        )

    def estimate(
        self, model: Model, q: Family, batch: PyTree, key: Key, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient, estimated from a batch or this device's shard of it.

        Devices share the rows of a `Minibatch`, and the samples for other batches. Sample s draws
        from fold_in(key, s).
        """
        num_samples = self.estimator.num_samples
        if not isinstance(batch, Minibatch):
            keys = local_sample_keys(key, num_samples, devices)
            return self.estimator.estimate(model, q, batch, keys, devices)
        batch = batch.replace(weight=batch.weight * devices.size())
        keys = local_sample_keys(key, num_samples)
        return self.estimator.estimate(model, q, batch, keys, devices)

    def step(
        self, state: GradientState, batch: PyTree, devices: Collectives = ALONE
    ) -> tuple[GradientState, StepInfo]:
        """Takes one update.

        The key of a step is fold_in(key, step), so that it depends on the state only.
        """
        key = jax.random.fold_in(state.key, state.step)
        elbo, gradient = self.estimate(state.model, state.q, batch, key, devices)
        graph, params, *rest = nnx.split(state.q, nnx.Param, ...)
        updates, optimizer = self.optimizer.transformation().update(
            jax.tree.map(jnp.negative, gradient),  # Optax minimizes: loss = -elbo
            state.optimizer,
            params,
        )
        params = optax.apply_updates(params, updates)
        checked = {
            "elbo": elbo,
            "gradient of": _without_variables(gradient),
            "parameter": _without_variables(params),
            "optimizer": _without_variables(optimizer),
        }
        finite = all_finite(checked, devices if isinstance(batch, Minibatch) else ALONE)
        q = nnx.merge(graph, params, *rest)
        return state.replace(step=state.step + 1, q=q, optimizer=optimizer), StepInfo(elbo, finite)

    def is_done(self, state: GradientState) -> bool:
        """False: there is no stopping rule; the learning rate schedule of the optimizer ends."""
        del state
        return False

    def after_validation(self, state: GradientState, log_likelihood: float) -> GradientState:
        """The state updated with the log-likelihood of the validation counts."""
        return noted(state, log_likelihood)[0]

    def outcome(self, state: Any, kept: Any) -> tuple[Family, dict[str, Any]]:
        """The kept family, and an estimate of its ELBO with its standard error, in nats."""
        elbo, error = elbo_of_family(state, kept.q)
        return kept.q, {"elbo": elbo, "elbo_standard_error": error}

    def shardings(self, state: GradientState, mesh: Mesh) -> PyTree:
        """The shardings of the state: parameters of rows and their optimizer state are sharded."""
        return shardings_of_params(state, mesh)


def _without_variables(tree: PyTree) -> PyTree:
    """The arrays in place of the Variables that hold them."""

    def array_of(leaf: Any) -> Any:
        return leaf[...] if isinstance(leaf, nnx.Variable) else leaf

    return jax.tree.map(array_of, tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
