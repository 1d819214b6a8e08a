"""Posterior samples of new rows, given those of the columns of a fit, by Gibbs sampling."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_entries import CountEntries, lay_out_entries
from vigamma.data.layout.count_rows import with_ones
from vigamma.inference.fold_in import fold_in
from vigamma.models.factor_gibbs import SMALLEST, Latents, draw_starts, row_sweep
from vigamma.models.factor_model import FactorModel, Posterior, columns_of
from vigamma.random.keys import key_of_seed
from vigamma.typing import Array, Key

_SWEEPS = 5
"""Between two draws, whose columns differ little."""

_BURN_IN = 50


def sample_rows(
    model: FactorModel,
    columns: Posterior,
    draws: Iterable[Mapping[str, np.ndarray]],
    counts: csr_array,
    exposures: np.ndarray | None = None,
    seed: int = 0,
) -> list[Latents]:
    """Draws θ of new rows from p(θ | x, β, p), at each draw of the columns of C chains in turn.

    A chain of rows starts at a draw of their variational posterior, see `fold_in`, and makes some
    sweeps over z and θ at each draw. What new rows say about columns is neglected, as by `fold_in`.

    Args:
      model: the model of the fit.
      columns: its posterior, as for `fold_in`.
      draws: of the latents of columns, of which the same are used: "columns" (C, M, K) and, if the
        model has them, "column_probabilities" (C, M), a draw of every chain at a time, in the order
        in which the chains made them.
      counts: canonical counts of the new rows; shape (U, M).
      exposures: e_n; shape (U,); by default 1.
      seed: of all random numbers; those of a row depend on its number, but not on other rows.

    Returns:
      for each of `draws`, "rows" (C, U, K) and, if the model has them, "row_rates" (C, U).
    """
    num_rows = counts.shape[0]
    q = fold_in(model, columns, counts, exposures)
    exposures = np.ones(num_rows) if exposures is None else exposures
    slots = block_slots(columns["columns"].rate.shape[1])
    entries = lay_out_entries(counts, exposures, None, num_shards=1, block_slots=slots)
    q = {name: with_ones(gamma, len(entries.exposures)) for name, gamma in q.items()}
    dtype = jnp.result_type(float)
    model = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), model)
    rows: Latents = {}
    found, key = [], key_of_seed(seed)
    for i, draw in enumerate(draws):
        given = {
            name: np.maximum(np.asarray(leaf, dtype), SMALLEST)
            for name, leaf in columns_of(draw).items()
        }
        rows = rows or draw_starts(q, [seed], len(given["columns"]))
        num_sweeps = _SWEEPS if i else _BURN_IN
        rows = _sweeps(model, rows, given, entries, jax.random.fold_in(key, i), num_sweeps)
        found.append({name: np.asarray(leaf)[:, :num_rows] for name, leaf in rows.items()})
    return found


@jax.jit
def _sweeps(
    model: FactorModel,
    rows: Latents,
    columns: Latents,
    entries: CountEntries,
    key: Key,
    num_sweeps: Array | int,
) -> Latents:
    """Sweeps over the rows of every chain."""

    def of_chain(chain: tuple[Latents, Latents, Key]) -> Latents:
        rows, columns, key = chain

        def sweep(i: Array, rows: Latents) -> Latents:
            return row_sweep(model, rows, columns, entries, jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, num_sweeps, sweep, rows)

    keys = jax.random.split(key, len(columns["columns"]))
    return jax.lax.map(of_chain, (rows, columns, keys))
