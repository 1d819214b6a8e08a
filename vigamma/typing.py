"""The words of the package: array types, dimension letters, and the two decorators of its objects.

Dimension letters, used as lower-case suffixes on local variables (`theta_nk`, `counts_m`):

    N rows   M columns   K components   B rows in a batch   E stored entries   S Monte Carlo samples

Three kinds of object exist (and nothing else): a *Spec*, a dataclass of hyperparameters and pure
methods, is static under `jax.jit`; a *Module*, a `flax.nnx.Module`, holds the arrays that are
trained; a *Record*, a frozen pytree, is what functions take and return.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias, dataclass_transform

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
PyTree: TypeAlias = Any


@dataclass_transform(kw_only_default=True)
def spec(cls: type) -> type:
    """Makes a Spec: a keyword-only dataclass, compared and hashed by value.

    It is not frozen, because `--config.field=value` sets fields; nothing else does. A Spec whose
    fields have bounds states them in `validate`, which raises ValueError.
    """
    return dataclass(kw_only=True, unsafe_hash=True)(cls)


def default_float(value: float) -> np.floating:
    """A NumPy scalar of JAX's default float type: float32, or float64 where x64 is enabled."""
    return jnp.result_type(float).type(value)


record = flax.struct.dataclass
"""Makes a Record: a frozen dataclass that is a pytree."""
