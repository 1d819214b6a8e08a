"""Gibbs sampling as an algorithm: several chains, side by side on the same devices."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigamma.contracts import StepInfo
from vigamma.data.layout.count_entries import CountEntries
from vigamma.devices.mesh import ALONE, Collectives, by_rows, replicated
from vigamma.families.gamma import Gamma
from vigamma.inference.finite import all_finite
from vigamma.models.factor_gibbs import Latents, draw_start, gibbs_sweep
from vigamma.models.factor_model import FactorModel
from vigamma.random.keys import threefry_key
from vigamma.typing import Array, Key, Leaf, PyTree, Record, spec


class ChainState(Record):
    """Everything that decides the next sweep.

    Attributes:
      step: the number of completed sweeps.
      model: the priors, which do not change.
      q: the values of the latents, by name; a leading axis of C chains.
      log_likelihood: log p(x | latents) of each chain before its last sweep, in nats; shape (C,).
      key: the PRNG key of the run.
      best: None: no draw is better than another.
    """

    step: Array
    model: FactorModel
    q: Latents
    log_likelihood: Leaf
    key: Key
    best: None = None


@spec
class Gibbs:
    """Draws from the exact posterior of a factorization, a sweep over all latents per step.

    Each chain starts at a draw from the variational posterior with its variances inflated, so that
    chains start further apart than draws of the posterior are, and R̂ can see that they have met
    (Gelman & Rubin 1992).

    Attributes:
      num_chains: C.
      inflation: the factor by which the variances are multiplied at the start.
    """

    num_chains: int = 4
    inflation: float = 2.0

    spreads_over_cores: ClassVar[bool] = True
    model_members: ClassVar[tuple[str, ...]] = ("row_prior", "column_prior")

    def validate(self) -> None:
        """Raises ValueError for a field out of range."""
        if self.num_chains < 1:
            raise ValueError(f"num_chains must be at least 1, got {self.num_chains}")
        if not 1 <= self.inflation < float("inf"):
            raise ValueError(f"inflation must be finite and at least 1, got {self.inflation}")

    def num_batches(self, num_rows: int) -> None:
        """None: a sweep takes all rows at once."""
        del num_rows

    def init(
        self,
        model: FactorModel,
        q: dict[str, Gamma],
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
        starts = [draw_start(q, [*seed, chain], self.inflation) for chain in range(self.num_chains)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
        unknown = np.full(self.num_chains, -np.inf, stacked["rows"].dtype)
        return ChainState(jnp.uint32(0), model, stacked, unknown, key)

    def step(
        self, state: ChainState, batch: CountEntries, devices: Collectives = ALONE
    ) -> tuple[ChainState, StepInfo]:
        """A sweep of every chain; the key of a sweep is fold_in(fold_in(key, chain), step + 1).

        The `elbo` of the info is the mean of log p(x | latents) over the chains, before the sweep.
        """

        def sweep(of_chain: tuple[Latents, Array]) -> tuple[Latents, Array]:
            latents, chain = of_chain
            key = jax.random.fold_in(jax.random.fold_in(state.key, chain), state.step + 1)
            return gibbs_sweep(state.model, latents, batch, key, devices)

        q, log_likelihood = jax.lax.map(sweep, (state.q, jnp.arange(self.num_chains)))
        finite = all_finite({"log likelihood": log_likelihood, "latent": q}, devices)
        after = state.replace(step=state.step + 1, q=q, log_likelihood=log_likelihood)
        return after, StepInfo(log_likelihood.mean(), finite)

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
            step=whole, model=whole, q=by_rows(mesh, axis=1), log_likelihood=whole, key=whole
        )

    def outcome(self, state: Any, kept: ChainState) -> tuple[Latents, dict[str, Any]]:
        """The last draws, and their log-likelihood in place of an ELBO."""
        del state
        return kept.q, {"log_likelihood": float(kept.log_likelihood.mean())}
