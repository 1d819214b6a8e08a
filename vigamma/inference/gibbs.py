"""Gibbs sampling as an algorithm: several chains, side by side on the same devices."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int32

from vigamma.contracts import StepInfo
from vigamma.data.layout.count_entries import CountEntries
from vigamma.devices.mesh import ALONE, Collectives, by_rows, replicated
from vigamma.inference.finite import all_finite
from vigamma.models.factor_gibbs import Latents, draw_starts, gibbs_sweep
from vigamma.models.factor_model import FactorModel, Posterior
from vigamma.random.keys import threefry_key
from vigamma.typing import Array, Key, Leaf, PyTree, Record, spec


class ChainData(Record):
    """What a sweep of the chains takes.

    Attributes:
      entries: the counts.
      rows: the rows of Q watched cells, as they are stored.
      columns: their columns.
    """

    entries: CountEntries
    rows: Int32[Leaf, " Q"]
    columns: Int32[Leaf, " Q"]

    def shardings(self, mesh: Mesh) -> PyTree:
        """The sharding of each leaf: the cells are replicated."""
        whole = replicated(mesh)
        return self.replace(entries=self.entries.shardings(mesh), rows=whole, columns=whole)


class ChainState(Record):
    """Everything that decides the next sweep, and the trace since the last draw was due.

    Attributes:
      step: the number of completed sweeps.
      model: the priors, which do not change.
      q: the values of the latents, by name; a leading axis of C chains.
      trace: what `traced` returns of the last sweeps: that of sweep s is at (s - 1) mod thin.
      key: the PRNG key of the run.
      best: None: no draw is better than another.
    """

    step: Array
    model: FactorModel
    q: Latents
    trace: Float[Leaf, "thin C T"]
    key: Key
    best: None = None


@spec
class Gibbs:
    """Draws from the exact posterior of a factorization, a sweep over all latents per step.

    Each chain starts at a draw from the variational posterior with its variances inflated, so that
    chains start further apart than draws of the posterior are, and R̂ can tell whether they have met
    (Gelman & Rubin 1992).

    Attributes:
      num_chains: C.
      burn_in: the sweeps before the first one that counts.
      thin: a draw is due after every `thin` sweeps since then.
      inflation: the factor by which the variances are multiplied at the start.
      num_watched: Q, the cells whose rates, row sums and column sums are traced.
    """

    num_chains: int = 4
    burn_in: int = 40
    thin: int = 4
    inflation: float = 2.0
    num_watched: int = 100

    spreads_over_cores: ClassVar[bool] = True
    objective: ClassVar[str] = "log joint"
    model_members: ClassVar[tuple[str, ...]] = ("row_prior", "column_prior")

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        for name, least in (("num_chains", 1), ("burn_in", 0), ("thin", 1), ("num_watched", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.burn_in % self.thin:
            raise ValueError(f"thin must divide burn_in ({self.burn_in}), got {self.thin}")
        if not 1 <= self.inflation < np.inf:
            raise ValueError(f"inflation must be finite and at least 1, got {self.inflation}")

    def num_batches(self, num_rows: int) -> None:
        """None: a sweep takes all rows at once."""
        del num_rows

    def init(
        self,
        model: FactorModel,
        q: Posterior,
        *,
        key: Key,
        num_batches: int = 1,
        validates: bool = False,
    ) -> ChainState:
        """The state before the first sweep, with chains drawn from q.

        `num_batches` and `validates` are not used.
        """
        del num_batches, validates
        key = threefry_key(key)
        seed = jax.random.key_data(key).tolist()
        stacked = draw_starts(q, seed, self.num_chains, self.inflation)
        shape = self.thin, self.num_chains, 3 * self.num_watched + 1
        return ChainState(
            step=jnp.uint32(0),
            model=model,
            q=stacked,
            trace=np.zeros(shape, stacked["rows"].dtype),
            key=key,
        )

    def step(
        self, state: ChainState, batch: ChainData, devices: Collectives = ALONE
    ) -> tuple[ChainState, StepInfo]:
        """A sweep of every chain; the key of a sweep is fold_in(fold_in(key, chain), step + 1).

        The `elbo` of the info is the mean of log p(x, latents) over the chains, before the sweep.
        """

        def sweep(of_chain: tuple[Latents, Array]) -> tuple[Latents, Array, Array]:
            latents, chain = of_chain
            key = jax.random.fold_in(jax.random.fold_in(state.key, chain), state.step + 1)
            latents, log_joint = gibbs_sweep(state.model, latents, batch.entries, key, devices)
            trace = jnp.append(traced(latents, batch, devices), log_joint)
            return latents, log_joint, trace

        q, log_joint, trace = jax.lax.map(sweep, (state.q, jnp.arange(self.num_chains)))
        finite = all_finite({"log joint": log_joint, "latent": q}, devices)
        traces = jax.lax.dynamic_update_index_in_dim(
            state.trace, trace, state.step % self.thin, axis=0
        )
        after = state.replace(step=state.step + 1, q=q, trace=traces)
        return after, StepInfo(log_joint.mean(), finite)

    def is_done(self, state: ChainState) -> bool:
        """Never: a run has a number of sweeps."""
        del state
        return False

    def after_validation(self, state: ChainState, log_likelihood: float) -> ChainState:
        """The same state: no draw is better than another."""
        del log_likelihood
        return state

    def shardings(self, state: ChainState, mesh: Mesh) -> PyTree:
        """Rows and columns are sharded over the devices."""
        whole = replicated(mesh)
        return state.replace(
            step=whole, model=whole, q=by_rows(mesh, axis=1), trace=whole, key=whole
        )

    def outcome(self, state: Any, kept: ChainState) -> tuple[Latents, dict[str, Any]]:
        """The last draws of all chains."""
        del state
        return kept.q, {}


def traced(latents: Latents, data: ChainData, devices: Collectives = ALONE) -> Array:
    """Identified quantities of the watched cells (n, m), whatever the order of the factors.

    Returns:
      r_nm = Σ_k θ_nk β_mk of the cells, then Σ_m r_nm of their rows, then Σ_n e_n r_nm of their
      columns; shape (3 Q,).
    """
    theta, beta, entries = latents["rows"], latents["columns"], data.entries
    of_columns = jnp.where(entries.own_columns(devices)[:, None], beta, 0).sum(axis=0)
    of_rows = entries.exposures @ theta
    theta, beta = (
        _taken(table, index, devices) for table, index in ((theta, data.rows), (beta, data.columns))
    )
    theta, beta, of_columns, of_rows = devices.total((theta, beta, of_columns, of_rows))
    return jnp.concatenate([(theta * beta).sum(axis=1), theta @ of_columns, beta @ of_rows])


def _taken(table: Array, index: Array, devices: Collectives) -> Array:
    """The rows of a sharded table that lie on this device, zeros in place of the others."""
    index = index - devices.index() * len(table)
    is_here = (index >= 0) & (index < len(table))
    return jnp.where(is_here[:, None], table[jnp.where(is_here, index, 0)], 0)
