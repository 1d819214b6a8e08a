"""Compares times of Gamma draws and their gradients with other libraries, and prints errors.

    python scripts/benchmark_gamma.py [--size 1000000] [--repeats 9]
                                      [--only draws|beta|step|distribution|gradient]

With `beta` the draws are those of Beta and Dirichlet, of so many numbers in all.

The others are jax.random, NumPy and (if installed) PyTorch. All times are medians of alternating
runs, so that ratios are reliable on a noisy machine; compilation is not included.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vigamma.random import beta, dirichlet, gamma, log_gamma

try:
    import torch
except ImportError:
    torch = None

DISTRIBUTION_SHAPES = [1e-4, 1e-2, 0.1, 0.5, 1, 2, 10, 1e3, 1e6]


def shapes_of(size: int) -> dict[str, np.ndarray]:
    """The shapes to draw from: constants, and a random mixture over six decades."""
    constants = {str(a): np.full(size, a, np.float32) for a in (0.05, 0.5, 3.0, 300.0)}
    mixture = 10 ** np.random.default_rng(0).uniform(-2, 4, size)
    return constants | {"mixture": mixture.astype(np.float32)}


def medians(runs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median milliseconds of each run.

    The runs alternate; one that takes over 0.2 s is repeated three times only.
    """
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for repeat in range(repeats):
        for name, run in runs.items():
            if repeat < 3 or np.median(times[name]) < 200:
                time.sleep(0.02)  # lets the threads of the previous run become idle
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def ready(function: Callable, *arguments) -> Callable:
    """A run that waits for the result."""
    return lambda: jax.block_until_ready(function(*arguments))


def torch_runs(a: np.ndarray) -> dict[str, Callable]:
    """PyTorch's draws, without and with gradient; empty if it is not installed."""
    if torch is None:
        return {}
    plain, wanting = torch.tensor(a), torch.tensor(a, requires_grad=True)

    def with_gradient():
        total = torch._standard_gamma(wanting).sum()
        return torch.autograd.grad(total, wanting)

    return {"torch": lambda: torch._standard_gamma(plain), "torch+grad": with_gradient}


def print_draws(size: int, repeats: int) -> None:
    """Prints the times of draws, and of draws with the gradient of their sum."""
    key, generator = jax.random.key(0), np.random.default_rng(0)
    normal = ready(jax.jit(lambda key: jax.random.normal(key, (size,))), key)
    device = jax.devices()[0].device_kind
    print(f"\nmilliseconds for {size} float32 draws on {device}, without and with gradient")
    for name, a in shapes_of(size).items():
        runs = {"normal": normal, "numpy": lambda a=a: generator.standard_gamma(a)} | torch_runs(a)
        on_device = jnp.asarray(a)
        for label, draw in (("gamma", gamma), ("log", log_gamma), ("jax", jax.random.gamma)):
            total = jax.value_and_grad(lambda a, key, draw=draw: draw(key, a).sum())
            runs[label] = ready(jax.jit(draw), key, on_device)
            runs[label + "+grad"] = ready(jax.jit(total), on_device, key)
        ms = medians(runs, repeats)
        row = "  ".join(f"{label} {value:.3g}" for label, value in ms.items())
        print(f"shape {name:>8}: {row}")
        plain, with_gradient = ms["jax"] / ms["gamma"], ms["jax+grad"] / ms["gamma+grad"]
        ratios = f"jax / gamma {plain:.0f}x, with gradient {with_gradient:.0f}x"
        if torch is not None:
            plain, with_gradient = ms["torch"] / ms["gamma"], ms["torch+grad"] / ms["gamma+grad"]
            ratios += f"; torch / gamma {plain:.1f}x, {with_gradient:.1f}x"
        print(f"{'':>14}  {ratios}; gamma / normal {ms['gamma'] / ms['normal']:.1f}x")


def print_beta(size: int, repeats: int) -> None:
    """Prints the times of draws of Beta and Dirichlet, and with the gradient of Σ x²."""
    key, device = jax.random.key(0), jax.devices()[0].device_kind
    print(f"\nmilliseconds for {size} numbers, float32, on {device}, without and with gradient")
    shapes = shapes_of(size)
    for name in ("0.5", "mixture"):
        a = shapes[name]
        both = jnp.asarray(a), jnp.asarray(a[::-1])
        print_against_jax(f"Beta {name}", beta, jax.random.beta, key, both, repeats)
        for num_classes in (10, 100):
            alpha = jnp.asarray(a[: size // num_classes * num_classes].reshape(-1, num_classes))
            label = f"Dirichlet {name}, {num_classes} classes"
            print_against_jax(label, dirichlet, jax.random.dirichlet, key, (alpha,), repeats)


def print_against_jax(
    label: str, own: Callable, other: Callable, key: jax.Array, parameters: tuple, repeats: int
) -> None:
    """Prints a row of times of draws of two libraries, and their ratios."""

    def with_gradient(draw: Callable) -> Callable:
        def total(*parameters):
            return (draw(key, *parameters) ** 2).sum()

        return jax.jit(jax.value_and_grad(total, tuple(range(len(parameters)))))

    runs = {}
    for name, draw in (("vigamma", own), ("jax", other)):
        runs[name] = ready(jax.jit(draw), key, *parameters)
        runs[name + "+grad"] = ready(with_gradient(draw), *parameters)
    ms = medians(runs, repeats)
    row = "  ".join(f"{name} {value:.3g}" for name, value in ms.items())
    plain, of_gradient = ms["jax"] / ms["vigamma"], ms["jax+grad"] / ms["vigamma+grad"]
    print(f"{label:>32}: {row}  jax / vigamma {plain:.0f}x, with gradient {of_gradient:.0f}x")


def print_step(repeats: int, num_steps: int = 200) -> None:
    """Prints the time of a step of the digit-zero model: 128 keys × 64 shapes, with gradient."""
    a = jnp.where(jnp.arange(64) % 4 == 0, 0.2, jnp.linspace(100.0, 3000.0, 64))

    def scan(samples: Callable) -> Callable:
        def step(shift, index):
            def total(shift):
                key = jax.random.fold_in(jax.random.key(0), index)
                return samples(key, a * jnp.exp(shift)).mean()

            value, slope = jax.value_and_grad(total)(shift)
            return shift - 1e-6 * slope, value

        steps = jax.jit(lambda shift: jax.lax.scan(step, shift, jnp.arange(num_steps)))
        return ready(steps, jnp.zeros(64))

    def by_key(draw, key, a):
        return jax.vmap(lambda index: draw(jax.random.fold_in(key, index), a))(jnp.arange(128))

    runs = {
        "log_gamma, a key per sample": scan(functools.partial(by_key, log_gamma)),
        "gamma, a key per sample": scan(functools.partial(by_key, gamma)),
        "log_gamma, sample_shape": scan(lambda key, a: log_gamma(key, a, (128,))),
        "jax.random.loggamma": scan(lambda key, a: jax.random.loggamma(key, a, (128, 64))),
    }
    print("\nmilliseconds per step, 64 x 128 draws and gradient inside a jitted scan")
    for name, value in medians(runs, repeats).items():
        print(f"{name:>30}: {value / num_steps:.3f}")


def print_distribution(size: int) -> None:
    """Prints Kolmogorov-Smirnov p-values, and z-scores of moments and gradients, for 5 seeds."""
    from scipy import special, stats

    print(
        f"\n{size} draws of log z for each of 5 seeds: Kolmogorov-Smirnov p-values against scipy "
        "in float64, and the\nlargest distance of mean, variance and mean gradient from digamma, "
        "trigamma, trigamma, in standard errors"
    )
    print(f"{'shape':>8}{'p-values':>40}{'mean':>13}{'var':>8}{'grad':>8}")

    @jax.jit
    def draw_and_slope(key, a):
        return jax.jvp(lambda a: log_gamma(key, a), (a,), (jnp.ones_like(a),))

    for shape in DISTRIBUTION_SHAPES:
        a, p_values, scores = float(np.float32(shape)), [], []
        mean = special.digamma(a)
        variance, fourth = special.polygamma(1, a), special.polygamma(3, a)
        for seed in range(5):
            both = draw_and_slope(jax.random.key(seed), jnp.full(size, a))
            log_z, gradient = (np.asarray(x, np.float64) for x in both)
            tiny = np.exp(a * np.minimum(log_z, -30) - special.gammaln(a + 1))
            visible = special.gammainc(a, np.exp(np.maximum(log_z, -30)))
            uniform = np.sort(np.where(log_z < -30, tiny, visible))
            distance = np.abs(uniform - (np.arange(size) + 0.5) / size).max() + 0.5 / size
            p_values.append(stats.kstwobign.sf(distance * np.sqrt(size)))
            mean_score = (log_z.mean() - mean) / np.sqrt(variance / size)
            variance_score = (log_z.var() - variance) / np.sqrt((fourth + 2 * variance**2) / size)
            gradient_score = (gradient.mean() - variance) / (gradient.std() / np.sqrt(size))
            scores.append((mean_score, variance_score, gradient_score))
        worst = np.abs(scores).max(axis=0)
        left, right = "".join(f"{p:8.3f}" for p in p_values), "".join(f"{s:8.1f}" for s in worst)
        print(f"{shape:>8g}{left}     {right}")


def print_gradient(size: int = 2000) -> None:
    """Prints relative errors of the gradient at random shapes and quantiles, against mpmath."""
    from fit_gamma_gradient import mp, relative_gradient
    from scipy import special

    from vigamma.random.implicit import log_shape_gradient

    rng = np.random.default_rng(0)
    a = (10 ** rng.uniform(-3, 5, size)).astype(np.float32)
    tail = 10 ** rng.uniform(-4, -0.31, size)
    kind, inner = rng.integers(0, 4, size), rng.uniform(1e-4, 1 - 1e-4, (2, size))
    quantile = np.choose(kind, [tail, 1 - tail, *inner])
    a64 = a.astype(np.float64)
    z = special.gammaincinv(a64, quantile)
    small = (np.log(quantile) + special.gammaln(a64 + 1)) / a64
    log_z = np.where(z > 1e-290, np.log(np.maximum(z, 1e-300)), small).astype(np.float32)
    mp.mp.dps = 40
    cases = zip(a.astype(float), log_z.astype(float), strict=True)
    exact = np.array([float(relative_gradient(mp.mpf(s), mp.exp(x)) / s) for s, x in cases])
    got = jax.jit(lambda a, log_z: log_shape_gradient(a, log_z - jnp.log1p(a)) / a)(a, log_z)
    print(
        f"\nrelative error of d log z / da, float32, {size} random shapes and quantiles: "
        "median / worst"
    )
    print_errors("vigamma, log z down to -8000", got, exact)
    visible = log_z > -69  # where z itself is well above the smallest float32
    a, z, exact = a[visible], np.exp(log_z[visible]), exact[visible]
    print_errors("vigamma, z > 1e-30", got[visible], exact)
    print_errors("jax, z > 1e-30", jax.lax.random_gamma_grad(a, z) / z, exact)
    if torch is not None:
        on_torch = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(z))
        print_errors("torch, z > 1e-30", on_torch.numpy() / z, exact)


def print_errors(name: str, values: jax.Array | np.ndarray, exact: np.ndarray) -> None:
    """Prints the median and the worst relative error of values."""
    error = np.abs(np.asarray(values, np.float64) / exact - 1)
    print(f"{name:>30}: {np.median(error):.1e} / {error.max():.1e}")


def main() -> None:
    """Prints the parts selected by the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", choices=["draws", "beta", "step", "distribution", "gradient"])
    arguments = parser.parse_args()
    parts = {
        "draws": lambda: print_draws(arguments.size, arguments.repeats),
        "beta": lambda: print_beta(arguments.size, arguments.repeats),
        "step": lambda: print_step(arguments.repeats),
        "distribution": lambda: print_distribution(arguments.size),
        "gradient": print_gradient,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
