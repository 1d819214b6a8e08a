"""The analytic ELBO: no samples, where the model knows its expectations."""

from typing import ClassVar

from flax import nnx

from vigamma.typing import Array, PyTree, spec


@spec
class AnalyticElbo:
    """ELBO = E_q[log p(x | θ)] - KL(q ‖ prior) in closed form, and its exact gradient.

    For models that state `prior` and `expected_log_likelihood`.
    """

    num_samples: ClassVar[int] = 0

    def moments(self, model: PyTree, q: nnx.Module, batch: PyTree, keys: Array) -> PyTree:
        """The ELBO in nats and its gradient; `keys` is not used."""
        del keys

        def elbo(q: nnx.Module) -> Array:
            gamma = q.distribution()
            divergence = gamma.kl_divergence(model.prior).sum()
            return model.expected_log_likelihood(gamma, batch) - divergence

        return nnx.value_and_grad(elbo)(q)

    def combine(self, moments: PyTree) -> tuple[Array, nnx.State]:
        """The (ELBO, gradient) themselves."""
        return moments
