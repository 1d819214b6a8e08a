"""The fit of a conjugate model by gradient ascent, compared with its exact posterior."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from vigamma.data.checksums import checksum_of
from vigamma.data.digits import IMAGE_SHAPE, KnowledgeAndCounts
from vigamma.devices.mesh import check_divisible, in_default_float
from vigamma.diagnostics.certificate import certify, gamma_in_float64
from vigamma.errors import ConfigError
from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.inference.train_state import TrainState
from vigamma.random.keys import key_of_seed
from vigamma.runs.experiment import Experiment
from vigamma.runs.fit import NOTHING_LOGGED, OneStart, Report, RunLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ConjugateFit(OneStart):
    """The fit of a conjugate model, which is kept in float64.

    Attributes:
      identity: a checksum of the prior and the statistics of the data, and the kind of PRNG keys.
      names: empty.
      model: the model.
      batch: the sufficient statistics of its data.
    """

    def __init__(self, config: Experiment, data: KnowledgeAndCounts):
        """Builds the model; raises ValueError for an invalid config or invalid data."""
        if getattr(config.inference, "batch_rows", None) is not None:
            raise ValueError("it takes the sums of all rows, so that batch_rows must be None")
        self._config, self._data = config, data
        self.names: dict[str, list[str]] = {}
        self.model, self.batch = config.model.build(data)
        self.identity = checksum_of(jax.tree.leaves((self.model, self.batch)))
        self.identity["random keys"] = str(jax.random.key_impl(key_of_seed(0)))
        self._exact = self.model.exact_posterior(self.batch)

    def start(self, mesh: Mesh, index: int = 0) -> TrainState:
        """The state with q at the prior."""
        del index
        config = self._config
        try:
            if estimator := getattr(config.inference, "estimator", None):
                name = "config.inference.estimator.num_samples"
                check_divisible(estimator.num_samples, mesh.size, name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        model, batch = in_default_float((self.model, self.batch))
        return TrainState(
            config.inference,
            model,
            model.prior,
            batch,
            key=key_of_seed(config.seed),
            mesh=mesh,
            fused_steps=config.log_every,
        )

    def prepare(self) -> None:
        """Imports Matplotlib, and compiles the certificate."""
        super().prepare()
        certify(self.model, self.batch, MeanFieldGamma(self.model.prior))

    def observe(self, state: TrainState) -> dict[str, float]:
        """KL(q ‖ exact posterior) over all latents, in nats."""
        return {"kl_to_exact": certify(self.model, self.batch, state.arrays.q).kl_to_exact}

    def posterior(self, state: TrainState) -> Gamma:
        """The distribution q, in NumPy float64."""
        q = state.arrays.q
        return gamma_in_float64(q.log_shape[...], q.log_rate[...])

    def report(
        self, state: TrainState, ends: Sequence[Any] = (), log: RunLog = NOTHING_LOGGED
    ) -> Report:
        """The certificate."""
        del ends, log
        certificate = certify(self.model, self.batch, state.arrays.q)
        summary = {
            "model": type(self.model).__name__,
            "elbo": certificate.elbo,
            "log_evidence": certificate.log_evidence,
            "kl_to_exact": certificate.kl_to_exact,
            "max_kl_to_exact": certificate.max_kl_to_exact,
            "within_tolerance": certificate.kl_to_exact <= self._config.tolerance,
        }
        return Report(summary, certificate.table(self._config.tolerance))

    def figures(
        self, state: TrainState, metrics: list[dict[str, Any]]
    ) -> Iterator[tuple[str, "Figure"]]:
        """Posteriors, synthetic images beside real ones, and the path of the ELBO."""
        from vigamma.figures import posteriors as plotting

        config, q = self._config, state.arrays.q
        return plotting.run_figures(
            *self._data,
            prior=self.model.prior,
            exact=self._exact,
            q=self.posterior(state),
            synthetic=self._images(self.posterior(state)),
            image_shape=IMAGE_SHAPE,
            metrics=metrics,
            log_evidence=float(certify(self.model, self.batch, q).log_evidence),
            tolerance=config.tolerance,
        )

    def _images(self, q: Gamma) -> np.ndarray:
        """Ten rows of counts from the posterior predictive of q.

        NumPy draws them: a program of JAX would take longer to compile than all steps take.
        """
        rng = np.random.default_rng([self._config.seed, self._config.num_steps])
        theta = rng.gamma(q.concentration, 1 / np.asarray(q.rate), (10, *np.shape(q.rate)))
        return rng.poisson(theta)
