"""NumPyro's distributions with our draws: all else is theirs, and SVI and NUTS are exact."""

import importlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO

import vigamma.numpyro as ours
from tests.slow import slow_after
from vigamma.terminal.invocation import pip_install

KEY = jax.random.key(0)
NAMES = ["Gamma", "Beta", "Dirichlet", "InverseGamma", "StudentT"]
PARAMETERS = {
    "Gamma": (np.float32([0.3, 2.0, 40.0]), np.float32(3.0)),
    "Beta": (np.float32([0.4, 2.0, 40.0]), np.float32([0.7, 1.0, 3.0])),
    "Dirichlet": (np.float32([[0.3, 1.0, 2.0], [0.8, 5.0, 20.0]]),),
    "InverseGamma": (np.float32([5.0, 8.0, 40.0]), np.float32(3.0)),
    "StudentT": (np.float32([2.5, 9.0, 40.0]), np.float32([-1.0, 0.0, 2.0]), np.float32(0.7)),
}
SCIPY = {
    "Gamma": lambda a, b: scipy.stats.gamma(a, scale=1 / b),
    "Beta": scipy.stats.beta,
    "Dirichlet": lambda a: scipy.stats.beta(a, a.sum(axis=-1, keepdims=True) - a),
    "InverseGamma": lambda a, b: scipy.stats.invgamma(a, scale=b),
    "StudentT": scipy.stats.t,
}


@pytest.fixture(autouse=True)
def _promotions_of_numpyro():
    """NumPyro relies on both."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def both(name):
    """Our distribution, and NumPyro's."""
    return (getattr(module, name)(*PARAMETERS[name]) for module in (ours, dist))


@jax.jit
def sample(d):
    return d.sample(KEY, (20_000,))


@pytest.mark.parametrize("name", slow_after(2, NAMES))
def test_draws_have_the_distribution_and_lie_in_its_support(name):
    mine, _ = both(name)
    draws = sample(mine)
    assert draws.shape == (20_000, *mine.batch_shape, *mine.event_shape)
    assert draws.dtype == jnp.result_type(float)
    assert np.all(mine.support(draws))
    assert jnp.isfinite(mine.log_prob(draws)).all()
    columns = np.asarray(draws, np.float64).reshape(20_000, -1)
    shape = mine.batch_shape + mine.event_shape
    parameters = [np.broadcast_to(p, shape).astype(float) for p in PARAMETERS[name]]
    exact = SCIPY[name](*parameters)
    quantiles = exact.cdf(columns.reshape(-1, *shape)).reshape(20_000, -1)
    for column in quantiles.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3
    p_value = scipy.stats.kstest(quantiles[:, 0] ** 1.1, "uniform").pvalue
    assert p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_draws_is_numpyros(name):
    mine, theirs = both(name)
    own = {"__init__", "__signature__", "__doc__", "__module__", "sample"}
    for attribute in set(dir(theirs)) - set(vars(theirs)) - own:
        of_class = (getattr(type(d), attribute, None) for d in (mine, theirs))
        one, two = (getattr(value, "__func__", value) for value in of_class)
        assert one == two or attribute.startswith("__"), attribute
    assert isinstance(mine, type(theirs))
    assert mine.has_rsample
    draws = np.stack([theirs.mean, theirs.mean[..., ::-1]])
    densities = jax.jit(lambda d: (d.log_prob(draws), d.to_event(1).log_prob(draws), d.entropy()))
    for got, expected in zip(densities(mine), densities(theirs), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(mine.log_prob(draws), densities(theirs)[0], rtol=2e-5, atol=2e-5)
    first, *rest = PARAMETERS[name]
    with pytest.raises(ValueError, match="distribution got invalid"):
        getattr(ours, name)(-first, *rest, validate_args=True)


@pytest.mark.parametrize("name", slow_after(1, NAMES))
def test_distributions_are_pytrees_that_expand_and_map(name):
    mine, _ = both(name)
    leaves, structure = jax.tree.flatten(mine)
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(mine)
    assert again.batch_shape == mine.batch_shape
    np.testing.assert_array_equal(sample(again), sample(mine))

    shape = (*mine.batch_shape, *mine.event_shape)
    expanded = mine.expand((2, *mine.batch_shape)).to_event(2)
    assert jax.eval_shape(lambda: expanded.sample(KEY, (5,))).shape == (5, 2, *shape)
    full = [np.broadcast_to(parameter, shape) for parameter in PARAMETERS[name]]
    rows = jax.vmap(getattr(ours, name))(*full)
    each = jax.eval_shape(lambda: jax.vmap(lambda d: d.sample(KEY, (2,)))(rows))
    assert each.shape == (len(full[0]), 2, *shape[1:])


SLOW = [
    pytest.param(name, marks=pytest.mark.nightly) for name in ("Beta", "Dirichlet", "InverseGamma")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Gamma", "StudentT", *SLOW])
def test_gradients_of_draws_are_those_of_the_moments(name):
    """The mean gradient of z + z² is that of E[z] + E[z]² + Var[z], in every parameter."""
    kind, size = getattr(ours, name), 100_000
    parameters = [p[-1] if p.ndim else p for p in PARAMETERS[name]]

    def moments(*parameters):
        d = kind(*parameters)
        return d.mean + d.mean**2 + d.variance

    @jax.jit
    def gradients(direction, *rows):
        def total(*rows):
            z = kind(*rows).sample(KEY)
            return ((z + z**2) * direction).sum()

        return jax.grad(total, tuple(range(len(rows))))(*rows)

    rows = [jnp.broadcast_to(p, (size, *p.shape)) for p in parameters]
    event = kind(*parameters).event_shape
    for direction in np.eye(event[0], dtype=np.float32) if event else [np.float32(1)]:
        exact = jax.grad(lambda *p, u=direction: (moments(*p) * u).sum(), tuple(range(len(rows))))
        for got, expected in zip(gradients(direction, *rows), exact(*parameters), strict=True):
            got = np.asarray(got, np.float64)
            error = got.std(axis=0) / np.sqrt(size)
            assert np.all(np.abs(got.mean(axis=0) - expected) < 4 * error + 1e-6)
            assert np.all(error < 0.1 * np.abs(expected) + 1e-3)


@pytest.mark.slow
def test_densities_are_finite_at_draws_of_tiny_shapes():
    shapes = np.full(200, 1e-3, np.float32)
    for d in (ours.Gamma(shapes, 10.0), ours.Dirichlet(shapes)):
        draws = d.sample(KEY)
        assert np.all(d.support(draws))
        assert np.all(jnp.isfinite(d.log_prob(draws)))


COUNTS = np.random.default_rng(0).poisson(4.0, 3)
FLIPS = np.random.default_rng(1).binomial(1, 0.2, 16)
ANIMALS = np.array([5, 1, 9])
NOISE = np.random.default_rng(2).normal(0, 1.5, 12)
LATENTS = {"rate": "Gamma", "chance": "Beta", "shares": "Dirichlet", "variance": "InverseGamma"}
PRIOR = {
    "rate": (2.0, 0.5),
    "chance": (2.0, 2.0),
    "shares": (np.float32([0.5, 0.5, 2.0]),),
    "variance": (3.0, 2.0),
}
EXACT = {
    "rate": (2.0 + COUNTS.sum(), 0.5 + COUNTS.size),
    "chance": (2.0 + FLIPS.sum(), 2.0 + (1 - FLIPS).sum()),
    "shares": (np.float32([0.5, 0.5, 2.0]) + ANIMALS,),
    "variance": (3.0 + NOISE.size / 2, 2.0 + (NOISE**2).sum() / 2),
}
START = {name: tuple(np.ones_like(p) for p in parameters) for name, parameters in PRIOR.items()}


def model():
    latents = {
        name: numpyro.sample(name, getattr(ours, kind)(*PRIOR[name]))
        for name, kind in LATENTS.items()
    }
    numpyro.sample("counts", dist.Poisson(latents["rate"]).expand(COUNTS.shape), obs=COUNTS)
    numpyro.sample("flips", dist.Bernoulli(latents["chance"]).expand(FLIPS.shape), obs=FLIPS)
    animals = dist.Multinomial(ANIMALS.sum(), latents["shares"])
    numpyro.sample("animals", animals, obs=ANIMALS)
    noise = dist.Normal(0.0, jnp.sqrt(latents["variance"])).expand(NOISE.shape)
    numpyro.sample("noise", noise, obs=NOISE)


def arguments(kind: str) -> dict:
    """The constraints of the parameters by name, in their order."""
    return getattr(ours, kind).arg_constraints


def argument_name(latent: str, argument: str) -> str:
    return f"{latent}.{argument}"


def guide():
    for name, kind in LATENTS.items():
        parameters = [
            numpyro.param(argument_name(name, argument), start, constraint=constraint)
            for (argument, constraint), start in zip(
                arguments(kind).items(), START[name], strict=True
            )
        ]
        numpyro.sample(name, getattr(ours, kind)(*parameters))


def divergences(of: dict) -> np.ndarray:
    """KL(q ‖ exact) of each latent, in nats; that of inverses is that of the Gammas."""
    kinds = LATENTS | {"variance": "Gamma"}
    pairs = [(getattr(dist, kinds[name]), of[name], EXACT[name]) for name in LATENTS]
    return np.array([dist.kl_divergence(kind(*q), kind(*p)) for kind, q, p in pairs])


@pytest.mark.nightly
def test_svi_finds_the_exact_posteriors_of_conjugate_models():
    optimizer = numpyro.optim.Adam(lambda step: 0.1 * 0.997**step)
    svi = SVI(model, guide, optimizer, Trace_ELBO(num_particles=16))
    params = svi.run(jax.random.key(1), 2000, progress_bar=False).params
    found = {
        name: tuple(params[argument_name(name, argument)] for argument in arguments(kind))
        for name, kind in LATENTS.items()
    }
    assert divergences(START).min() > 0.5
    assert divergences(found).max() < 1e-3


@pytest.mark.nightly
def test_nuts_finds_the_exact_posteriors_of_conjugate_models():
    mcmc = MCMC(NUTS(model), num_warmup=500, num_samples=6000, progress_bar=False)
    mcmc.run(jax.random.key(2))
    for name, draws in mcmc.get_samples(group_by_chain=True).items():
        exact, prior = (
            getattr(dist, LATENTS[name])(*parameters[name]) for parameters in (EXACT, PRIOR)
        )
        size = effective_sample_size(np.asarray(draws))
        assert np.all(size > 1000)
        error = np.sqrt(exact.variance / size)
        assert np.any(np.abs(prior.mean - exact.mean) > 8 * error)
        assert np.all(np.abs(draws.mean(axis=(0, 1)) - exact.mean) < 4 * error)
        assert np.all(np.abs(draws.var(axis=(0, 1)) / exact.variance - 1) < 10 / np.sqrt(size))


class NoNumpyro:
    """Finds no module, and says of NumPyro that it is not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "numpyro":
            raise ModuleNotFoundError("No module named 'numpyro'", name="numpyro")


def test_without_numpyro_one_line_says_what_to_install(monkeypatch):
    for module in list(sys.modules):
        if module.split(".")[0] == "numpyro" or module == "vigamma.numpyro":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [NoNumpyro, *sys.meta_path])
    with pytest.raises(
        ImportError, match=rf"^vigamma\.numpyro needs NumPyro: {re.escape(pip_install('numpyro'))}"
    ):
        importlib.import_module("vigamma.numpyro")
