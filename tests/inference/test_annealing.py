"""Bounds of the log evidence are what they say, on both sides."""

import functools

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.sparse import csr_array

from tests.factors import make_model, to_numpy
from vigamma import Gamma
from vigamma.inference.annealing import log_evidence_bounds

COUNTS = np.array([[3, 0], [1, 2], [0, 0]], np.int32)
EXPOSURES = np.array([2.0, 5.0, 1.0])
MISSING = np.array([[0, 0], [0, 0], [0, 1]], np.uint8)
NUM_DRAWS = 400_000
NUM_CHAINS = 300


@functools.cache
def problem(kind: str, num_factors: int):
    """A model, a rough approximation, log p(x) by draws from the prior, and posterior draws."""
    model, rng = make_model(kind), np.random.default_rng(0)
    latents = {}
    for side, size in (("row", 3), ("column", 2)):
        prior = jax.tree.map(to_numpy, getattr(model, f"{side}_prior"))
        rate = np.broadcast_to(prior.rate if kind == "flat" else 0, (NUM_DRAWS, size))
        if kind == "hierarchical":
            rate = rng.gamma(prior.rate.concentration, 1 / prior.rate.rate, (NUM_DRAWS, size))
            latents[f"{side}_rates"] = rate
        standard = rng.gamma(prior.concentration, 1, (NUM_DRAWS, size, num_factors))
        latents[f"{side}s"] = np.maximum(standard / rate[:, :, None], 1e-29)
    rates = EXPOSURES[:, None] * (latents["rows"] @ latents["columns"].swapaxes(1, 2))
    of_cells = scipy.stats.poisson(rates).logpmf(COUNTS)
    weights = np.exp(np.where(MISSING, 0, of_cells).sum(axis=(1, 2)))
    error = weights.std() / weights.mean() / np.sqrt(NUM_DRAWS)
    assert error < 0.02
    chosen = rng.choice(NUM_DRAWS, NUM_CHAINS, p=weights / weights.sum())
    draws = {name: values[chosen] for name, values in latents.items()}
    # As wide as the posterior, with components that differ, so that they have an order.
    q = {}
    for name, values in draws.items():
        mean, variance = values.mean(axis=0), values.var(axis=0)
        concentration = mean**2 / variance
        if values.ndim == 3:
            mean = mean * (1 + 0.2 * np.arange(num_factors) * np.arange(1, len(mean) + 1)[:, None])
        q[name] = Gamma(concentration, concentration / mean)
    return model, q, np.log(weights.mean()), draws


def bounds(kind: str, num_factors: int, num_steps: int, **changed):
    model, q, log_evidence, draws = problem(kind, num_factors)
    found = log_evidence_bounds(
        changed.get("model", model),
        q,
        csr_array(COUNTS),
        draws,
        key=jax.random.key(changed.get("seed", 1)),
        exposures=EXPOSURES,
        missing=csr_array(MISSING),
        num_steps=num_steps,
        num_chains=NUM_CHAINS,
    )
    return found, log_evidence


def in_errors(log_weights: np.ndarray, expected: tuple[float, float]) -> float:
    """How many standard errors the mean of the weights is from what is expected, with its error."""
    weights = np.exp(log_weights - expected[0])
    error = np.hypot(weights.std() / np.sqrt(weights.size), expected[1])
    return (weights.mean() - 1) / error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "num_factors"),
    [
        ("flat", 1),
        *[pytest.param(kind, 2, marks=pytest.mark.nightly) for kind in ("flat", "hierarchical")],
    ],
)
def test_weights_are_unbiased_for_the_evidence(kind, num_factors):
    found, log_evidence = bounds(kind, num_factors, 50)
    assert abs(in_errors(found.forward, (log_evidence, 0.02))) < 4
    # Of reverse chains in a single order; see the module.
    share = found.matched if found.matched > 0.5 else 1.0
    assert share == 1 or num_factors > 1
    of_share = np.sqrt((1 - share) / (share * NUM_CHAINS))
    assert abs(in_errors(-found.reverse, (np.log(share) - log_evidence, of_share + 0.02))) < 4


@pytest.mark.slow
def test_bounds_meet_with_more_steps_and_hold_for_few_chains():
    few, log_evidence = bounds("flat", 2, 3)
    many, _ = bounds("flat", 2, 50)
    gap = np.mean(few.reverse) - np.mean(few.forward)
    assert 0 < np.mean(many.reverse) - np.mean(many.forward) < gap / 2
    assert np.mean(many.forward) < log_evidence < np.mean(many.reverse)
    assert many.lower < many.upper + 0.1


@pytest.mark.slow
def test_another_prior_has_another_evidence():
    model, *_ = problem("flat", 1)
    other = model.replace(row_prior=model.row_prior.replace(rate=2 * model.row_prior.rate))
    found, log_evidence = bounds("flat", 1, 20, model=other)
    assert abs(in_errors(found.forward, (log_evidence, 0.02))) > 6


@pytest.mark.slow
def test_a_seed_gives_the_same_bounds_and_another_one_others():
    once, again, other = (bounds("flat", 2, 5, seed=seed)[0] for seed in (1, 1, 2))
    assert once.forward.tolist() == again.forward.tolist() != other.forward.tolist()
    assert once.reverse.tolist() == again.reverse.tolist() != other.reverse.tolist()


@pytest.mark.parametrize(
    "changed", [{"num_steps": 0}, {"num_chains": 0}, {"draws": {}}, {"draws": {"rows": []}}]
)
def test_what_cannot_be_bounded_is_refused(changed):
    model, q, _, draws = problem("flat", 1)
    options = {"draws": draws, "num_steps": 5, "num_chains": 2} | changed
    with pytest.raises(ValueError, match=r"at least 1|must be of"):
        log_evidence_bounds(model, q, csr_array(COUNTS), key=jax.random.key(0), **options)
