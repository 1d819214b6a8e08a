"""The analytic ELBO: no samples, for models with closed-form expectations."""

from typing import ClassVar

from flax import nnx

from vigamma.contracts import Family, Gradient
from vigamma.data.layout.minibatches import Minibatch
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.estimators.integrand import mean_over_devices, over
from vigamma.typing import Array, PyTree, spec


@spec
class AnalyticElbo:
    """The closed-form ELBO and its exact gradient, for models that define `elbo`.

    For a factorization it is the bound that coordinate ascent maximizes.
    """

    num_samples: ClassVar[int] = 0
    model_members: ClassVar[tuple[str, ...]] = ("elbo",)

    def estimate(
        self, model: PyTree, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient; `keys` is not used."""
        del keys

        def elbo(q: Family) -> Array:
            if isinstance(batch, Minibatch):
                return model.elbo(q.distribution(batch), batch.data, batch.weight)
            return model.elbo(q.distribution(batch), batch)

        value, gradient = nnx.value_and_grad(elbo)(q)
        return mean_over_devices((value, over(gradient, devices.size())), devices)
