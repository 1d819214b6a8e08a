"""The mean-field families: independent Gammas or Betas, parameterized by logarithms."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma.families.beta import Beta
from vigamma.families.floats import as_floats
from vigamma.families.gamma import Gamma
from vigamma.typing import Array


class RowParam(nnx.Param[Array]):
    """A parameter of rows, with the leading axes (rows of a batch, batches).

    It is sharded over devices, while any other `nnx.Param` is replicated.
    """


class MeanFieldGamma(nnx.Module):
    """q(θ) = Π_m Gamma(θ_m | shape_m, rate_m), a product of independent Gammas.

    Attributes:
      log_shape: logarithm of the shapes, an `nnx.Param`.
      log_rate: logarithm of the rates, an `nnx.Param` of the same shape.
    """

    def __init__(self, initial: Gamma, kind: type[nnx.Param[Array]] = nnx.Param):
        """Starts at the distribution `initial`, usually the prior; rejects parameters ≤ 0.

        `kind` is `RowParam` for the latents of rows, (B, J, ...) for J batches.
        """
        initial.validate("MeanFieldGamma")
        shape, rate = as_floats(initial.concentration, initial.rate)
        self.log_shape, self.log_rate = kind(jnp.log(shape)), kind(jnp.log(rate))

    def distribution(self, batch: Any = None) -> Gamma:
        """The Gamma distribution with these parameters; for a `Minibatch`, that of its rows.

        Without a batch it is the distribution of all rows.
        """
        log_shape, log_rate = (
            _of(parameter, batch) for parameter in (self.log_shape, self.log_rate)
        )
        return Gamma(jnp.exp(log_shape), jnp.exp(log_rate))


class MeanFieldBeta(nnx.Module):
    """q(p) = Π_m Beta(p_m | a_m, b_m), a product of independent Betas.

    Attributes:
      log_concentration1: logarithm of the a_m, an `nnx.Param`.
      log_concentration0: logarithm of the b_m, an `nnx.Param` of the same shape.
    """

    def __init__(self, initial: Beta, kind: type[nnx.Param[Array]] = nnx.Param):
        """Starts at the distribution `initial`, as `MeanFieldGamma`."""
        initial.validate("MeanFieldBeta")
        a, b = as_floats(initial.concentration1, initial.concentration0)
        self.log_concentration1, self.log_concentration0 = kind(jnp.log(a)), kind(jnp.log(b))

    def distribution(self, batch: Any = None) -> Beta:
        """The Beta distribution with these parameters, as `MeanFieldGamma.distribution`."""
        parameters = self.log_concentration1, self.log_concentration0
        return Beta(*(jnp.exp(_of(parameter, batch)) for parameter in parameters))


def _of(parameter: nnx.Param[Array], batch: Any) -> Array:
    if batch is None or not isinstance(parameter, RowParam):
        return parameter[...]
    return jax.lax.dynamic_index_in_dim(parameter[...], batch.index, axis=1, keepdims=False)
