"""Steps on rows that are not kept."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.factors import make_model, random_posterior
from vigamma import StochasticVariationalInference
from vigamma.contracts import StepInfo
from vigamma.counts.sparse import check_sparse_counts
from vigamma.inference import minibatch


def test_rows_come_back_in_their_order(monkeypatch):
    """The step gives every row a shape that is the sum of its counts."""

    def moved(model, q, batch, num_batches, step_size):
        sums = jnp.broadcast_to(batch.row_sums[:, None], q["rows"].rate.shape)
        return q | {"rows": q["rows"].replace(concentration=sums)}, StepInfo(num_batches, {})

    monkeypatch.setattr(minibatch, "_program", lambda *_: moved)
    counts = check_sparse_counts(np.random.default_rng(0).poisson(3.0, (150, 9)))
    model = jax.device_get(make_model("flat"))
    columns = {"columns": jax.device_get(random_posterior(model, 0, num_columns=9)["columns"])}
    inference = StochasticVariationalInference()
    q, elbo = minibatch.minibatch_step(inference, model, columns, counts, 2.5, 0.1)
    np.testing.assert_array_equal(q["rows"].concentration, np.tile(counts.sum(1)[:, None], 3))
    np.testing.assert_array_equal(q["columns"].rate, columns["columns"].rate)
    assert elbo == 2.5
