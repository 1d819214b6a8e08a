"""Array types, dimension letters, and the three kinds of objects of the package.

Dimension letters, used as lower-case suffixes on local variables (`theta_nk`, `counts_m`):

    N rows   M columns   K components   B rows in a batch   E stored entries   S Monte Carlo samples

There are only three kinds of objects. A *Spec*, a dataclass of hyperparameters with pure methods,
is static under `jax.jit`. A *Module*, a `flax.nnx.Module`, holds the trained arrays. A *Record*, a
frozen pytree, is what functions take and return.
"""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, dataclass_transform

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32
from numpy.typing import ArrayLike

Array: TypeAlias = jax.Array
AnyArray: TypeAlias = jax.Array | np.ndarray
Key: TypeAlias = jax.Array
PyTree: TypeAlias = Any
FactorsNK: TypeAlias = Float[AnyArray, "N K"]
FactorsMK: TypeAlias = Float[AnyArray, "M K"]
DrawnRows: TypeAlias = tuple[Float[Array, "B M"], Int32[Array, "B M"]]
"""Poisson rates, and the counts drawn from them."""

_Class = TypeVar("_Class", bound=type)
_IS_SPEC = "_is_spec"

if TYPE_CHECKING:

    class Leaf:
        """An array of a Record: set to anything array-like, and read as an `Array`."""

        def __get__(self, record: object, kind: type | None = None) -> Array: ...
        def __set__(self, record: object, value: ArrayLike) -> None: ...

    class PathText:
        """The path of a Spec: set to a string or a path, and read as a string."""

        def __get__(self, record: object, kind: type | None = None) -> str: ...
        def __set__(self, record: object, value: str | os.PathLike[str]) -> None: ...
else:
    Leaf: TypeAlias = jax.Array
    PathText: TypeAlias = str


@dataclass_transform(kw_only_default=True)
def spec(cls: _Class) -> _Class:
    """Makes a Spec: a keyword-only dataclass, compared and hashed by value.

    It is not frozen, because `--config.field=value` sets fields; nothing else does. If the values
    of fields are restricted, `validate` checks them and raises ValueError. Every public method runs
    this check first, so that it cannot be bypassed. In a pytree, a Spec is static structure without
    leaves, so that a state may hold a model that is a Spec.
    """
    dataclasses.dataclass(kw_only=True, unsafe_hash=True)(cls)
    jax.tree_util.register_static(cls)
    setattr(cls, _IS_SPEC, True)
    for name, member in list(vars(cls).items()):
        if inspect.isfunction(member) and not name.startswith("_") and name != "validate":
            setattr(cls, name, _checking_rules(member))
    return cls


def is_spec(value: Any) -> bool:
    """Whether `value` is a Spec or the class of one."""
    return getattr(value, _IS_SPEC, False)


def check_rules(value: Any, path: str = "") -> None:
    """Validates the Specs that are fields of a Spec, and then the Spec itself.

    Raises:
      ValueError: for an invalid field; the message names it, prefixed by `path`.
    """
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            check_rules(inner, f"{path}.{field.name}" if path else field.name)
    if hasattr(value, "validate"):
        try:
            value.validate()
        except ValueError as error:
            raise ValueError(f"{path}.{error}" if path else str(error)) from error


def _checking_rules(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_rules(self)
        return method(self, *args, **kwargs)

    return checked


def default_float(value: float) -> np.floating:
    """A NumPy scalar of JAX's default float type: float32, or float64 where x64 is enabled."""
    return jnp.result_type(float).type(value)


@dataclass_transform(frozen_default=True, field_specifiers=(flax.struct.field,))
class Record:
    """Base class of Records: its subclasses are frozen dataclasses and pytrees.

    It is `flax.struct.PyTreeNode`, except that type checkers reject assignments to fields.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        flax.struct.dataclass(cls)

    def replace(self, **fields: Any) -> Self:
        """A copy with these fields replaced; Flax generates the method for each subclass."""
        raise NotImplementedError
