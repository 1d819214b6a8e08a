"""Runs of random posteriors, as if read back, without a fit."""

import jax
import numpy as np

from tests.factors import make_model, random_posterior
from tests.test_train_factors import experiment
from vigamma import PoissonFactorization
from vigamma.models.factor_order import by_weight
from vigamma.runs.fitted import FittedFactors, FittedRun

NUM_ROWS, NUM_COLUMNS, NUM_FACTORS = 12, 30, 3


def names(prefix: str, size: int) -> np.ndarray:
    """Names with spaces, commas and letters beyond ASCII."""
    return np.array([f"{prefix} {i}, é" for i in range(size)], np.dtypes.StringDType())


def random_run(kind: str = "hierarchical", seed: int = 0) -> FittedRun:
    """A run whose factors are far from each other, with names, in NumPy."""
    model = jax.device_get(make_model(kind))
    sizes = {"num_rows": NUM_ROWS, "num_columns": NUM_COLUMNS, "num_factors": NUM_FACTORS}
    q = by_weight(jax.device_get(random_posterior(model, seed, **sizes)))
    factors = FittedFactors(model, q, names("row", NUM_ROWS), names("column", NUM_COLUMNS))
    config = experiment(model=PoissonFactorization(num_factors=NUM_FACTORS))
    return FittedRun(config, 7, 7, factors, {})


def scaled(run: FittedRun, scales: np.ndarray) -> FittedRun:
    """The same run with θ_k multiplied by scales_k, and β_k divided by it."""
    q = dict(run.factors.q)
    scales = scales.astype(np.float32)
    q["rows"] = q["rows"].replace(rate=q["rows"].rate / scales)
    q["columns"] = q["columns"].replace(rate=q["columns"].rate * scales)
    return run._replace(factors=run.factors._replace(q=q))
