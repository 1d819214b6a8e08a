"""Compares the time of a step of `configs/zero.py` with the tutorial's own loop.

`python scripts/benchmark_zero.py` prints the milliseconds per step of each, and their ratio. Both
fit the same 168 images with the same prior, 128 samples per step and Adam, in float32.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import optax
from absl import flags, logging
from benchmark_problems import zero_state

import vigamma
from vigamma.command_line.start import start_script
from vigamma.devices.mesh import in_default_float

_STEPS = flags.DEFINE_integer("steps", 5000, "Steps of vigamma, in chunks of 100.", lower_bound=100)
_TUTORIAL_STEPS = flags.DEFINE_integer("tutorial_steps", 200, "Steps of the tutorial's loop.")


def tutorial_step_seconds(counts, prior, num_steps: int) -> tuple[list[float], int | None]:
    """Times the tutorial's code: every step evaluates all images, and is dispatched from Python.

    Returns:
      the seconds of each step, and the first step with NaN or infinity in its parameters.
    """
    a, b = prior.concentration, prior.rate

    def log_joint(theta):
        log_likelihood = jnp.sum(jsp.stats.gamma.logpdf(theta, a, scale=1.0 / b))
        log_likelihood += jnp.sum(jsp.stats.poisson.logpmf(counts, theta))
        return log_likelihood

    def evidence_lower_bound(theta, alpha, inv_beta):
        return log_joint(theta) - jnp.sum(jsp.stats.gamma.logpdf(theta, alpha, scale=inv_beta))

    def loss(params, key):
        alpha, inv_beta = jnp.exp(params["log_alpha"]), jnp.exp(-params["log_beta"])
        theta = jax.random.gamma(key, alpha, shape=(128, alpha.size)) * inv_beta
        return -jnp.mean(jax.vmap(evidence_lower_bound, (0, None, None))(theta, alpha, inv_beta))

    params = {"log_alpha": jnp.log(a), "log_beta": jnp.log(b)}
    loss_val_grad = jax.jit(jax.value_and_grad(loss))
    optimizer = optax.adam(learning_rate=0.2)
    state = optimizer.init(params)
    seconds, broken_at = [], None
    for step, key in enumerate(jax.random.split(jax.random.PRNGKey(42), num_steps + 1)):
        started = time.perf_counter()
        _, grads = loss_val_grad(params, key)
        updates, state = optimizer.update(grads, state)
        params = jax.block_until_ready(optax.apply_updates(params, updates))
        seconds.append(time.perf_counter() - started)
        if broken_at is None and not all(jnp.isfinite(leaf).all() for leaf in params.values()):
            broken_at = step + 1
    return seconds[1:], broken_at  # the first step compiles


def vigamma_step_seconds(model, batch, num_steps: int) -> list[float]:
    """Times the program of `configs/zero.py`, which fuses 100 steps."""
    state, seconds = zero_state(model, batch), []
    state.compile()
    for _ in range(num_steps // 100):
        started = time.perf_counter()
        state.step(100)
        seconds.append((time.perf_counter() - started) / 100)
    return seconds


def main(argv):
    """Prints the table."""
    del argv
    logging.set_verbosity(logging.WARNING)
    data = vigamma.Digits().load()
    model, batch = in_default_float(vigamma.DomainKnowledge().build(data))
    counts = jnp.asarray(data.counts, jnp.float32)
    tutorial, broken_at = tutorial_step_seconds(counts, model.prior, _TUTORIAL_STEPS.value)
    rows = {"tutorial": tutorial, "vigamma": vigamma_step_seconds(model, batch, _STEPS.value)}
    print(f"{'ms per step':<12}{'median':>10}{'fastest':>10}{'slowest':>10}")
    for name, seconds in rows.items():
        low, middle, high = (1e3 * f(seconds) for f in (min, statistics.median, max))
        print(f"{name:<12}{middle:>10.3f}{low:>10.3f}{high:>10.3f}")
    ratio = statistics.median(rows["tutorial"]) / statistics.median(rows["vigamma"])
    print(f"vigamma is {ratio:.0f} times faster")
    if broken_at is not None:
        print(f"the tutorial's parameters are not finite from step {broken_at} on")


if __name__ == "__main__":
    start_script(main)
