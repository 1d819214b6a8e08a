"""What a step of gradient ascent reports."""

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma import Adam, AnalyticElbo, Gamma, GradientAscent, MeanFieldGamma


def test_an_optimizer_that_overflows_is_seen(monkeypatch):
    """The square of a large gradient is infinite, and Adam then stands still."""
    q = MeanFieldGamma(Gamma(jnp.ones(2), jnp.ones(2)))
    large = jnp.finfo(jnp.result_type(float)).max ** 0.75
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, large), nnx.state(q, nnx.Param))
    monkeypatch.setattr(GradientAscent, "estimate", lambda *_: (jnp.zeros(()), gradient))
    algorithm = GradientAscent(estimator=AnalyticElbo(), optimizer=Adam())
    _, info = algorithm.step(algorithm.init(None, q, key=jax.random.key(0)), None)
    bad = [name for name, is_finite in info.finite.items() if not is_finite]
    assert len(bad) == 2
    assert all(name.startswith("optimizer ") for name in bad)
