"""Ranks of true values among exact draws, among wrong ones, and among those of Gibbs sampling."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.factors import KINDS, in_default_precision, make_model, to_numpy
from tests.inference.test_gibbs import MISTAKES, NUM_REPLICATES, half_rate, prior_draws
from vigamma.diagnostics.sbc import check_ranks, ecdf_band, rank_of
from vigamma.models.factor_gibbs import gibbs_sweep

NUM_RANKS, NUM_DRAWS, NUM_EXPERIMENTS = 150, 25, 200


def conjugate_ranks(width: float = 1.0, shift: float = 1.0) -> np.ndarray:
    """Of a Gamma rate of 3 Poisson counts, in many experiments at once; shape (N, T).

    The draws are from a Gamma whose standard deviation is `width`, and whose mean is `shift` times
    that of the posterior.
    """
    rng, ranks = np.random.default_rng(0), []
    for _ in range(NUM_RANKS):
        truth = rng.gamma(1.7, 1 / 0.6, NUM_EXPERIMENTS)
        counts = rng.poisson(truth, (3, NUM_EXPERIMENTS)).sum(axis=0)
        shape, rate = (1.7 + counts) / width**2, (0.6 + 3) / width**2
        draws = shift * rng.gamma(shape, 1 / rate, (NUM_DRAWS, NUM_EXPERIMENTS))
        ranks.append(rank_of(truth, draws, rng))
    return np.array(ranks)


def test_exact_draws_are_inside_as_often_as_stated():
    ranks = conjugate_ranks()
    for probability, low, high in ((0.95, 0.9, 0.99), (0.8, 0.7, 0.9), (0.5, 0.4, 0.6)):
        share = check_ranks(ranks, NUM_DRAWS, probability).is_inside.mean()
        assert low < share < high


@pytest.mark.parametrize(
    ("wrong", "first", "last"),
    [
        ({"width": 0.6}, 1, -1),
        ({"width": 1.6}, -1, 1),
        ({"shift": 0.8}, -1, -1),
        ({"shift": 1.25}, 1, 1),
    ],
)
def test_wrong_draws_are_outside_on_the_sides_that_tell_what_is_wrong(wrong, first, last):
    found = check_ranks(conjugate_ranks(**wrong), NUM_DRAWS)
    assert found.is_inside.mean() < 0.02
    sides = np.sign(np.median(found.ecdf - found.band.expected[:, None], axis=1))
    assert (sides[: NUM_DRAWS // 4] == first).all()
    assert (sides[-(NUM_DRAWS // 4) :] == last).all()


def test_ranks_count_the_draws_below():
    rng = np.random.default_rng(0)
    draws, truth = (
        rng.permuted(np.tile(np.arange(9.0), (50, 1)), axis=1).T,
        np.arange(50) % 10 - 0.5,
    )
    np.testing.assert_array_equal(rank_of(truth, draws, rng), np.arange(50) % 10)


def test_ties_are_broken_at_random():
    """Truth and draws are from one distribution of small integers, and so exchangeable."""
    rng = np.random.default_rng(0)
    values = rng.poisson(0.7, (300, NUM_DRAWS + 1, 200))
    ranks = np.array([rank_of(v[0], v[1:], rng) for v in values])
    assert 0.9 < check_ranks(ranks, NUM_DRAWS).is_inside.mean() < 0.99
    unbroken = (values[:, 1:] < values[:, :1]).sum(axis=1)
    assert not check_ranks(unbroken, NUM_DRAWS).is_inside.any()
    alone = rank_of(np.zeros(20000), np.zeros((3, 20000)), rng)
    np.testing.assert_allclose(np.bincount(alone) / 20000, 0.25, atol=0.015)


@pytest.mark.parametrize(
    ("num_ranks", "num_draws", "probability"),
    [(200, 25, 0.95), (1000, 100, 0.9), (250, 20, 0.995), (30, 300, 0.5), (2000, 1, 0.95)],
)
def test_a_band_has_its_probability(num_ranks, num_draws, probability):
    """By 20,000 simulations; a little more, as ranks are discrete."""
    band = ecdf_band(num_ranks, num_draws, probability)
    rng = np.random.default_rng(1)
    shares = np.full(num_draws + 1, 1 / (num_draws + 1))
    ecdf = rng.multinomial(num_ranks, shares, 20000)[:, :-1].cumsum(axis=1) / num_ranks
    share = ((band.lower <= ecdf) & (ecdf <= band.upper)).all(axis=1).mean()
    error = 4 * np.sqrt(probability * (1 - probability) / 20000)
    assert probability - error < share < probability + error + 0.005


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8, 0.95, 0.999])
def test_of_all_possible_ranks_enough_are_inside(probability):
    """5 ranks among 3 draws: all 4⁵ are equally probable."""
    ranks = np.array(list(itertools.product(range(4), repeat=5))).T
    found = check_ranks(ranks, 3, probability)
    assert found.is_inside.mean() >= probability
    assert found.ecdf.shape == (3, 4**5)
    np.testing.assert_array_equal(found.ecdf[1], (ranks <= 1).mean(axis=0))


def test_bands_are_symmetric_and_wider_for_higher_probabilities():
    narrow, wide = (ecdf_band(180, 40, p) for p in (0.8, 0.999))
    for band in (narrow, wide):
        assert (band.lower < band.expected).all()
        assert (band.expected < band.upper).all()
        np.testing.assert_allclose(band.upper, 1 - band.lower[::-1], atol=1e-12)
    assert (wide.lower <= narrow.lower).all()
    assert (wide.upper - wide.lower).sum() > 1.3 * (narrow.upper - narrow.lower).sum()
    one = ecdf_band(1, 1)
    assert (one.lower, one.upper) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "num_ranks must be at least 1, got 0"),
        ((5, 0), "num_draws must be at least 1, got 0"),
        ((5, 5, 0.0), "probability must be between 0 and 1, got 0"),
        ((5, 5, 1.0), "probability must be between 0 and 1, got 1"),
        ((5, 5, np.nan), "probability must be between 0 and 1, got nan"),
    ],
)
def test_bands_of_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ecdf_band(*arguments)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (np.array([[0], [6]]), "from 0 to 5, got 0 to 6"),
        (np.array([[-1], [2]]), "from 0 to 5, got -1 to 2"),
        (np.array([0, 1]), r"shape \(N, T\), got int64 of shape \(2,\)"),
        (np.array([[0.0], [1.0]]), "ranks must be integers of shape .*, got float64"),
        (np.zeros((0, 2), int), "num_ranks must be at least 1, got 0"),
    ],
)
def test_invalid_ranks_are_refused(ranks, message):
    with pytest.raises(ValueError, match=message):
        check_ranks(ranks, 5)


@pytest.mark.parametrize(
    ("truth", "draws", "message"),
    [
        (np.zeros(2), np.zeros((5, 3)), r"got \(2,\) and \(5, 3\)"),
        (np.zeros(2), np.zeros(2), r"got \(2,\) and \(2,\)"),
        (np.zeros(2), np.zeros((0, 2)), "D ≥ 1"),
        (np.array([0, np.nan]), np.zeros((5, 2)), "must not be NaN"),
        (np.zeros(2), np.array([[0, np.nan]]), "must not be NaN"),
    ],
)
def test_invalid_draws_are_refused(truth, draws, message):
    with pytest.raises(ValueError, match=message):
        rank_of(truth, draws, np.random.default_rng(0))


# Gibbs sampling. At 10 sweeps the autocorrelations are at most 0.07, as means over data sets.
BURN_IN, THIN, NUM_GIBBS_DRAWS = 60, 15, 20
TOGETHER = 0.99
"""The probability that all quantities of a model are inside."""


def sampler(kind: str):
    """The program: (latents, entries, keys), all with an axis of replicates, to thinned draws."""
    model = make_model(kind)

    def of_replicate(replicate):
        latents, entries, key = replicate

        def sweep(i, latents):
            return gibbs_sweep(model, latents, entries, jax.random.fold_in(key, i))[0]

        def draw(latents, first):
            latents = jax.lax.fori_loop(first, first + THIN, sweep, latents)
            return latents, latents

        latents = jax.lax.fori_loop(0, BURN_IN, sweep, latents)
        starts = BURN_IN + THIN * jnp.arange(NUM_GIBBS_DRAWS, dtype=jnp.int32)
        return jax.lax.scan(draw, latents, starts)[1]

    return jax.jit(lambda *stacked: jax.lax.map(of_replicate, stacked))


def gibbs_draws(kind: str) -> dict[str, np.ndarray]:
    """By replicate and draw; the chain of each starts at the latents of another replicate."""
    truth, _, entries = prior_draws(kind)

    def start(leaf):
        sizes = [(0, 0), (0, 64 - leaf.shape[1]), *[(0, 0)] * (leaf.ndim - 2)]
        return np.pad(np.roll(leaf, 1, axis=0), sizes, constant_values=1)

    starts = {name: start(leaf) for name, leaf in truth.items()}
    starts, entries = in_default_precision((starts, entries))
    drawn = sampler(kind)(starts, entries, jax.random.split(jax.random.key(3), NUM_REPLICATES))
    return {name: to_numpy(leaf)[:, :, : truth[name].shape[1]] for name, leaf in drawn.items()}


def identified(kind: str, latents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantities that do not depend on the order of components, by replicate and draw."""
    _, problems, _ = prior_draws(kind)
    counts = np.array([problem.counts for problem in problems])[:, None]
    _, exposures, missing = problems[0]
    rates = latents["rows"] @ latents["columns"].swapaxes(2, 3)
    expected = exposures[:, None] * rates
    log_likelihoods = np.where(missing, 0, counts * np.log(expected) - expected)
    cells = {True: tuple(np.argwhere(missing)[0]), False: tuple(np.argwhere(~missing)[-1])}
    found = {
        "log likelihood": log_likelihoods.sum(axis=(2, 3)),
        "rate of a missing cell": rates[:, :, *cells[True]],
        "rate of an observed cell": rates[:, :, *cells[False]],
        "sum of a row": rates[:, :, 0].sum(axis=2),
        "sum of another row": rates[:, :, 3].sum(axis=2),
        "sum of a column": expected[:, :, :, 2].sum(axis=2),
        "sum of all": expected.sum(axis=(2, 3)),
    }
    if kind == "hierarchical":
        found["rate of a row"] = latents["row_rates"][:, :, 0]
        found["rate of a column"] = latents["column_rates"][:, :, 0]
    return found


def gibbs_check(kind: str) -> dict[str, bool]:
    """Whether each quantity is inside its band."""
    latents = {name: leaf[:, None] for name, leaf in prior_draws(kind)[0].items()}
    truth = np.stack(list(identified(kind, latents).values()), axis=2)[:, 0]
    quantities = identified(kind, gibbs_draws(kind))
    draws = np.stack(list(quantities.values()), axis=2)
    rng = np.random.default_rng(4)
    ranks = np.array([rank_of(t, d, rng) for t, d in zip(truth, draws, strict=True)])
    found = check_ranks(ranks, NUM_GIBBS_DRAWS, 1 - (1 - TOGETHER) / len(quantities))
    return dict(zip(quantities, found.is_inside.tolist(), strict=True))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_gibbs_sampling_is_calibrated(kind):
    """300 data sets with exposures and missing cells; chains that start far from the truth."""
    found = gibbs_check(kind)
    assert all(found.values()), found


@pytest.mark.nightly
@pytest.mark.parametrize("name", MISTAKES)
def test_gibbs_sampling_with_a_wrong_conditional_is_not(name, monkeypatch):
    kind, prior, method = MISTAKES[name]
    monkeypatch.setattr(prior, method, half_rate(getattr(prior, method)))
    found = gibbs_check(kind)
    seen = ["rate of a row", "rate of a column"] if kind == "hierarchical" else list(found)
    assert not any(found[quantity] for quantity in seen), found
