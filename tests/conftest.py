"""The strict settings that every test runs under."""

import gc
import os
import tempfile
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigamma import CountStatistics, DomainKnowledge, Gamma, GammaPoisson
from vigamma.data.digits import KnowledgeAndCounts
from vigamma.devices.mesh import in_default_float
from vigamma.inference import train_state
from vigamma.runs import train

_MOST_MAPS = 30_000

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config):
    """Commands that tests run keep their compiled programs in one folder, which goes in the end."""
    if not hasattr(config, "workerinput"):
        cache = tempfile.TemporaryDirectory()
        os.environ["VIGAMMA_CACHE"] = cache.name
        config.add_cleanup(cache.cleanup)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Of `-n auto`: one a core, up to four; two take 10 GB, as compiled programs stay."""
    return min(os.cpu_count() or 1, 4)


@pytest.fixture(autouse=True)
def _clear_trace_counts():
    chex.clear_trace_counter()


@pytest.fixture(autouse=True, scope="module")
def _few_memory_maps():
    """Frees compiled programs before they use up the memory maps of a process.

    Linux allows 65,530 of them by default, and XLA crashes without one.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """JAX in float64, for what is exact up to rounding."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time of a short run; most tests do not look at them."""
    monkeypatch.setattr(train._Run, "_draw", lambda *_: [])


@pytest.fixture
def fresh_programs():
    """No program that was compiled before is used, and those of this test are not used after it."""
    train_state._program.cache_clear()
    yield
    train_state._program.cache_clear()


@pytest.fixture
def data():
    """Counts of 7 columns and 12 rows; one column is always 0, as in the digits."""
    rng = np.random.default_rng(0)
    rates = np.array([0.0, 0.3, 1.0, 2.0, 5.0, 9.0, 14.0])
    return KnowledgeAndCounts(rates, rng.poisson(rates, (12, 7)).astype(np.float64))


@pytest.fixture
def exact_problem(data) -> tuple[GammaPoisson, CountStatistics]:
    """A small conjugate model and its data in NumPy float64."""
    return DomainKnowledge(weight=2.0, floor=0.1).build(data)


@pytest.fixture
def problem(exact_problem) -> tuple[GammaPoisson, CountStatistics]:
    """The same, as JAX arrays of its default float type."""
    return in_default_float(exact_problem)


@pytest.fixture
def away_from_optimum(problem) -> Gamma:
    """A distribution that is far from the exact posterior of `problem`."""
    model, _ = problem
    perturbation = jnp.linspace(0.6, 1.7, 7)
    return Gamma(model.prior.concentration * perturbation, model.prior.rate / perturbation)
