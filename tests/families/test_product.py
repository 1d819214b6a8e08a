"""A product of families does for each of its parts what the part does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vigamma import Gamma, ProductOfGammas
from vigamma.families import joint

GAMMAS = {
    "rows": Gamma(jnp.float32([[2, 3], [0.4, 1]]), jnp.float32([[1, 2], [3, 4]])),
    "columns": Gamma(jnp.float32([0.7, 5]), jnp.float32([2, 0.5])),
}
AT = {"rows": jnp.float32([[-1, 0.5], [2, -3]]), "columns": jnp.float32([0.1, 0.2])}


def test_values_are_those_of_the_parts():
    @jax.jit
    def values(gammas):
        q = ProductOfGammas(gammas).distribution()
        return joint.log_prob(q, AT), joint.log_mean(q), q

    log_prob, log_mean, distribution = values(GAMMAS)
    expected = sum(
        scipy.stats.gamma(g.concentration, scale=1 / g.rate).logpdf(np.exp(AT[name])).sum()
        for name, g in GAMMAS.items()
    )
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    for name, gamma in GAMMAS.items():
        np.testing.assert_allclose(log_mean[name], np.log(gamma.mean), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(distribution[name].mean, gamma.mean, rtol=1e-6)


def test_parts_that_are_alike_are_drawn_apart():
    alike = {"one": GAMMAS["columns"], "two": GAMMAS["columns"]}
    log_sample = functools.partial(joint.log_sample, key=jax.random.key(0))
    drawn = jax.jit(lambda g: log_sample(ProductOfGammas(g).distribution()))(alike)
    assert (drawn["one"] != drawn["two"]).all()


@pytest.mark.slow
def test_the_draw_of_a_row_is_a_function_of_its_number():
    rows = Gamma(jnp.full((5, 2), 0.7), jnp.ones((5, 2)))
    q, key = {"rows": rows, "columns": GAMMAS["columns"]}, jax.random.key(1)
    all_rows = joint.log_sample(q, key, {"rows": jnp.arange(5, dtype=jnp.uint32)})
    part = q | {"rows": jax.tree.map(lambda leaf: leaf[:2], rows)}
    some = joint.log_sample(part, key, {"rows": jnp.array([3, 1], jnp.uint32)})
    np.testing.assert_array_equal(some["rows"], all_rows["rows"][jnp.array([3, 1])])
    np.testing.assert_array_equal(some["columns"], all_rows["columns"])
    assert len(np.unique(all_rows["rows"])) == 10


def test_rows_count_as_much_as_they_weigh():
    weights = jnp.array([2.0, 0.0])
    found = joint.log_prob(GAMMAS, AT, {"rows": weights})
    rows = GAMMAS["rows"].log_prob_from_log(AT["rows"])
    columns = GAMMAS["columns"].log_prob_from_log(AT["columns"])
    np.testing.assert_allclose(found, 2 * rows[0].sum() + columns.sum(), rtol=1e-6)
