"""Temporary."""
import jax, jax.numpy as jnp
def log_gamma(key, concentration, sample_shape=(), dtype=None):
    return jax.random.loggamma(key, concentration, sample_shape + concentration.shape, dtype=dtype or concentration.dtype)
def gamma(key, concentration, sample_shape=(), dtype=None):
    return jnp.exp(log_gamma(key, concentration, sample_shape, dtype))
