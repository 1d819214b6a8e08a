"""Gibbs chains that start at a fit: in memory, and the steps of those in a directory."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int32
from scipy.sparse import csr_array

from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_entries import lay_out_entries
from vigamma.data.layout.count_rows import balanced_order, in_order, padded_rows, with_ones
from vigamma.devices.mesh import in_default_float, make_mesh, place
from vigamma.devices.processes import whole
from vigamma.inference.gibbs import ChainData, Gibbs
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import ROW_LATENTS, FactorModel, Posterior
from vigamma.random.keys import key_of_seed
from vigamma.runs.fit import OneStart
from vigamma.runs.loop import take_steps
from vigamma.runs.samples import TRACE, Draw, Samples, samples_from
from vigamma.typing import default_float

NUM_SWEEPS = 240
"""Sweeps of each chain by default, burn-in included."""

_SWEEPS_PER_LINE = 10
"""Sweeps between lines of progress, rounded down to a multiple of those between draws."""


class Observed:
    """Counts that chains are conditioned on.

    Attributes:
      train: canonical counts; shape (N, M).
      exposures: e_n; shape (N,).
      missing: ones at the unobserved cells, or None.
    """

    def __init__(
        self,
        train: csr_array,
        exposures: np.ndarray | None = None,
        missing: csr_array | None = None,
    ) -> None:
        """Exposures are 1 by default, and all cells observed."""
        self.train, self.missing = train, missing
        self.exposures = np.ones(train.shape[0]) if exposures is None else exposures


class ChainsFit(OneStart):
    """Chains that start at a variational posterior: of a `Fit`, what the loop needs."""

    def __init__(
        self,
        chains: Gibbs,
        model: FactorModel,
        q: Posterior,
        observed: Observed,
        seed: int,
        keep: Callable[[int, Draw], None],
    ) -> None:
        """Prepares chains.

        Args:
          chains: the algorithm.
          model: the priors.
          q: the posterior of all latents, in the order of the counts.
          observed: the counts.
          seed: of all random numbers.
          keep: called with the sweep and the arrays of every draw that is due.
        """
        self.model, self.names = model, dict[str, list[str]]()
        self._chains: Any = chains
        self._q, self._observed = q, observed
        self._seed, self._keep = seed, keep
        self._placed: dict[Mesh, ChainData] = {}

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """Chains at draws of the posterior, its variances inflated."""
        del index
        order = balanced_order(len(self._q["rows"].rate))
        q = {
            name: with_ones(
                jax.tree.map(lambda leaf: leaf[order], latent) if name in ROW_LATENTS else latent,
                padded_rows(_size(latent), mesh.size),
            )
            for name, latent in self._q.items()
        }
        return TrainState(
            self._chains,
            in_default_float(self.model),
            jax.tree.map(lambda leaf: leaf.astype(default_float(0).dtype), q),
            self._chain_data(mesh),
            key=key_of_seed(self._seed),
            mesh=mesh,
            fused_steps=sweeps_per_line(self._chains),
        )

    def _chain_data(self, mesh: Mesh) -> ChainData:
        if mesh not in self._placed:
            train, missing = self._observed.train, self._observed.missing
            order = balanced_order(train.shape[0])
            num_factors = self._q["columns"].rate.shape[1]
            entries = lay_out_entries(
                train[order],
                self._observed.exposures[order],
                None if missing is None else missing[order],
                num_shards=mesh.size,
                block_slots=block_slots(num_factors),
            )
            rows, columns = self.watched_cells()
            place_of_row = np.argsort(order)
            chain_data = ChainData(entries, place_of_row[rows].astype(np.int32), columns)
            self._placed[mesh] = place(chain_data, chain_data.shardings(mesh))
        return self._placed[mesh]

    def watched_cells(self) -> tuple[Int32[np.ndarray, " Q"], Int32[np.ndarray, " Q"]]:
        """The rows and columns of the cells that are traced: half have counts, half are any."""
        rng, train = np.random.default_rng(self._seed), self._observed.train
        number = self._chains.num_watched
        entries = rng.integers(train.nnz, size=number // 2)
        rows, columns = (rng.integers(size, size=number) for size in train.shape)
        rows[: number // 2] = np.searchsorted(train.indptr, entries, side="right") - 1
        columns[: number // 2] = train.indices[entries]
        return rows.astype(np.int32), columns.astype(np.int32)

    def next_look(self, step: int) -> float:
        """The next sweep after which a draw is due."""
        first = self._chains.burn_in + self._chains.thin
        return max(first, (step // self._chains.thin + 1) * self._chains.thin)

    def look(self, state: TrainState) -> dict[str, float]:
        """Keeps a draw of every chain, and the trace of the sweeps since the one before."""
        self._keep(state.num_steps, self.posterior(state) | {TRACE: whole(state.arrays.trace)})
        return {}

    def posterior(self, state: TrainState) -> Draw:
        """The last draws of all chains, in the order of the counts."""
        return {name: self._unpadded(name, leaf) for name, leaf in state.arrays.q.items()}

    def _unpadded(self, name: str, leaf: jax.Array) -> Float[np.ndarray, "C ..."]:
        size = _size(self._q[name])
        real = np.moveaxis(whole(leaf), 0, 1)[:size]
        real = in_order(real) if name in ROW_LATENTS else real
        return np.ascontiguousarray(np.moveaxis(real, 1, 0))


def _size(latent: Any) -> int:
    """The number of rows or columns."""
    return len(jax.tree.leaves(latent)[0])


def sample_posterior(
    model: FactorModel,
    q: Posterior,
    counts: csr_array,
    inference: Gibbs | None = None,
    *,
    num_sweeps: int = NUM_SWEEPS,
    exposures: np.ndarray | None = None,
    missing: csr_array | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Samples:
    """Draws from the exact posterior of a factorization in memory; see `sample` for runs.

    Args:
      model: the priors.
      q: the variational posterior that the chains start at, of all rows and columns of the counts.
      counts: the counts of the fit; shape (N, M).
      inference: the chains; by default `Gibbs()`.
      num_sweeps: of each chain, burn-in included.
      exposures: e_n > 0; shape (N,); by default 1.
      missing: ones at cells that were not observed; by default all were.
      seed: of all random numbers.
      say: called with lines of progress.

    Raises:
      ValueError: for a setting out of range, or counts that q is not of.
      NonFiniteError: for NaN or infinity in a sweep.
    """
    chains = Gibbs() if inference is None else inference
    chains.validate()
    if num_sweeps < chains.burn_in + chains.thin:
        raise ValueError(
            f"num_sweeps must be at least burn_in + thin ({chains.burn_in + chains.thin}), "
            f"got {num_sweeps}"
        )
    sizes = tuple(len(q[side].rate) for side in ("rows", "columns"))
    if counts.shape != sizes:
        raise ValueError(f"counts of shape {counts.shape} do not fit a posterior of {sizes}")
    observed, draws = Observed(check_sparse_counts(counts), exposures, missing), list[Draw]()
    fit: Any = ChainsFit(chains, model, q, observed, seed, lambda _, draw: draws.append(draw))
    state = fit.start(make_mesh())
    for pause in take_steps(fit, state, num_sweeps, every=(sweeps_per_line(chains),)):
        say(f"sweep {pause.step}: log joint {pause.elbo:,.1f} nats")
    return samples_from(draws)


def sweeps_per_line(chains: Gibbs) -> int:
    """The sweeps between two lines of progress."""
    return max(_SWEEPS_PER_LINE // chains.thin, 1) * chains.thin
