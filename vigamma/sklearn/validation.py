"""Validation and conversion of the tables and parameters that scikit-learn passes."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import validate_data

from vigamma.counts.sparse import canonical_numbers
from vigamma.families.gamma import Gamma
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.stochastic import StochasticVariationalInference
from vigamma.models.likelihoods import Factorization, factorization
from vigamma.runs.experiment import Experiment
from vigamma.runs.in_memory import InMemory

_INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_TABLES = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32, *_INTEGERS],  # other types become float64
    "ensure_non_negative": True,
}


def read_table(estimator: BaseEstimator, table: Any, reset: bool) -> tuple[csr_array, type]:
    """Canonical counts, by `canonical_numbers`, and the float type for results.

    Finite numbers from 0 to 1e30 are accepted, whole or not, and rounded to float32 if some are
    above 2^24 or fractional. True counts 1. As in scikit-learn, objects and strings are accepted if
    they are numbers. Duplicate entries of a cell are summed. Times, masked arrays and anything but
    a matrix are rejected.

    Args:
      estimator: the estimator, which stores the number and names of the features.
      table: an array, a sparse matrix, a DataFrame, or an AnnData.
      reset: whether to set the features of the estimator, or to check them against the stored ones.

    Raises:
      TypeError: for times and masked arrays.
      ValueError: for anything else that is rejected.
    """
    if isinstance(table, np.ma.MaskedArray):
        raise TypeError("X must be numbers, got a masked array; say what is behind the mask")
    if getattr(getattr(table, "dtype", None), "kind", "") in ("m", "M"):
        raise TypeError(f"X must be numbers, got an array of {table.dtype}")
    if issparse(table) and table.format not in ("csr", "csc") and table.dtype.kind in "iub":
        table = table.astype(np.float64)  # scikit-learn would wrap sums of duplicates
    if hasattr(table, "var_names") and hasattr(table, "to_memory"):  # an AnnData
        names = table.var_names.to_frame().T
        validate_data(estimator, names, reset=reset, skip_check_array=True)
        numbers = table.to_memory().X if table.isbacked else table.X
        numbers = check_array(numbers, **_TABLES, estimator=estimator, input_name="X")
    else:
        numbers = validate_data(estimator, table, reset=reset, **_TABLES)
    return canonical_numbers(numbers), np.float32 if numbers.dtype == np.float32 else np.float64


def not_empty(counts: csr_array) -> csr_array:
    """Returns the counts; raises ValueError if all are 0."""
    if counts.nnz == 0:
        raise ValueError("X has no nonzero: there is nothing to factorize")
    return counts


def of_likelihood(estimator: BaseEstimator, counts: csr_array) -> csr_array:
    """Returns the counts; raises ValueError for fractional ones, if they have no likelihood."""
    if estimator.likelihood == "negative_binomial" and counts.dtype.kind == "f":
        raise ValueError("negative binomials need whole numbers, up to 2^24, in X")
    return counts


def model_of(estimator: BaseEstimator) -> Factorization:
    """The model specified by the parameters."""
    check_scalar(estimator.n_components, "n_components", Integral, min_val=1)
    row_shape = estimator.row_shape
    return factorization(
        hierarchical=estimator.hierarchical,
        likelihood=estimator.likelihood,
        num_factors=int(estimator.n_components),
        row_shape=None if row_shape is None else float(row_shape),
        column_shape=float(estimator.column_shape),
        rate_shape=estimator.rate_shape,
    )


def whole_counts(counts: csr_array) -> csr_array:
    """Returns canonical counts; raises ValueError for fractional ones, which have no samples."""
    if counts.dtype.kind == "f":
        raise ValueError("posterior samples need whole numbers, up to 2^24, in X")
    return counts


def experiment_of(estimator: BaseEstimator) -> Experiment:
    """The experiment that corresponds to a fit, with its counts in memory."""
    for name in ("num_starts", "n_init", "max_iter"):
        check_scalar(getattr(estimator, name), name, Integral, min_val=1)
    check_scalar(estimator.tol, "tol", Real, min_val=0, max_val=1, include_boundaries="left")
    inference = CoordinateAscent(
        tolerance=float(estimator.tol),
        learn_priors=bool(estimator.learn_priors),
        num_restarts=int(estimator.n_init),
        restart_sweeps=min(CoordinateAscent.restart_sweeps, int(estimator.max_iter)),
    )
    return Experiment(
        data=InMemory(),
        model=model_of(estimator),
        inference=inference,
        num_steps=int(estimator.max_iter),
        num_starts=int(estimator.num_starts),
        seed=seed_of(estimator.random_state),
    )


def stochastic_inference_of(estimator: BaseEstimator) -> StochasticVariationalInference:
    """The algorithm of `partial_fit`."""
    if estimator.total_samples is not None:
        check_scalar(estimator.total_samples, "total_samples", Integral, min_val=1)
    inference = StochasticVariationalInference(
        delay=float(estimator.delay),
        forgetting_rate=float(estimator.forgetting_rate),
    )
    inference.validate()
    return inference


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Draws a seed, 0 to 2³¹ - 2, from a random state."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def tails_of(probability: float) -> tuple[float, float]:
    """The quantiles at which the central interval with this probability ends."""
    check_scalar(
        probability, "probability", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    return (1 - probability) / 2, (1 + probability) / 2


def interval(gamma: Gamma, probability: float, dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the central intervals with this probability."""
    low, high = (np.asarray(gamma.quantile(tail)).astype(dtype) for tail in tails_of(probability))
    return low, high


def interval_of_draws(
    draws: np.ndarray, probability: float, dtype: DTypeLike
) -> tuple[np.ndarray, np.ndarray]:
    """The same, of draws along the first axis."""
    low, high = np.quantile(draws, tails_of(probability), axis=0, method="weibull").astype(dtype)
    return low, high
