"""The random bits and what is made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vigamma.random.bits import boost_uniform, normal_and_uniform, threefry2x32


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [  # the known answers that come with Random123 (Salmon et al. 2011)
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_words(key, counter, expected):
    words = threefry2x32(tuple(map(jnp.uint32, key)), tuple(map(jnp.uint32, counter)))
    assert tuple(map(int, words)) == expected


@pytest.mark.parametrize("x64", [False, True])
def test_normals_and_uniforms_have_their_distributions(x64):
    with jax.enable_x64(x64):
        dtype = jnp.dtype(jnp.float64 if x64 else jnp.float32)
        key, index = (jnp.uint32(1), jnp.uint32(2)), jnp.arange(200_000, dtype=jnp.uint32)
        draw = jax.jit(normal_and_uniform, static_argnums=3)
        normal, uniform = draw(key, index, jnp.uint32(0), dtype)
        boost = boost_uniform(key, index, dtype)
        assert normal.dtype == uniform.dtype == boost.dtype == dtype
    assert stats.kstest(np.asarray(normal, np.float64), "norm").pvalue > 1e-4
    assert stats.kstest(np.asarray(uniform, np.float64), "uniform").pvalue > 1e-4
    assert stats.kstest(np.asarray(boost, np.float64), "uniform").pvalue > 1e-4
    correlation = np.corrcoef([normal, normal**2, uniform, boost])[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4 / np.sqrt(index.size)


def test_float32_tails_are_those_of_32_bits(monkeypatch):
    words = jnp.array([0, 1, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1], jnp.uint32)
    monkeypatch.setattr("vigamma.random.bits.threefry2x32", lambda key, counter: (words, words))
    normal, uniform = normal_and_uniform(None, words, words, jnp.dtype(jnp.float32))
    exact = (np.asarray(words, np.float64) + 0.5) / 2**32
    tail = (np.asarray(words & 0x7FFFFFFF, np.float64) + 0.5) / 2**32
    np.testing.assert_allclose(uniform, exact, rtol=1e-7)
    exact_normal = stats.norm.ppf(tail) * np.where(exact < 0.5, -1, 1)
    np.testing.assert_allclose(normal, exact_normal, rtol=1e-6, atol=5e-7)
