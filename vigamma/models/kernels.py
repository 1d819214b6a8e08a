"""What the time of Poisson factorization goes into, in forms that become vector loops.

The two passes over sparse entries gather each entry's row of the other side once, and hold only a
block of them at a time: no array of entries × components ever exists. The sums of a chunk are added
to its row in order. The rest is elementwise work on tables of short rows.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from vigamma.data.layout.blocks import SparseBlocks
from vigamma.typing import Array, PyTree

_LANES = 8
"""Components are padded to a multiple of this, the floats of a vector register."""

_UNROLLED_SIZE = 165.0
_COPY_SIZE = 2.4
_MOST_CLIPS = 7
"""Of the unrolled loop and of its body, in clips: they separate the fast from the slow at each of
16, 24, ... 80 components. Where more than 7 clips are wanted, unrolled copies are faster."""


def split_counts(
    own_nk: Float[Array, "N K"], other_mk: Float[Array, "M K"], blocks: SparseBlocks
) -> tuple[Float[Array, "N K"], Float[Array, ""]]:
    """Shares each count x_nm among K components in proportion to own_nk · other_mk.

    With the rates r_nm = Σ_k own_nk other_mk of the entries:

        shares_nk = own_nk Σ_m (x_nm / r_nm) other_mk,     fit = Σ_nm x_nm log(r_nm / x_nm)

    so that Σ_k shares_nk = Σ_m x_nm. This is the expectation step of the multinomial auxiliary
    counts (Cemgil 2009; Gopalan, Hofman & Blei 2013, eq. 11), and the term of the ELBO that is left
    when they are summed out, without Σ x log x: as small as it can be, also for large counts.

    Args:
      own_nk: weights of the rows in [0, 1e30].
      other_mk: weights of the columns, likewise.
      blocks: the counts, by row; where one is positive, so must its rate be.

    Returns:
      shares, and the fit in nats.
    """
    own, other = padded(own_nk), padded(other_mk)

    def add_block(carry: tuple[Array, Array], block: SparseBlocks) -> tuple[PyTree, None]:
        sums, fits = carry
        gathered = gather(other, block.columns)
        rates = jnp.einsum("ck,cwk->cw", gather(own, block.rows), gathered).reshape(-1)
        counts = block.counts.reshape(-1).astype(own.dtype)
        is_entry = counts > 0
        ratios = counts / jnp.where(is_entry, rates, 1.0)
        fits = fits - counts * jnp.log(jnp.where(is_entry, ratios, 1.0))
        of_chunks = jnp.einsum("cwk,cw->ck", gathered, ratios.reshape(block.counts.shape))
        return (_add_to_rows(sums, block, of_chunks), fits), None

    nothing = jnp.zeros_like(own), jnp.zeros(blocks.counts[0].size, own.dtype)
    (sums, fits), _ = jax.lax.scan(add_block, nothing, blocks)
    return own_nk * sums[:, : own_nk.shape[1]], fits.sum()


def gathered(other_mk: Float[Array, "M K"], columns: Integer[Array, "C W"]) -> Array:
    """The weights of the column of each slot, for `shares_given`: shape (C, W, K), padded."""
    return gather(padded(other_mk), columns)


def shares_given(
    own_nk: Float[Array, "N K"], other_cwk: Array, block: SparseBlocks
) -> Float[Array, "N K"]:
    """The shares of `split_counts` in a single block, whose columns are `gathered` already.

    Where a block is split again and again while its columns stay, they stay in the cache.
    """
    own = padded(own_nk)
    rates = jnp.einsum("ck,cwk->cw", own[block.rows], other_cwk)
    counts = block.counts.astype(own.dtype)
    of_chunks = jnp.einsum("cwk,cw->ck", other_cwk, counts / jnp.where(counts > 0, rates, 1.0))
    sums = _add_to_rows(jnp.zeros_like(own), block, of_chunks)
    return own_nk * sums[:, : own_nk.shape[1]]


def sum_over_entries(
    other_mk: Float[Array, "M K"], blocks: SparseBlocks, num_rows: int
) -> Float[Array, "{num_rows} K"]:
    """Σ_{m in row n} other_mk over the entries of each row, counts apart."""
    other = padded(other_mk)

    def add_block(sums: Array, block: SparseBlocks) -> tuple[Array, None]:
        present = (block.counts > 0).astype(other.dtype)
        of_chunks = jnp.einsum("cwk,cw->ck", gather(other, block.columns), present)
        return _add_to_rows(sums, block, of_chunks), None

    sums, _ = jax.lax.scan(add_block, jnp.zeros((num_rows, other.shape[1]), other.dtype), blocks)
    return sums[:, : other_mk.shape[1]]


def elementwise(function: Callable[..., Array], *tables: Array) -> Array:
    """function(*tables) for an elementwise function of tables of one shape (N, K), N even.

    On a CPU a loop over rows of 20 numbers is two to three times slower than one over all numbers
    in a line. XLA would move a reshape out of the way; it does not out of a loop over two halves.
    """
    if tables[0].shape[0] % 2:
        return function(*tables)
    halves = [table.reshape(2, -1) for table in tables]
    result = jax.lax.map(lambda of_half: function(*of_half), halves)
    return result.reshape(tables[0].shape)


def sum_over_factors(table: Float[Array, "N K"]) -> Float[Array, " N"]:
    """Σ_k table_nk: as a product, which XLA leaves alone, up to six times faster."""
    return table @ jnp.ones(table.shape[1], table.dtype)


def gather(table: Array, columns: Array) -> Array:
    """table[columns], for values in [1e-30, 1e30].

    On a CPU the loop that copies a short row is unrolled into one move per float: two thirds of the
    time of a pass. Clipping, which changes nothing, makes the row too long for that, so that it is
    copied by vector instructions instead (at 56 components a whole pass is 1.8 times faster).
    """
    rows = table[columns]
    num_clips = max(math.ceil(_UNROLLED_SIZE / table.shape[1] - _COPY_SIZE), 1)
    if num_clips <= _MOST_CLIPS:
        for i in range(num_clips):
            rows = (
                jnp.minimum(rows, 1e30 / (i + 1)) if i % 2 else jnp.maximum(rows, 1e-30 * (i + 1))
            )
    return rows


def _add_to_rows(sums: Array, block: SparseBlocks, of_chunks: Array) -> Array:
    """Adds the sums of a block's chunks to their rows; padding, beyond the last row, is dropped."""
    return sums.at[block.rows].add(of_chunks, indices_are_sorted=True, mode="drop")


def padded(table: Array) -> Array:
    """The table with components of zeros, up to a whole number of vector registers."""
    return jnp.pad(table, ((0, 0), (0, -table.shape[1] % _LANES)))
