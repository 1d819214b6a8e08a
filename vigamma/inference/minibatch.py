"""Streaming steps of `StochasticVariationalInference`: rows are seen once and not stored."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vigamma.contracts import StepInfo
from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_rows import CountRows, lay_out_rows, padded_rows, with_ones
from vigamma.devices.mesh import (
    ACROSS_DEVICES,
    by_rows,
    in_default_float,
    make_mesh,
    on_every_device,
    place,
    replicated,
)
from vigamma.inference.stochastic import StochasticVariationalInference
from vigamma.models.factor_model import FactorModel, Posterior, without_padding
from vigamma.typing import Array

_MOST_PROGRAMS = 16
"""The number of cached compiled programs, which differ in the inference or the device mesh."""


def minibatch_step(
    inference: StochasticVariationalInference,
    model: FactorModel,
    columns: Posterior,
    counts: csr_array,
    num_batches: float,
    step_size: float,
) -> tuple[Posterior, float]:
    """Takes a step of the columns from a minibatch of rows, whose factors start at the prior.

    Args:
      inference: the algorithm; the step is its `moved`.
      model: the model; exposures are 1.
      columns: "columns" (M, K) and, if the model has them, "column_rates" (M,).
      counts: canonical counts of the rows; shape (B, M).
      num_batches: the total number of rows, seen or not, over B.
      step_size: ρ, in (0, 1].

    Returns:
      the posterior of these rows and of all columns, as NumPy arrays; and an estimate of the ELBO
      before the step of the columns, in nats.
    """
    mesh = make_mesh()
    (num_rows, num_columns), num_factors = counts.shape, columns["columns"].rate.shape[1]
    batch = lay_out_rows(
        counts,
        np.ones(num_rows),
        None,
        num_shards=mesh.size,
        block_slots=block_slots(num_factors),
    )
    rows, rates = model.row_prior.initial(padded_rows(num_rows, mesh.size), num_factors)
    q = {"rows": rows} | ({} if rates is None else {"row_rates": rates})
    size = padded_rows(num_columns, mesh.size)
    q |= {name: with_ones(gamma, size) for name, gamma in columns.items()}
    model, q, *scalars = in_default_float((model, q, num_batches, step_size))
    q, batch = place((q, batch), (by_rows(mesh), batch.shardings(mesh)))
    q, info = _program(inference, mesh)(model, q, batch, *scalars)
    return without_padding(q, counts.shape, is_balanced=False), float(info.elbo)


@lru_cache(maxsize=_MOST_PROGRAMS)
def _program(inference: StochasticVariationalInference, mesh: Mesh) -> Callable[..., Any]:
    def moved(
        model: FactorModel, q: Posterior, batch: CountRows, num_batches: Array, step_size: Array
    ) -> tuple[Posterior, StepInfo]:
        return inference.moved(model, q, batch, num_batches, step_size, ACROSS_DEVICES)

    def program(
        model: FactorModel, q: Posterior, batch: CountRows, *scalars: Array
    ) -> tuple[Posterior, StepInfo]:
        whole, spread = replicated(mesh), by_rows(mesh)
        inputs = whole, spread, batch.shardings(mesh), whole, whole
        run = on_every_device(moved, mesh, inputs, outputs=(spread, whole))
        return run(model, q, batch, *scalars)

    return jax.jit(program)
