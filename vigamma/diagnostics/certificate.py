"""How close a fit is to the exact posterior, which is known for conjugate models."""

from typing import Any

import jax
import numpy as np

from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.typing import Array, PyTree, Record


class Certificate(Record):
    """A comparison of q with the exact posterior; all values in nats, computed in float64.

    Attributes:
      elbo: the evidence lower bound of q, in closed form.
      log_evidence: log p(x), the upper bound of the ELBO.
      kl_to_exact: KL(q ‖ p(θ | x)), summed over all latents; equals log_evidence - elbo.
      max_kl_to_exact: the largest KL of a single latent.
      worst_latent: the index of that latent.
    """

    elbo: float
    log_evidence: float
    kl_to_exact: float
    max_kl_to_exact: float
    worst_latent: int

    @property
    def gap(self) -> float:
        """log_evidence - elbo."""
        return self.log_evidence - self.elbo

    def table(self, tolerance: float) -> str:
        """The certificate as text, with a verdict: whether the KL is within the tolerance."""
        verdict = "within" if self.kl_to_exact <= tolerance else "NOT within"
        rows = (
            ("ELBO", f"{self.elbo:,.6f}", ""),
            ("log evidence (exact)", f"{self.log_evidence:,.6f}", ""),
            ("gap", f"{self.gap:.3g}", ""),
            ("KL(q ‖ exact), all latents", f"{self.kl_to_exact:.3g}", ""),
            ("KL(q ‖ exact), worst latent", f"{self.max_kl_to_exact:.3g}", f"#{self.worst_latent}"),
        )
        lines = [f"  {name:<28}{value:>18} nats  {note}".rstrip() for name, value, note in rows]
        advice = "" if verdict == "within" else ": it takes more steps, or natural gradients"
        promise = f"  {verdict} the {tolerance:g} nats that this config promises{advice}"
        return "\n".join(["Certificate", *lines, promise])


def gamma_in_float64(log_shape: Any, log_rate: Any) -> Gamma:
    """The Gamma distribution of these parameters, exponentiated in float64."""
    return Gamma(
        np.exp(np.asarray(log_shape, np.float64)), np.exp(np.asarray(log_rate, np.float64))
    )


def certify(model: PyTree, batch: PyTree, q: MeanFieldGamma) -> Certificate:
    """Compares q with the exact posterior of a conjugate model.

    Args:
      model: defines `elbo`, `exact_posterior` and `log_evidence`; in NumPy float64.
      batch: the data of the model, in NumPy float64.
      q: the fitted posterior.
    """
    gamma = gamma_in_float64(q.log_shape[...], q.log_rate[...])
    with jax.enable_x64(True):
        elbo, log_evidence, kl = jax.device_get(_compare(model, batch, gamma))
    return Certificate(
        elbo=float(elbo),
        log_evidence=float(log_evidence),
        kl_to_exact=float(kl.sum()),
        max_kl_to_exact=float(kl.max()),
        worst_latent=int(kl.argmax()),
    )


@jax.jit
def _compare(model: PyTree, batch: PyTree, q: Gamma) -> tuple[Array, Array, Array]:
    """The ELBO of q, the log evidence, and KL(q ‖ exact) of every latent: one program for all."""
    kl = q.kl_divergence(model.exact_posterior(batch))
    return model.elbo(q, batch), model.log_evidence(batch), kl
