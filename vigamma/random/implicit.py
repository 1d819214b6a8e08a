"""The implicit (pathwise) derivative of a Gamma draw in its shape, as a function of the draw.

For z ~ Gamma(a, 1) with distribution function F(z; a), held at a fixed quantile (Figurnov, Mohamed
& Mnih 2018, "Implicit reparameterization gradients"),

    dz/da = -(dF/da) / (dF/dz),

    g = a d log z / da = Σ_{k≥0} p_k (ψ(a + k + 1) - log z),   p_k = z^k / ((a + 1) ... (a + k)).

For z < 1 a few terms of this series are exact to rounding. Where z underflows, the series is
g = ψ(a + 1) - log z. For z ≥ 1, g is a polynomial of

    t = log(z / (a + 1)) / 3   and   u = 1 / (a + 1),

fitted by scripts/fit_gamma_gradient.py, which prints its errors. As g > 0 is of order one, a small
absolute error is a small relative error.
"""

import jax
import jax.numpy as jnp

from vigamma.random.coefficients import GRADIENT_FLOAT32, GRADIENT_FLOAT64


def log_shape_gradient(a: jax.Array, log_ratio: jax.Array) -> jax.Array:
    """g = a d log z / da at fixed quantile, elementwise, where log_ratio = log(z / (a + 1)).

    It is NaN for NaN.
    """
    log_z = log_ratio + jnp.log1p(a)
    small = _series(a, jnp.minimum(log_z, 0))
    large = _polynomial(jnp.maximum(log_ratio / 3, -1), 1 / (a + 1))
    return jnp.where(log_z < 0, small, large)


def _series(a: jax.Array, log_z: jax.Array) -> jax.Array:
    """g for log z ≤ 0: the series, summed from its last term, k = K, to the first.

    ψ(a + K + 1) is computed by Stirling's series, and the others by the recurrence of ψ.
    """
    num_terms = 10 if a.dtype == jnp.float32 else 18
    z, last = jnp.exp(log_z), a + (num_terms + 1)
    square = 1 / last**2
    stirling = square * (
        1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132)))
    )
    # ψ(a + k + 1) - log z, in descending order of k from K.
    term = jnp.log(last) - 0.5 / last - stirling - log_z
    total = term
    for k in reversed(range(1, num_terms + 1)):
        reciprocal = 1 / (a + k)
        term = term - reciprocal
        total = term + z * reciprocal * total
    return total


def _polynomial(t: jax.Array, u: jax.Array) -> jax.Array:
    """Σ_ij C_ij t^i u^j by Horner's rule."""
    table = GRADIENT_FLOAT32 if t.dtype == jnp.float32 else GRADIENT_FLOAT64
    total = jnp.zeros_like(t)
    for row in reversed(table):
        inner = jnp.full_like(u, row[-1])
        for coefficient in reversed(row[:-1]):
            inner = inner * u + coefficient
        total = total * t + inner
    return total
