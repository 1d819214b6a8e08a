"""Factors of all ten digits, with an encoder of images: a variational autoencoder of counts.

1,797 images; a fifth of all cells is held out. A network predicts the factors of an image, followed
by three coordinate ascent updates; its weights and the factors of the pixels maximize one ELBO.

Command: python scripts/train.py --config configs/digits_vae.py
Time:    60 s on 2 CPU cores.
Expect:  held-out log-likelihood -2.31 nats per cell; coordinate ascent, with a separate posterior
         of each image, reaches -2.30.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from vigamma import (
    Adam,
    DigitCounts,
    Experiment,
    Gamma,
    GradientAscent,
    HeldOut,
    MeanFieldGamma,
    PathwiseElbo,
    PoissonFactorization,
    spec,
)

_NUM_UPDATES = 3


class Encoder(nnx.Module):
    """q(θ_n | x_n): a network predicts log θ_n, from which coordinate ascent updates start.

    With w_n = exp(network(x_n)) and v_m = exp(E[log β_m]), and sums over the observed cells:
    shape_nk = a + w_nk Σ_m x_nm v_mk / (w_n · v_m),  rate_nk = b + Σ_m E[β_mk]
    """

    def __init__(self, prior, columns: Gamma, width: int, rngs: nnx.Rngs):
        """Initializes the network, and q(β) at `columns`."""
        num_columns, num_factors = columns.rate.shape
        self.shape, self.rate = nnx.Variable(prior.concentration), nnx.Variable(prior.rate)
        self.columns = MeanFieldGamma(columns)
        self.hidden = nnx.Linear(2 * num_columns, width, rngs=rngs)
        self.guess = nnx.Linear(width, num_factors, rngs=rngs)

    def distribution(self, batch) -> dict[str, Gamma]:
        """The distribution of the factors of the images in the batch, and of the columns."""
        counts, is_seen = (x.astype(float) for x in batch.data.dense())
        features = jnp.concatenate([jnp.log1p(counts), is_seen], axis=1)
        log_w = self.guess(jax.nn.gelu(self.hidden(features)))
        columns = self.columns.distribution()
        v, rate = jax.nn.softmax(columns.mean_log), self.rate[...] + is_seen @ columns.mean
        for _ in range(_NUM_UPDATES):
            w = jax.nn.softmax(log_w)
            shares = w * ((counts / jnp.maximum(w @ v.T, 1e-12)) @ v)
            rows = Gamma(self.shape[...] + shares, rate)
            log_w = rows.mean_log
        return {"rows": rows, "columns": columns}


@spec
class EncoderOf:
    """Builds an `Encoder` with a hidden layer of `width` units."""

    width: int = 256

    def build(self, model, initial, num_batches, key) -> Encoder:
        """The family before the first step."""
        del num_batches
        return Encoder(model.row_prior, initial["columns"], self.width, nnx.Rngs(key))


def get_config() -> Experiment:
    """The experiment; every field can be set by `--config.field=value`."""
    return Experiment(
        data=DigitCounts(digit=-1),
        heldout=HeldOut(protocol="cells", test_fraction=0.2),
        model=PoissonFactorization(num_factors=10, row_shape=3.0, column_shape=0.3),
        inference=GradientAscent(
            estimator=PathwiseElbo(num_samples=2),
            optimizer=Adam(learning_rate=0.05, decay_steps=5000),
            family=EncoderOf(width=256),
            batch_rows=256,
        ),
        num_steps=5000,
        log_every=200,
        save_every=2000,
        seed=0,
    )
