"""The fit of a conjugate model by gradient ascent, beside its exact posterior."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vigamma.certificate import certify, gamma_in_float64, kl_to_exact
from vigamma.config import Experiment
from vigamma.data.digits import IMAGE_SHAPE, KnowledgeAndCounts
from vigamma.errors import ConfigError
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.fits.base import Advance, Report, checksum_of
from vigamma.mesh import check_divisible, in_default_float, place, replicated
from vigamma.random.keys import key_of_seed
from vigamma.train_state import TrainState, compile_steps
from vigamma.typing import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ConjugateFit:
    """A Gamma-Poisson model, in float64, and its variational posterior.

    Attributes:
      identity: a checksum of the prior and the statistics of the data, and the kind of keys.
      names: none.
      model: the model.
      batch: the sufficient statistics of its data.
    """

    names: ClassVar[dict[str, list[str]]] = {}

    def __init__(self, config: Experiment, data: KnowledgeAndCounts):
        """Builds the model; raises ValueError where config and data do not allow it."""
        self._config, self._data = config, data
        self.model, self.batch = config.model.build(data)
        self.identity = checksum_of(jax.tree.leaves((self.model, self.batch)))
        self.identity["random keys"] = str(jax.random.key_impl(key_of_seed(0)))
        self._exact = self.model.exact_posterior(self.batch)

    def start(self, mesh: Mesh, index: int = 0) -> PyTree:
        """The posterior at the prior, and the state of the optimizer."""
        del index
        config = self._config
        try:
            num_samples = config.inference.estimator.num_samples
            check_divisible(num_samples, mesh, "config.inference.estimator.num_samples")
        except ValueError as error:
            raise ConfigError(str(error)) from error
        prior = in_default_float(self.model.prior)
        self._state = TrainState(MeanFieldGamma(prior), config.inference, key_of_seed(config.seed))
        return place(nnx.state(self._state), replicated(mesh))

    def before_the_first_step(
        self,
        arrays: PyTree,
        advance: Advance,
        mesh: Mesh,
        say: Callable[[str], None],
        index: int = 0,
    ) -> PyTree:
        """The arrays as they are."""
        del advance, mesh, say, index
        return arrays

    def compile(self, arrays: PyTree, mesh: Mesh, most_steps: int) -> Advance:
        """The program of `GradientAscent`."""
        del arrays
        model, batch = in_default_float((self.model, self.batch))
        return compile_steps(self._state, self._config.inference, model, batch, mesh, most_steps)

    def step_of(self, arrays: PyTree) -> int:
        """The number of updates of the optimizer."""
        return int(arrays.optimizer.step[...])

    def is_done(self, arrays: PyTree) -> bool:
        """Never: the schedule of the optimizer has its end."""
        del arrays
        return False

    def next_look(self, step: int) -> float:
        """Never: the exact posterior is known."""
        del step
        return math.inf

    def look(self, arrays: PyTree) -> tuple[PyTree, dict[str, float]]:
        """The arrays as they are."""
        return arrays, {}

    def observe(self, arrays: PyTree) -> dict[str, float]:
        """KL(q ‖ exact posterior), over all latents."""
        kl = kl_to_exact(_q_in_float64(arrays), self._exact)
        return {"kl_to_exact": float(kl.sum())}

    def end(self, arrays: PyTree) -> tuple[None, PyTree]:
        """Nothing: there is one start."""
        return None, arrays

    def report(self, arrays: PyTree, ends: Sequence[Any] = ()) -> Report:
        """The certificate."""
        del ends
        nnx.update(self._state, arrays)
        certificate = certify(self.model, self.batch, self._state.q)
        summary = {
            "model": type(self.model).__name__,
            "elbo": certificate.elbo,
            "log_evidence": certificate.log_evidence,
            "kl_to_exact": certificate.kl_to_exact,
            "max_kl_to_exact": certificate.max_kl_to_exact,
            "within_tolerance": certificate.kl_to_exact <= self._config.tolerance,
        }
        return Report(summary, certificate.table(self._config.tolerance))

    def pace(self, seconds_per_step: float | None) -> dict[str, float | None]:
        """The seconds of a step."""
        return {"seconds_per_step": seconds_per_step}

    def figures(
        self, arrays: PyTree, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """Posteriors, synthetic images beside real ones, and the way there."""
        from vigamma import plotting

        config = self._config
        key = jax.random.fold_in(key_of_seed(config.seed), config.num_steps)
        nnx.update(self._state, arrays)
        posterior = self._state.q.distribution()
        return plotting.run_figures(
            *self._data,
            prior=self.model.prior,
            exact=self._exact,
            q=_q_in_float64(arrays),
            synthetic=np.asarray(self.model.generate(key, posterior, 10)[1]),
            image_shape=IMAGE_SHAPE,
            metrics=metrics,
            log_evidence=float(certify(self.model, self.batch, self._state.q).log_evidence),
            tolerance=config.tolerance,
        )


def _q_in_float64(arrays: PyTree):
    return gamma_in_float64(arrays.q.log_shape[...], arrays.q.log_rate[...])
