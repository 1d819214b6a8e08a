"""The update of Betas against the best Betas, found by an optimizer with moments by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy import special

from tests.slow import slow_after
from vigamma import Beta
from vigamma.models.probabilities import updated_probabilities

PRIOR = Beta(np.float64(0.7), np.float64(2.5))
T = np.linspace(-60, 60, 20_001)  # log-odds


def bound(a: float, b: float, counts: float, tables: float, expected: float) -> float:
    log_p, log_complement = special.log_expit(T), special.log_expit(-T)
    density = np.exp(a * log_p + b * log_complement - special.betaln(a, b)) * (T[1] - T[0])
    exposure = np.where(T < -30, 1.0, -log_complement * special.expit(-T) / special.expit(T))
    value = (counts - tables) * (density @ log_p) + tables * (density @ log_complement)
    log_prior = (PRIOR.concentration1 - a) * log_p + (PRIOR.concentration0 - b) * log_complement
    divergence = -special.betaln(a, b) - density @ log_prior
    return value - expected * (density @ exposure) - divergence


def updated(old, counts, tables, expected) -> tuple[float, float]:
    arrays = [jnp.asarray([value]) for value in (counts, tables, expected)]
    old = Beta(*(jnp.asarray([shape]) for shape in old))
    new = jax.jit(updated_probabilities)(old, jax.tree.map(jnp.asarray, PRIOR), *arrays)
    return float(new.concentration1[0]), float(new.concentration0[0])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("counts", [0.0, 1.0, 4.0, 60.0, 3000.0])
@pytest.mark.parametrize("share", slow_after(2, [0.4, 1.0, 0.02, 0.9]))  # of tables among counts
@pytest.mark.parametrize("ratio", slow_after(1, [0.7, 1.0, 1.5]))  # of expected to observed counts
def test_updates_lead_nearly_to_the_best_beta(counts, share, ratio):
    """Within 0.02 nats of it after a few; and the best is never left for a worse one."""
    arguments = counts, max(share * counts, min(counts, 1.0)), ratio * max(counts, 0.3)

    def loss(log_shapes):
        return -bound(*np.exp(log_shapes), *arguments)

    new = (1.0, 1.0)
    for _ in range(4):
        new = updated(new, *arguments)
    best = scipy.optimize.minimize(loss, np.log(new), method="Nelder-Mead")
    assert -bound(1.0, 1.0, *arguments) - best.fun > 0.02
    assert -bound(*new, *arguments) - best.fun < 0.02
    again = updated(tuple(np.exp(best.x)), *arguments)
    assert -bound(*again, *arguments) <= best.fun + 1e-6


@pytest.mark.usefixtures("x64")
def test_counts_at_their_own_tables_are_poisson_counts():
    """Each has a table of its own: p goes to where the prior alone keeps it from 0."""
    old = (2.0, 3.0)
    for _ in range(20):
        old = updated(old, 1e5, 1e5, 1e5)
    assert old[0] / sum(old) < 3e-5


def test_in_float32_it_finds_the_same():
    arguments = 60.0, 30.0, 55.0
    with jax.enable_x64(True):
        exact = updated((1.0, 1.0), *arguments)
    np.testing.assert_allclose(updated((1.0, 1.0), *arguments), exact, rtol=1e-4)
