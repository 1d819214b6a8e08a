"""Natural-gradient steps for Gamma families, as Optax gradient transformations."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from vigamma.special import trigamma_excess
from vigamma.typing import Array, PyTree, spec

_Pair = dict[str, Array]
"""Arrays named log_shape and log_rate."""


def scale_by_inverse_fisher() -> optax.GradientTransformation:
    """Multiplies gradients by the inverse Fisher matrix of the Gammas they belong to (Amari 1998).

    In (log shape, log rate), at shape a, the Fisher matrix of a Gamma and its inverse are

        F = [[a² ψ'(a), -a], [-a, a]]      F⁻¹ = [[1, 1], [1, a ψ'(a)]] / (a (a ψ'(a) - 1))

    This closed form is applied elementwise, and is accurate for shapes from 1e-4 to 1e6 in float32.
    Parameters must be a pytree of mappings with two arrays each, `log_shape` and `log_rate`;
    anything else raises ValueError.
    """

    def init(params: PyTree) -> optax.EmptyState:
        _map_pairs(lambda pair: pair, params)
        return optax.EmptyState()

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        if params is None:
            raise ValueError(
                "natural gradients need the parameters: update(updates, state, params)"
            )
        return _map_pairs(_solve, updates, params), state

    return optax.GradientTransformation(init, update)


def clip_shape_and_mean(max_update: float) -> optax.GradientTransformation:
    """Clips the change of every log-shape and every log-mean, log(shape / rate), in one update.

    In these coordinates the Fisher matrix of a Gamma is diagonal. So clipping the shape, which is
    noisy while the mean is far from its optimum, does not affect the mean. (If log-shape and
    log-rate were clipped instead, updates that are too long in both would never change the mean.)
    """

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        del params

        def clip(pair: _Pair) -> _Pair:
            shape, mean = pair["log_shape"], pair["log_shape"] - pair["log_rate"]
            shape, mean = (jnp.clip(x, -max_update, max_update) for x in (shape, mean))
            return {"log_shape": shape, "log_rate": shape - mean}

        return _map_pairs(clip, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _solve(gradient: _Pair, params: _Pair) -> _Pair:
    shape = jnp.exp(params["log_shape"])
    excess = trigamma_excess(shape)
    common = (gradient["log_shape"] + gradient["log_rate"]) / (shape * excess)
    return {"log_shape": common, "log_rate": common + gradient["log_rate"] / shape}


_NAMES = ("log_rate", "log_shape")
"""In the order of the leaves: JAX flattens mappings sorted by key."""


def _is_pair(tree: PyTree) -> bool:
    return isinstance(tree, Mapping) and set(tree) == set(_NAMES)


def _map_pairs(function: Callable[..., _Pair], *trees: PyTree) -> PyTree:
    """Applies `function` to the arrays of every {log_shape, log_rate} mapping of the trees."""

    def apply(pair: PyTree, *rest: PyTree) -> PyTree:
        if not _is_pair(pair):
            raise ValueError("natural gradients need parameters named log_shape and log_rate")
        arrays = (dict(zip(_NAMES, jax.tree.leaves(p), strict=True)) for p in (pair, *rest))
        found = function(*arrays)
        return jax.tree.unflatten(jax.tree.structure(pair), [found[name] for name in _NAMES])

    return jax.tree.map(apply, *trees, is_leaf=_is_pair)


@spec
class NaturalGradient:
    """Natural-gradient ascent: a constant step along F⁻¹ ∇ ELBO.

    Attributes:
      learning_rate: the step size, in (0, 1]; 1 is a Newton step at the optimum for the exact
        gradient, but oscillates with noisy gradients.
      max_update: the largest change of a log-shape or log-mean in one step; > 0. It only matters
        in the first steps, far from the optimum.
    """

    learning_rate: float = 0.5
    max_update: float = 1.0

    def validate(self) -> None:
        """Raises ValueError for hyperparameters out of range."""
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], got {self.learning_rate}")
        if not (math.isfinite(self.max_update) and self.max_update > 0):
            raise ValueError(f"max_update must be positive and finite, got {self.max_update}")

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation, for gradients of the loss -ELBO."""
        return optax.chain(
            scale_by_inverse_fisher(),
            optax.scale_by_learning_rate(self.learning_rate),
            clip_shape_and_mean(self.max_update),
        )
