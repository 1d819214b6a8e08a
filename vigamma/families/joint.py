"""A joint distribution of independent latents: a `Gamma`, or several `Gamma`s and `Beta`s by name.

The `distribution` of a variational family returns one. Latents are represented by their logarithms,
because draws with small shapes underflow.
"""

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp

from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.typing import Array, Key

Joint: TypeAlias = Gamma | Mapping[str, Gamma | Beta]
LogLatents: TypeAlias = Array | dict[str, Array]


def log_sample(q: Joint, key: Key, rows: Mapping[str, Array] = {}) -> LogLatents:
    """One draw of the logarithms of all latents, differentiable in the parameters.

    Args:
      q: the distribution.
      key: the PRNG key; each of several latents has a key derived from it.
      rows: for each latent of rows, the indices of the rows; shape (B,). The draws of a row depend
        on the key and its index only, whichever device it is on.
    """
    if not isinstance(q, Mapping):
        return q.log_sample(key)
    return {
        name: _log_sample_of_rows(q[name], jax.random.fold_in(key, index), rows[name])
        if name in rows
        else q[name].log_sample(jax.random.fold_in(key, index))
        for index, name in enumerate(sorted(q))
    }


def _log_sample_of_rows(q: Gamma | Beta, key: Key, rows: Array) -> Array:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return jax.vmap(lambda q, key: q.log_sample(key))(q, keys)


def log_mean(q: Joint) -> LogLatents:
    """log E_q[θ] of all latents."""
    if not isinstance(q, Mapping):
        return q.log_mean
    return {name: of_latent.log_mean for name, of_latent in q.items()}


def log_prob(
    q: Joint,
    log_latents: LogLatents,
    row_weights: Mapping[str, Array] = {},
) -> Array:
    """log q(θ) in nats, summed over all latents, as a density of θ and not of log θ; a scalar.

    Args:
      q: the distribution.
      log_latents: the logarithms of the latents.
      row_weights: for each latent of rows, the weights of the rows; shape (B,).

    Raises:
      ValueError: unless the latents have the names of the distribution.
    """
    if not isinstance(q, Mapping):
        return q.log_prob_from_log(log_latents).sum()  # type: ignore[arg-type]  # of one, no dict
    if set(log_latents) != set(q):
        raise ValueError(f"the latents must be {', '.join(q)}, got {', '.join(log_latents)}")
    total = jnp.zeros(())
    for name, of_latent in q.items():
        density = of_latent.log_prob_from_log(log_latents[name])
        if name in row_weights:
            density = density.reshape(len(density), -1).sum(axis=1) * row_weights[name]
        total = total + density.sum()
    return total
