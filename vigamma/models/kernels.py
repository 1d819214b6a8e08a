"""The computational kernels of Poisson factorization, in forms that compilers vectorize.

The two passes over sparse entries gather the factors of each entry's other side once, block by
block, so that no array of all entries × components is allocated. The sums of chunks are added to
their rows in order. The remaining work is elementwise, on tables with short rows.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Integer, Num

from vigamma.data.layout.blocks import SparseBlocks
from vigamma.special import rising_terms
from vigamma.typing import Array, PyTree

LANES = 8
"""Components are padded to a multiple of this, the floats of a vector register."""

_SMALLEST_RATE = 1e-30  # of a count of a row and a column that share no component

_UNROLLED_SIZE = 165.0
_COPY_SIZE = 2.4
_MOST_CLIPS = 7
"""The sizes of the unrolled loop and of its body, in clips. They were fitted to timings at 16, 24,
..., 80 components. If more than 7 clips were needed, the unrolled loop is faster."""


EntryTerms = Callable[[Array, Array, Array], tuple[Array, Array]]
"""(counts, rates, whether they are entries) -> the weight and the fit of each; 0 if they are not.

The rates are those of the components together; they are 1 where there is no entry."""


def poisson_terms(counts: Array, rates: Array, is_entry: Array) -> tuple[Array, Array]:
    """x / r and x log(r / x), the `EntryTerms` of Poisson counts.

    The shares are the expectations of the multinomial auxiliary counts (Cemgil 2009; Gopalan,
    Hofman & Blei 2013, eq. 11), so that Σ_k shares_nk = Σ_m x_nm. The fit is the term of the ELBO
    that remains when they are summed out, minus x log x, so that it stays small for large counts.
    """
    ratios = counts / rates
    return ratios, -counts * jnp.log(jnp.where(is_entry, ratios, 1.0))


def negative_binomial_terms(counts: Array, rates: Array, is_entry: Array) -> tuple[Array, Array]:
    """ψ(r + x) - ψ(r) and log(Γ(r + x) / Γ(r)) - x log x, the `EntryTerms` of negative binomials.

    r times the first is the expected number of tables of a Chinese restaurant with x customers and
    concentration r (Zhou & Carin 2015), which is split among the components.
    """
    shapes = jnp.maximum(rates, _SMALLEST_RATE)
    weights, fits = rising_terms(jnp.where(is_entry, counts, 1.0), shapes)
    return jnp.where(is_entry, weights, 0.0), jnp.where(is_entry, fits, 0.0)


def split_counts(
    own_nk: Float[Array, "N K"],
    other_mk: Float[Array, "M K"],
    blocks: SparseBlocks,
    terms: EntryTerms = poisson_terms,
) -> tuple[Float[Array, "N K"], Float[Array, ""]]:
    """Splits each count x_nm among K components in proportion to own_nk · other_mk.

    With the rates r_nm = Σ_k own_nk other_mk of the entries, and their weights and fits:

        shares_nk = own_nk Σ_m weight(x_nm, r_nm) other_mk,     fit = Σ_nm fit(x_nm, r_nm)

    Args:
      own_nk: weights of the rows, in [0, 1e30].
      other_mk: weights of the columns, in [0, 1e30].
      blocks: the counts, by row; the rate of a positive count must be positive.
      terms: the terms of an entry.

    Returns:
      the shares (N, K), and the fit in nats.
    """
    own, other = padded(own_nk), padded(other_mk)

    def add_block(carry: tuple[Array, Array], block: SparseBlocks) -> tuple[PyTree, None]:
        sums, fits = carry
        gathered = gather(other, block.columns)
        rates = jnp.einsum("ck,cwk->cw", gather(own, block.rows), gathered).reshape(-1)
        counts = block.counts.reshape(-1).astype(own.dtype)
        is_entry = counts > 0
        weights, fit = terms(counts, jnp.where(is_entry, rates, 1.0), is_entry)
        of_chunks = jnp.einsum("cwk,cw->ck", gathered, weights.reshape(block.counts.shape))
        return (_add_to_rows(sums, block, of_chunks), fits + fit), None

    nothing = jnp.zeros_like(own), jnp.zeros(blocks.counts[0].size, own.dtype)
    (sums, fits), _ = jax.lax.scan(add_block, nothing, blocks)
    return own_nk * sums[:, : own_nk.shape[1]], fits.sum()


def gathered(other_mk: Float[Array, "M K"], columns: Integer[Array, "C W"]) -> Array:
    """The padded weights of the column of each slot, for `shares_given`; shape (C, W, K)."""
    return gather(padded(other_mk), columns)


def shares_given(
    own_nk: Float[Array, "N K"],
    other_cwk: Array,
    block: SparseBlocks,
    terms: EntryTerms = poisson_terms,
) -> Float[Array, "N K"]:
    """The shares of `split_counts` for a single block with `gathered` columns.

    If a block is split repeatedly with the same columns, they stay in the CPU cache.
    """
    own = padded(own_nk)
    rates = jnp.einsum("ck,cwk->cw", own[block.rows], other_cwk)
    counts = block.counts.astype(own.dtype)
    weights, _ = terms(counts, jnp.where(counts > 0, rates, 1.0), counts > 0)
    of_chunks = jnp.einsum("cwk,cw->ck", other_cwk, weights)
    sums = _add_to_rows(jnp.zeros_like(own), block, of_chunks)
    return own_nk * sums[:, : own_nk.shape[1]]


def sum_over_entries(
    other_mk: Num[Array, "M K"], blocks: SparseBlocks, num_rows: int
) -> Num[Array, "{num_rows} K"]:
    """Σ_{m in row n} other_mk over the entries of each row, whatever their counts."""
    other = padded(other_mk)

    def add_block(sums: Array, block: SparseBlocks) -> tuple[Array, None]:
        present = (block.counts > 0).astype(other.dtype)
        of_chunks = jnp.einsum("cwk,cw->ck", gather(other, block.columns), present)
        return _add_to_rows(sums, block, of_chunks), None

    sums, _ = jax.lax.scan(add_block, jnp.zeros((num_rows, other.shape[1]), other.dtype), blocks)
    return sums[:, : other_mk.shape[1]]


def sums_of_counts(blocks: SparseBlocks, num_rows: int, dtype: DTypeLike) -> Float[Array, " N"]:
    """Σ_m x_nm of each row."""

    def add_block(sums: Array, block: SparseBlocks) -> tuple[Array, None]:
        return _add_to_rows(sums, block, block.counts.astype(dtype).sum(axis=1)), None

    return jax.lax.scan(add_block, jnp.zeros(num_rows, dtype), blocks)[0]


def elementwise(function: Callable[..., Array], *tables: Array) -> Array:
    """function(*tables) for an elementwise function of tables of the same shape (N, K).

    On a CPU a loop over rows of 20 numbers is two to three times slower than a loop over the
    flattened table. XLA would move a plain reshape past the function, but does not move it out of a
    loop over two halves; for this N must be even.
    """
    if tables[0].shape[0] % 2:
        return function(*tables)
    halves = [table.reshape(2, -1) for table in tables]
    result = jax.lax.map(lambda of_half: function(*of_half), halves)
    return result.reshape(tables[0].shape)


def sum_over_factors(table: Float[Array, "N K"]) -> Float[Array, " N"]:
    """Σ_k table_nk, as a matrix product, which XLA does not rewrite; up to six times faster."""
    return table @ jnp.ones(table.shape[1], table.dtype)


def sum_of_products(table: Float[Array, "M K"], factors: Array) -> Float[Array, " M"]:
    """Σ_k table_mk factors_mk, for factors of shape (M, K) or (1, K)."""
    return table @ factors[0] if len(factors) == 1 else sum_over_factors(table * factors)


def gather(table: Array, columns: Array) -> Array:
    """table[columns], for values in [1e-30, 1e30].

    On a CPU the loop that copies a short row is unrolled into one move per float, which takes two
    thirds of the time of a pass. Clipping, which has no effect on the values, makes the loop body
    too large to unroll, so that rows are copied by vector instructions (at 56 components a whole
    pass is 1.8 times faster).
    """
    rows = table[columns]
    num_clips = max(math.ceil(_UNROLLED_SIZE / table.shape[1] - _COPY_SIZE), 1)
    if num_clips <= _MOST_CLIPS and jnp.issubdtype(table.dtype, jnp.floating):
        for i in range(num_clips):
            rows = (
                jnp.minimum(rows, 1e30 / (i + 1)) if i % 2 else jnp.maximum(rows, 1e-30 * (i + 1))
            )
    return rows


def _add_to_rows(sums: Array, block: SparseBlocks, of_chunks: Array) -> Array:
    """Adds the sums of a block's chunks to their rows; padding, with an invalid row, is dropped."""
    return sums.at[block.rows].add(of_chunks, indices_are_sorted=True, mode="drop")


def padded(table: Array) -> Array:
    """The table, padded with components of zeros to whole vector registers."""
    return jnp.pad(table, ((0, 0), (0, -table.shape[1] % LANES)))
