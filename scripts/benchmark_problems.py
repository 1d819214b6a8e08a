"""The problems of several benchmarks: synthetic counts, sweeps over counts, the digit zero."""

from functools import cached_property

import jax
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

import vigamma
from vigamma.data.layout.blocks import block_slots
from vigamma.data.layout.count_entries import lay_out_entries
from vigamma.data.layout.count_rows import CountRows, balanced_order, lay_out_rows, padded_rows
from vigamma.devices.mesh import make_mesh, place
from vigamma.inference.gibbs import ChainData
from vigamma.models.factor_model import FactorModel, random_perturbations


def synthetic_counts(num_nonzeros: int, num_rows: int = 0, num_columns: int = 0) -> csr_array:
    """Counts of power-law rows and columns; by default 16 s × 4 s with s = √nonzeros."""
    size = int(np.sqrt(num_nonzeros))
    source = vigamma.SyntheticFactors(
        num_rows=num_rows or 16 * size,
        num_columns=num_columns or 4 * size,
        num_nonzeros=num_nonzeros,
        concentration=1.0,
    )
    return source.load().counts


class Problem:
    """Counts, laid out for sweeps and for chains on the devices of a mesh, by default all."""

    def __init__(
        self,
        counts: csr_array,
        model: FactorModel,
        num_factors: int,
        seed: int = 0,
        mesh: Mesh | None = None,
    ):
        """Draws where sweeps start; the model has its priors."""
        self.counts, self.model, self.mesh = counts, model, make_mesh() if mesh is None else mesh
        sizes = tuple(padded_rows(size, self.mesh.size) for size in counts.shape)
        self._start = random_perturbations([seed, 0], counts, sizes, num_factors)
        self._layout = {"num_shards": self.mesh.size, "block_slots": block_slots(num_factors)}

    @cached_property
    def rows(self) -> CountRows:
        """As coordinate ascent takes the counts."""
        return lay_out_rows(*self._balanced(), None, **self._layout)

    @cached_property
    def entries(self) -> ChainData:
        """As chains take the counts."""
        cells = np.zeros((2, vigamma.Gibbs.num_watched), np.int32)
        return ChainData(lay_out_entries(*self._balanced(), None, **self._layout), *cells)

    def _balanced(self) -> tuple[csr_array, np.ndarray]:
        num_rows = self.counts.shape[0]
        return self.counts[balanced_order(num_rows)], np.ones(num_rows)

    def fit(self, tolerance: float) -> vigamma.TrainState:
        """Coordinate ascent, before its first sweep."""
        rows, q = place(self.rows, self.rows.shardings(self.mesh)), self.model.initial(self._start)
        inference = vigamma.CoordinateAscent(tolerance=tolerance)
        return vigamma.TrainState(inference, self.model, q, rows, mesh=self.mesh)

    def chains(
        self, fit: vigamma.TrainState, chains: vigamma.Gibbs, seed: int
    ) -> vigamma.TrainState:
        """Chains at the end of a fit, before their first sweep."""
        q = jax.device_get(fit.arrays.q)
        entries = place(self.entries, self.entries.shardings(self.mesh))
        key = jax.random.key(seed)
        return vigamma.TrainState(chains, self.model, q, entries, key=key, mesh=self.mesh)


def flat_problem(counts: csr_array, num_factors: int, mesh: Mesh | None = None) -> Problem:
    """Poisson factorization with default priors of fixed rates."""
    spec = vigamma.PoissonFactorization(num_factors=num_factors)
    model = spec.build(counts, np.ones(counts.shape[0]), 0)
    return Problem(counts, model, num_factors, mesh=mesh)


def zero_state(model, batch, num_samples: int = 128, mesh: Mesh | None = None):
    """The program of `configs/zero.py`, which fuses 100 steps, before its first step."""
    algorithm = vigamma.GradientAscent(
        estimator=vigamma.PathwiseElbo(num_samples=num_samples), optimizer=vigamma.Adam()
    )
    key = jax.random.key(0)
    return vigamma.TrainState(algorithm, model, model.prior, batch, key=key, mesh=mesh)
