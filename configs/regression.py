"""Regression of Salmonella colonies x on the dose d of a mutagen: a model with only a log joint.

x_n ~ Poisson(v_n w₀ (1 + d_n / 10)^w₁ exp(-w₂ d_n / 1000)), with v_n ~ Gamma(20, 20) of each plate
Command: python scripts/train.py --config configs/regression.py (Time: 12 s, 2 cores)
Expect:  means of w 18.96, 0.287, 0.857 (40,000 draws of NUTS: 19.06 ± 2.44, 0.29 ± 0.07, 0.88 ±
         0.32); the intervals are too narrow, as usual for mean-field posteriors.
Source:  Breslow (1984), "Extra-Poisson variation in log-linear models", Applied Statistics 33.
"""

import jax.numpy as jnp

import vigamma as vg


@vg.spec
class Colonies:
    def load(self):
        x = [15, 21, 29, 16, 18, 21, 16, 26, 33, 27, 41, 60, 33, 38, 41, 20, 27, 42]
        dose = [0, 10, 33, 100, 333, 1000]
        return {"x": jnp.array(x, float), "dose": jnp.repeat(jnp.array(dose, float), 3)}


@vg.spec
class Regression:
    row_latents = ("v",)

    def initial(self, data):  # the prior, from which inference starts
        v, w = jnp.full(len(data["x"]), 20.0), jnp.array([[4, 2, 2], [0.2, 4, 2]])
        return {"v": vg.Gamma(v, v), "w": vg.Gamma(*w)}

    def log_joint(self, log_latents, batch):
        dose, v, w = batch["dose"], log_latents["v"], log_latents["w"]
        log_rate = v + w[0] + jnp.exp(w[1]) * jnp.log1p(dose / 10) - jnp.exp(w[2]) * dose / 1000
        log_prior = vg.log_prob(self.initial(batch), log_latents)
        return log_prior + vg.Poisson(jnp.exp(log_rate)).log_prob(batch["x"]).sum()


def get_config() -> vg.Experiment:
    inference = vg.GradientAscent(estimator=vg.PathwiseElbo(), optimizer=vg.NaturalGradient())
    return vg.Experiment(data=Colonies(), model=Regression(), inference=inference, num_steps=1000)
