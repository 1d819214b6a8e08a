"""Special functions that stay accurate in float32 where the textbook forms cancel.

Everything a Gamma distribution needs reduces to four small functions, each without cancellation:

    expm1_minus(x)          e^x - 1 - x
    log_ratio(p, q)         log(p / q), also when p is close to q
    log_gamma_defect(a)     a log a - a - log Γ(a)
    trigamma_excess(a)      a ψ'(a) - 1

Large arguments use the Stirling series of log Γ (Abramowitz & Stegun 1964, eq. 6.1.41),

    log Γ(a) = (a - 1/2) log a - a + 1/2 log 2π + s(a),   s(a) = Σ_n B_2n / (2n (2n-1) a^(2n-1)),

which for a ≥ 8 is accurate to 1e-15 with seven terms of s(a), and to 1e-8 with three.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

_LARGE = 8.0  # the Stirling series is accurate from here on; smaller a are shifted by 8
_TINY_SHAPE, _HUGE_SHAPE, _NO_OVERFLOW = 1e-3, 1e9, 2.0**-60  # for quotients in `rising_terms`
_SMALLEST_CURVED = 1e-15  # the second derivative, near 1 / r², is a float32 from here on
_PSI_1 = -0.5772156649015329  # ψ(1)
# B_2n / (2n (2n - 1)) for n = 1 ... 7.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
# B_2n for n = 1 ... 7.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def expm1_minus(x: Array) -> Array:
    """e^x - 1 - x ≥ 0, the Bregman divergence of the exponential function."""
    near = jnp.abs(x) < 0.5
    small, large = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    series = jnp.ones_like(x)
    for n in range(14, 2, -1):  # 1 + x/3 (1 + x/4 (1 + ...))
        series = 1.0 + small / n * series
    return jnp.where(near, 0.5 * small**2 * series, jnp.expm1(large) - large)


def log_ratio(p: Array, q: Array, difference: Array | None = None) -> Array:
    """log(p / q) for p, q > 0, with a small *relative* error also where p is close to q.

    `difference` is p - q, if the caller knows it more accurately than the rounded p and q.
    """
    excess = (p - q if difference is None else difference) / q
    near = jnp.abs(excess) < 0.5
    return jnp.where(
        near, jnp.log1p(jnp.where(near, excess, 0.0)), jnp.log(jnp.where(near, 1.0, p / q))
    )


def deviance(x: Array, excess: Array, log_ratio: Array) -> Array:
    """x log(x / m) + m - x ≥ 0 for x, m > 0, in nats; half the deviance of a Poisson mean m.

    Free of cancellation even where m is close to x (Loader 2000, "Fast and accurate computation of
    binomial probabilities").

    Args:
      x: the first of the two numbers.
      excess: m - x.
      log_ratio: log(m / x); used only where m is less than x / 2 or more than 3 x / 2.
    """
    near = jnp.abs(excess) < 0.5 * x
    of_near = x * expm1_minus(jnp.log1p(jnp.where(near, excess, 0.0) / x))
    return jnp.where(near, of_near, excess - x * log_ratio)


def log_gamma_defect(a: Array) -> Array:
    """a log a - a - log Γ(a), which is 1/2 log(a / 2π) - s(a).

    For a < 8 by log Γ(a) = log Γ(a + 8) - log a (a+1) ... (a+7): one logarithm, no iteration.
    """
    large = a >= _LARGE
    b, small = jnp.where(large, a, a + _LARGE), jnp.where(large, 1.0, a)
    log_b = jnp.log(b)
    defect_b = 0.5 * (log_b - math.log(2 * math.pi)) - _odd_series(_STIRLING, 1 / b)
    product, _ = _rising(small)
    shifted = defect_b - b * log_b + _LARGE + small * jnp.log(small) + jnp.log(product)
    return jnp.where(large, defect_b, shifted)


def log_minus_digamma(a: Array) -> Array:
    """log a - ψ(a) > 0, about 1/(2a) for large a."""
    b, psi_minus_log_b, _ = _digamma_above_eight(a)
    return jnp.log(jnp.where(a >= _LARGE, 1.0, a / b)) - psi_minus_log_b


def exp_digamma(a: Array) -> Array:
    """exp(ψ(a)), the exponential of E[log x] for x ~ Gamma(a, 1), without a logarithm.

    About a - 1/2 for large a and exp(-1/a) for small a; below a = 0.0115 it underflows float32.
    """
    b, psi_minus_log_b, _ = _digamma_above_eight(a)
    return b * jnp.exp(psi_minus_log_b)


def power_divergence(a: Array, rate: Array, c: Array) -> Array:
    """E[log q(x) - (c - 1) log x] in nats for q = Gamma(a, rate), with only two logarithms.

        (a - c) (ψ(a) - log rate) + a log rate - log Γ(a) - a

    This is KL(q ‖ Gamma(c, d)) without the terms d E[x] - c log d + log Γ(c). For a < 8, ψ and log
    Γ are computed at a + 8. No term contains a log a, which would be large.
    """
    b, psi_minus_log_b, product = _digamma_above_eight(a)
    scaled = jnp.where(a < _LARGE, product * math.exp(8) / b**8, 1.0) * jnp.sqrt(b / (2 * math.pi))
    of_shape = jnp.log(scaled) - _odd_series(_STIRLING, 1 / b)
    return c * jnp.log(rate / b) + of_shape + (a - c) * psi_minus_log_b


def trigamma_excess(a: Array) -> Array:
    """a ψ'(a) - 1 > 0, about 1/(2a) for large a and 1/a for small a.

    For a < 8 by ψ'(a) = Σ_{j<8} 1/(a+j)² + ψ'(a+8), above by the asymptotic series (Abramowitz &
    Stegun 1964, eqs. 6.4.6 and 6.4.12).
    """
    large = a >= _LARGE
    b = jnp.where(large, a, a + _LARGE)
    tail = (0.5 + _odd_series(_BERNOULLI, 1 / b)) / b  # b ψ'(b) - 1
    small = jnp.where(large, 1.0, a)
    head = sum((small + j) ** -2 for j in range(int(_LARGE)))
    return jnp.where(large, tail, small * (head + (1 + tail) / b) - 1)


def digamma_slope(z: Array, step: Array) -> Array:
    """(ψ(z + step) - ψ(z)) / step > 0, and ψ'(z) at a step of 0, for z > 0 and z + step > 0.

    By the recurrence of ψ it is Σ_{j<n} 1/((z+j)(z+step+j)) plus the slope at z + n, for which the
    difference of two asymptotic series is divided by the step term by term. All terms of the sum
    are positive: nothing cancels, for tiny steps and for huge z alike.
    """
    num_shifts = _shifts_of(z)
    shifted = sum(
        (1 / ((z + j) * (z + step + j)) for j in range(1, num_shifts)), 1 / (z * (z + step))
    )
    u, v = 1 / (z + num_shifts), 1 / (z + step + num_shifts)
    excess = step * u
    is_zero = excess == 0
    safe = jnp.where(is_zero, 1.0, excess)
    of_logs = u * jnp.where(is_zero, 1.0, jnp.log1p(safe) / safe)
    series = _complete_series(u, v)
    return shifted + of_logs + u * v * (0.5 + (u + v) * series)


@jax.custom_jvp
def rising_terms(x: Array, r: Array) -> tuple[Array, Array]:
    """ψ(r + x) - ψ(r), and log(Γ(r + x) / Γ(r)) - x log x in nats, for x ≥ 1 and r > 0.

    Arguments are shifted by n, as in `digamma_slope`. The series are those at z = r + n - 1/2, with
    smaller terms, so that n = 3 suffices for float32 (Abramowitz & Stegun 1964, eqs. 6.1.40 and
    23.1.21),

        ψ(z + 1/2) = log z + Σ_i c_i / (2i z^2i),    c_i = (1 - 2^(1-2i)) B_2i
        log Γ(z + 1/2) = z log z - z + 1/2 log 2π - Σ_i c_i / (2i (2i-1) z^(2i-1)).

    The derivative of the second in r is the first; there is none in x.
    """
    n, num_terms = (3, 3) if r.dtype.itemsize < 8 else (8, 7)
    low, high = r + (n - 0.5), r + x + (n - 0.5)
    product = 1 / (low * high)
    u, v = high * product, low * product  # 1 / low and 1 / high
    log_quotient = jnp.log1p(x * u)
    coefficients = [
        (1 - 2 ** (1 - 2 * i)) * b2i / (2 * i) for i, b2i in enumerate(_BERNOULLI[:num_terms], 1)
    ]
    shifted = sum((1 / ((r + j) * (r + x + j)) for j in range(1, n)), 1 / (r * (r + x)))
    of_digamma = v * _odd_series(coefficients, v) - u * _odd_series(coefficients, u)
    difference = x * shifted + log_quotient + of_digamma

    coefficients = [c / (2 * i - 1) for i, c in enumerate(coefficients, 1)]
    of_log_gamma = _odd_series(coefficients, u) - _odd_series(coefficients, v)
    powers = low * log_quotient + x * (log_quotient - jnp.log(x * u)) - x
    is_tiny, bounded = r < _TINY_SHAPE, jnp.minimum(r, _HUGE_SHAPE)
    above = jnp.where(is_tiny, jnp.asarray(_NO_OVERFLOW, r.dtype), 1)
    below = jnp.ones_like(r)
    for j in range(n):
        above, below = above * (bounded + x + j), below * (bounded + j)
    log_of_shifts = jnp.log(above / below) - jnp.where(is_tiny, math.log(_NO_OVERFLOW), 0.0)
    return difference, powers + of_log_gamma - log_of_shifts


@rising_terms.defjvp
def _rising_terms_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (x, r), (_, of_r) = primals, tangents
    found = rising_terms(x, r)
    bounded = jnp.maximum(r, _SMALLEST_CURVED)
    slope = _trigamma(bounded + x) - _trigamma(bounded)
    return found, (slope * of_r, found[0] * of_r)


def _trigamma(a: Array) -> Array:
    """ψ'(a)."""
    return (1 + trigamma_excess(a)) / a


def inverse_digamma(value: Array) -> Array:
    """The a > 0 with ψ(a) = value, by Newton's method from Minka's (2000) starting point."""
    large = value >= -2.22
    start = jnp.where(large, jnp.exp(jnp.where(large, value, 0.0)) + 0.5, -1 / (value - _PSI_1))
    a = start
    for _ in range(5):
        digamma = jnp.log(a) - log_minus_digamma(a)
        a = a - (digamma - value) * a / (1 + trigamma_excess(a))
    return a


def same_mean_kl(a: Array, c: Array) -> Array:
    """KL divergence in nats between Gammas of shapes a and c and of the same mean.

        log Γ(c) - log Γ(a) + (a - c) ψ(a) + c log(a / c) + c - a  ≥ 0

    For large shapes, with Stirling's series and r = c / a, this is
    1/2 (e^y - 1 - y) at y = log r, plus the Bregman divergence of s. Smaller shapes are shifted by
    the recurrence of Γ. No step subtracts large numbers of nearly the same size.
    """
    shift, difference = int(_LARGE), c - a
    large = jnp.minimum(a, c) >= _LARGE
    a_high, c_high = jnp.where(large, a, a + shift), jnp.where(large, c, c + shift)
    high = 0.5 * expm1_minus(log_ratio(c_high, a_high, difference))
    high = high + _stirling_bregman(c_high, a_high, difference)

    a_low, c_low = jnp.where(large, 1.0, a), jnp.where(large, 1.0, c)
    difference = jnp.where(large, 0.0, difference)
    y = [log_ratio(c_low + j, a_low + j, difference) for j in range(shift + 1)]
    near = (c_low + shift) * expm1_minus(-y[-1]) - c_low * expm1_minus(-y[0])
    far = (c_low + shift) * y[-1] - c_low * y[0]
    low = sum(map(expm1_minus, y[:-1])) + jnp.where(jnp.abs(y[0]) < 1, near, far)
    return jnp.maximum(jnp.where(large, 0.0, low) + high, 0.0)


def _complete_series(u: Array, v: Array) -> Array:
    """Σ_n B_2n/2n Σ_{i+j=n-1} u^2i v^2j; with u v (u + v), the tail of a difference of digammas."""
    total = complete = jnp.zeros_like(u)
    power = jnp.ones_like(u)
    for n, b2n in enumerate(_BERNOULLI[: 3 if u.dtype.itemsize < 8 else None], 1):
        complete = u * u * complete + power
        power = power * v * v
        total = total + b2n / (2 * n) * complete
    return total


def _shifts_of(a: Array) -> int:
    """How far arguments are shifted before the series of differences are accurate."""
    return 4 if a.dtype.itemsize < 8 else int(_LARGE)


def _digamma_above_eight(a: Array) -> tuple[Array, Array, Array]:
    """(b, ψ(a) - log b, a (a+1) ... (a+7)), where b is a, or a + 8 if a < 8.

    ψ(a) = ψ(a + 8) - Σ_{j<8} 1/(a+j) (Abramowitz & Stegun 1964, eq. 6.3.6). For a ≥ 8 the third
    value is not the product, and must not be used.
    """
    large = a >= _LARGE
    b = jnp.where(large, a, a + _LARGE)
    coefficients = [b2n / (2 * n) for n, b2n in enumerate(_BERNOULLI, 1)]
    tail = (0.5 + _odd_series(coefficients, 1 / b)) / b  # log b - ψ(b)
    product, derivative = _rising(jnp.where(large, 1.0, a))
    return b, -tail - jnp.where(large, 0.0, derivative / product), product


def _rising(a: Array) -> tuple[Array, Array]:
    """a (a+1) ... (a+7) and its derivative; their ratio is Σ_{j<8} 1/(a+j)."""
    product, derivative = a, jnp.ones_like(a)
    for j in range(1, int(_LARGE)):
        derivative = derivative * (a + j) + product
        product = product * (a + j)
    return product, derivative


def _odd_series(coefficients: Sequence[float], x: Array) -> Array:
    """Σ_n coefficients[n] x^(2n + 1) for x ≤ 1/8; the first three terms suffice for float32."""
    total = jnp.zeros_like(x)
    for coefficient in reversed(coefficients[: 3 if x.dtype.itemsize < 8 else None]):
        total = coefficient + x * x * total
    return x * total


def _stirling_bregman(c: Array, a: Array, difference: Array) -> Array:
    """s(c) - s(a) - (c - a) s'(a), term by term, where `difference` is c - a.

    For s(a) = a^-n this is ((c - a) / a)² Σ_{i=1..n} (n - i + 1) a^(i-n) c^-i.
    """
    alpha, gamma = 1 / a, 1 / c
    power = jnp.ones_like(gamma)
    complete = weighted = total = jnp.zeros_like(gamma)
    for n in range(1, 2 * len(_STIRLING)):
        power = power * gamma
        complete = alpha * complete + power  # Σ a^(i-n) c^-i
        weighted = alpha * weighted + complete  # Σ (n - i + 1) a^(i-n) c^-i
        if n % 2:
            total = total + _STIRLING[n // 2] * weighted
    return (difference / a) ** 2 * total
