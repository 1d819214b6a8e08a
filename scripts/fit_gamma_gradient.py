"""Generates vigamma/random/coefficients.py, the polynomials of the Gamma sampler.

    python scripts/fit_gamma_gradient.py [--output vigamma/random/coefficients.py] [--check]

It takes half a minute.

Gradient: for z ~ Gamma(a, 1) at a fixed quantile (Figurnov, Mohamed & Mnih 2018), the relative
gradient is the convergent series

    g(a, z) = a d log z / da = Σ_k p_k (ψ(a + k + 1) - log z),   p_k = z^k / ((a + 1) ... (a + k)).

Where z ≥ 1, g is a smooth function of

    t = log(z / (a + 1)) / 3   and   u = 1 / (a + 1)

for *all* a > 0, which is approximated by one polynomial of total degree D:

    g = Σ_{i+j≤D} C_ij t^i u^j.

(e^t is nearly linear in the normal score of z, as Wilson & Hilferty 1931 found; this is why few
terms suffice.) The exact values are those of the series in mpmath.

Normal quantile: for a lower-tail probability p ≤ 1/2, -ndtri(p) is approximated by a polynomial of
√(-log p) - 2.

Both are least-squares fits with weights that are increased where the error is largest (Lawson
1961), hence nearly minimax.
"""

import argparse
import pathlib
import textwrap

import mpmath as mp
import numpy as np
from scipy import special, stats

DEGREES = {"float32": 10, "float64": 20}
# The normal score of the most extreme draw from 32 (64) bits.
REACH = {"float32": 6.4, "float64": 9.2}
# The largest shape in the fit; beyond it, u < 1/3000 interpolates towards a smooth limit.
LARGEST_SHAPE = 3000
QUANTILE_DEGREE, QUANTILE_CENTER = 14, 2


def relative_gradient(a: mp.mpf, z: mp.mpf) -> mp.mpf:
    """a d log z / da at fixed quantile, by the series above (all terms, 50 digits)."""
    log_z, digamma, power, total, k = mp.log(z), mp.digamma(a + 1), mp.mpf(1), mp.mpf(0), 0
    while k <= z - a or abs(power * digamma) > mp.mpf(10) ** -24 * abs(total):
        total += power * (digamma - log_z)
        k += 1
        power *= z / (a + k)
        digamma += 1 / (a + k)
    return total


def numerical_gradient(a: mp.mpf, z: mp.mpf) -> mp.mpf:
    """The same by its definition, -a (dF/da) / (z dF/dz), with F differentiated numerically."""
    slope = mp.diff(lambda shape: mp.gammainc(shape, 0, z, regularized=True), a)
    return -a * slope * mp.gamma(a) * mp.exp(z) / z**a


def sample_points(
    num_shapes: int, num_draws: int, reach: float
) -> list[tuple[float, float, float]]:
    """(a, z, normal score of z) for shapes up to LARGEST_SHAPE and z ≥ 1 as far out as `reach`."""
    points = []
    for i in range(num_shapes):
        u = 0.5 - 0.5 * np.cos(np.pi * (i + 0.5) / num_shapes)
        a = float(np.clip(1 / u - 1, 1e-12, LARGEST_SHAPE))
        # A boosted draw is at most the draw with shape a + 1 that it is made from.
        high = stats.gamma.isf(special.ndtr(-reach), a + (a < 1))
        low = max(1.0, stats.gamma.ppf(special.ndtr(-reach), max(a, 0.5)))
        nodes = np.cos(np.pi * (np.arange(num_draws) + 0.5) / num_draws)
        low, high = low ** (1 / 3), high ** (1 / 3)
        roots = (low + high) / 2 - (high - low) / 2 * nodes
        for z in np.maximum(roots**3, 1.0):
            tail = min(stats.gamma.sf(z, a), stats.gamma.cdf(z, a))
            points.append((a, float(z), float(-special.ndtri(max(tail, 1e-300)))))
    return points


def minimax(basis: np.ndarray, values: np.ndarray, weights: np.ndarray, rounds: int) -> np.ndarray:
    """Coefficients that nearly minimize the largest weights * |basis @ coefficients - values|."""
    lawson = weights.copy()
    for _ in range(rounds):
        coefficients = np.linalg.lstsq(basis * lawson[:, None], values * lawson, rcond=1e-15)[0]
        error = np.abs(basis @ coefficients - values) * weights
        lawson *= (error / error.max() + 1e-2) ** 0.25
        lawson /= lawson.max()
    return coefficients


def fit_gradient(dtype: str) -> list[list[float]]:
    """The coefficients C[i][j] of the gradient for a dtype; prints their errors."""
    degree = DEGREES[dtype]
    points = sample_points(70, 70 if dtype == "float32" else 90, REACH[dtype])
    truth = np.array([float(relative_gradient(mp.mpf(a), mp.mpf(z))) for a, z, _ in points])
    a, z, score = np.array(points).T
    t, u = np.log(z / (a + 1)) / 3, 1 / (a + 1)
    exponents = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([t**i * u**j for i, j in exponents], axis=1)
    weights = np.where(score < 4.3, 1.0, 10.0 ** (4.3 - score)) / truth  # far tails may err more
    fitted = dict(zip(exponents, minimax(basis, truth, weights, rounds=20), strict=True))
    table = [
        [float(np.dtype(dtype).type(fitted[i, j])) for j in range(degree + 1 - i)]
        for i in range(degree + 1)
    ]
    print_errors(dtype, a, score, np.abs(horner(table, t, u, dtype) / truth - 1))
    return table


def horner(table: list[list[float]], t: np.ndarray, u: np.ndarray, dtype: str) -> np.ndarray:
    """The polynomial as the package evaluates it: in `dtype`, with rounding at each step."""
    t, u = t.astype(dtype), u.astype(dtype)
    total = np.zeros_like(t)
    for row in reversed(table):
        inner = np.zeros_like(u)
        for coefficient in reversed(row):
            inner = inner * u + np.dtype(dtype).type(coefficient)
        total = total * t + inner
    return total


def print_errors(dtype: str, a: np.ndarray, score: np.ndarray, error: np.ndarray) -> None:
    """Prints the median and the worst error by bands of the shape and of the normal score."""
    print(
        f"\nrelative error of a d log z / da for z >= 1, {dtype}, Horner's rule in that dtype: "
        "median / worst"
    )
    bands = [(-np.inf, 3.72), (3.72, 5), (5, 6.4), (6.4, 9.2)]
    print(f"{'shape':>18}" + "".join(f"{'score < ' + str(high):>22}" for _, high in bands))
    for low, high in [(0, 0.1), (0.1, 1), (1, 3), (3, 10), (10, 100), (100, 3001)]:
        cells = []
        for inner, outer in bands:
            chosen = error[(a >= low) & (a < high) & (score > inner) & (score <= outer)]
            cells.append(f"{np.median(chosen):.1e} / {chosen.max():.1e}" if chosen.size else "-")
        print(f"{f'{low:g} to {high:g}':>18}" + "".join(f"{cell:>22}" for cell in cells))


def fit_normal_quantile() -> list[float]:
    """Coefficients of -ndtri(p) in powers of √(-log p) - QUANTILE_CENTER, p from 2^-34 to 1/2."""
    low, high = np.sqrt(np.log(2)), np.sqrt(34 * np.log(2))
    nodes = -np.cos(np.pi * np.arange(3001) / 3000)
    root = (low + high) / 2 + (high - low) / 2 * nodes
    truth = -special.ndtri_exp(-(root**2))
    basis = np.polynomial.chebyshev.chebvander(nodes, QUANTILE_DEGREE)
    fitted = minimax(basis, truth, 1 / np.maximum(truth, 1), rounds=60)
    chebyshev = np.polynomial.Chebyshev(fitted, domain=[low, high])
    polynomial = chebyshev.convert(kind=np.polynomial.Polynomial)
    coefficients = polynomial(np.polynomial.Polynomial([QUANTILE_CENTER, 1])).coef.astype("float32")
    evaluated = np.zeros_like(root, dtype="float32")
    for coefficient in coefficients[::-1]:
        evaluated = evaluated * (root - QUANTILE_CENTER).astype("float32") + coefficient
    error = np.abs(evaluated - truth) / np.maximum(truth, 1)
    print("\nnormal quantile x, float32: error / max(1, x)")
    print(f"root mean square {np.sqrt(np.mean(error**2)):.1e}, worst {error.max():.1e}")
    return [float(coefficient) for coefficient in coefficients]


def literal(values: list[float], dtype: str, indent: str) -> str:
    """The values as lines of Python, with all the digits of the dtype."""
    digits = 9 if dtype == "float32" else 17
    text = ", ".join(f"{value:.{digits}g}" for value in values) + ","
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent)


def write(path: pathlib.Path, quantile: list[float], tables: dict[str, list[list[float]]]) -> None:
    """Writes the coefficients as a Python source file."""
    source = "scripts/fit_gamma_gradient.py"
    lines = [f'"""Polynomial coefficients, made and explained by {source}: do not edit."""']
    lines += ["", "# fmt: off", "", "# -ndtri(p) = Σ_i C[i] (√(-log p) - 2)^i, float32"]
    lines += ["NORMAL_QUANTILE = (", literal(quantile, "float32", "    "), ")"]
    for dtype, table in tables.items():
        lines += ["", "# a d log z / da = Σ_ij C[i][j] t^i u^j for z ≥ 1,"]
        lines += ["# t = log(z / (a + 1)) / 3, u = 1 / (a + 1)", f"GRADIENT_{dtype.upper()} = ("]
        for row in table:
            lines += ["    (", literal(row, dtype, "        "), "    ),"]
        lines += [")"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Compares the series with numerical differentiation, then fits and writes the polynomials."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    output = pathlib.Path("vigamma/random/coefficients.py")
    parser.add_argument("--output", type=pathlib.Path, default=output)
    parser.add_argument(
        "--check",
        action="store_true",
        help="only compare the series with numerical differentiation",
    )
    arguments = parser.parse_args()
    mp.mp.dps = 50
    for a, z in [("1e-3", "2"), ("0.3", "0.7"), ("2.5", "6"), ("30", "55"), ("300", "320")]:
        series, numerical = (
            mp.nstr(gradient(mp.mpf(a), mp.mpf(z)), 17)
            for gradient in (relative_gradient, numerical_gradient)
        )
        print(f"a = {a:>5}, z = {z:>4}: series {series}, by differentiation {numerical}")
    if not arguments.check:
        tables = {dtype: fit_gradient(dtype) for dtype in DEGREES}
        write(arguments.output, fit_normal_quantile(), tables)


if __name__ == "__main__":
    main()
