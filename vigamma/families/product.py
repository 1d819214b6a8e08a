"""A product of named mean-field families, for models with several kinds of latents."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma, RowParam


class ProductOfGammas(nnx.Module):
    """q = Π_name q_name, each a `MeanFieldGamma`.

    Attributes:
      parts: the families, an `nnx.Dict`.
    """

    def __init__(self, initial: Mapping[str, Gamma], row_latents: Sequence[str] = ()):
        """Starts at the distributions `initial`; rejects parameters ≤ 0.

        Latents named in `row_latents` belong to rows, and have the axes (B, J, ...).
        """
        self.parts = nnx.Dict(
            {
                name: MeanFieldGamma(gamma, RowParam if name in row_latents else nnx.Param)
                for name, gamma in initial.items()
            }
        )

    def distribution(self, batch: Any = None) -> dict[str, Gamma]:
        """The Gamma distributions with these parameters, by name."""
        return {name: part.distribution(batch) for name, part in self.parts.items()}
