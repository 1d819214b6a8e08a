"""A product of named mean-field families, for models with several kinds of latents."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldBeta, MeanFieldGamma, RowParam
from vigamma.typing import Array


class ProductOfGammas(nnx.Module):
    """q = Π_name q_name, each a `MeanFieldGamma`, or for probabilities a `MeanFieldBeta`.

    Attributes:
      parts: the families, an `nnx.Dict`.
    """

    def __init__(self, initial: Mapping[str, Gamma | Beta], row_latents: Sequence[str] = ()):
        """Starts at the distributions `initial`; rejects parameters ≤ 0.

        Latents named in `row_latents` belong to rows, and have the axes (B, J, ...).
        """

        def part(name: str, q: Gamma | Beta) -> MeanFieldGamma | MeanFieldBeta:
            kind: type[nnx.Param[Array]] = RowParam if name in row_latents else nnx.Param
            return MeanFieldBeta(q, kind) if isinstance(q, Beta) else MeanFieldGamma(q, kind)

        self.parts = nnx.Dict({name: part(name, q) for name, q in initial.items()})

    def distribution(self, batch: Any = None) -> dict[str, Gamma | Beta]:
        """The distributions with these parameters, by name."""
        return {name: part.distribution(batch) for name, part in self.parts.items()}
