"""A product of variational families, by name: for models with several kinds of latents."""

import functools
import operator
from collections.abc import Mapping
from typing import Self

import jax
from flax import nnx
from jaxtyping import Float

from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.typing import Array, Key


class ProductOfGammas(nnx.Module):
    """q = Π_name q_name, each a `MeanFieldGamma`; the siblings of its methods, by name.

    Attributes:
      parts: the families, an `nnx.Dict`.
    """

    def __init__(self, initial: Mapping[str, Gamma]):
        """Starts at the distributions `initial`; rejects parameters ≤ 0."""
        self.parts = nnx.Dict({name: MeanFieldGamma(gamma) for name, gamma in initial.items()})

    def distribution(self) -> dict[str, Gamma]:
        """The Gamma distributions that the parameters stand for."""
        return {name: part.distribution() for name, part in self.parts.items()}

    def log_sample(self, key: Key) -> dict[str, Array]:
        """One draw of the logarithms of all latents, differentiable in all parameters."""
        return {
            name: part.log_sample(jax.random.fold_in(key, index))
            for index, (name, part) in enumerate(self.parts.items())
        }

    def log_mean(self) -> dict[str, Array]:
        """log E_q of all latents."""
        return {name: part.log_mean() for name, part in self.parts.items()}

    def log_prob(self, log_latents: Mapping[str, Array]) -> Float[Array, ""]:
        """log q in nats, summed over all latents, as a density of the latents.

        Raises ValueError unless the latents have the names of the parts.
        """
        if set(log_latents) != set(self.parts):
            raise ValueError(
                f"the latents must be {', '.join(self.parts)}, got {', '.join(log_latents)}"
            )
        parts = (part.log_prob(log_latents[name]) for name, part in self.parts.items())
        return functools.reduce(operator.add, parts)

    def detached(self) -> Self:
        """The same distribution with parameters that no gradient reaches."""
        graph, state = nnx.split(self)
        return nnx.merge(graph, jax.tree.map(jax.lax.stop_gradient, state))
