"""The analytic ELBO: no samples, where the model knows its expectations."""

from typing import ClassVar

from flax import nnx

from vigamma.contracts import Family, Gradient
from vigamma.devices.mesh import ALONE, Collectives
from vigamma.estimators.integrand import mean_over_devices
from vigamma.typing import Array, PyTree, spec


@spec
class AnalyticElbo:
    """ELBO = E_q[log p(x | θ)] - KL(q ‖ prior) in closed form, and its exact gradient.

    For models that state `prior` and `expected_log_likelihood`.
    """

    num_samples: ClassVar[int] = 0
    model_members: ClassVar[tuple[str, ...]] = ("prior", "expected_log_likelihood")

    def estimate(
        self, model: PyTree, q: Family, batch: PyTree, keys: Array, devices: Collectives = ALONE
    ) -> tuple[Array, Gradient]:
        """The ELBO in nats and its gradient; `keys` is not used."""
        del keys

        def elbo(q: Family) -> Array:
            gamma = q.distribution(batch)
            divergence = gamma.kl_divergence(model.prior).sum()  # type: ignore[union-attr]  # of one
            return model.expected_log_likelihood(gamma, batch) - divergence

        return mean_over_devices(nnx.value_and_grad(elbo)(q), devices)
