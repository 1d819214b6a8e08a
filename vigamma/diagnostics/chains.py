"""Whether Markov chains have converged, by ArviZ's rank-normalized R̂ and effective sample sizes."""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vigamma.diagnostics.recovery import matched_factors

LARGEST_RHAT = 1.1
"""The classical limit (Gelman & Rubin 1992), here for the rank-normalized R̂ of single rates. The
1.01 that Vehtari et al. (2021) recommend takes several times the sweeps."""

SMALLEST_ESS = 50.0
"""With so many effective draws the 5 % quantile is off by 3 percentage points (standard error)."""


_LEAST_DRAWS = 4  # R̂ compares halves of chains


class ChainCheck(NamedTuple):
    """R̂ and effective sample sizes of T quantities (Vehtari et al. 2021).

    Attributes:
      rhat: the larger of the rank-normalized split R̂ and that of the folded draws; shape (T,).
      bulk: the effective sample sizes for means and medians; shape (T,).
      tail: those for 5 % and 95 % quantiles; shape (T,).
    """

    rhat: Float[np.ndarray, " T"]
    bulk: Float[np.ndarray, " T"]
    tail: Float[np.ndarray, " T"]

    @property
    def is_good(self) -> bool:
        """Whether 95 % of the quantities have R̂ and effective sample sizes within the limits."""
        rhat, ess = self.typical
        return rhat <= LARGEST_RHAT and ess >= SMALLEST_ESS

    @property
    def typical(self) -> tuple[float, float]:
        """What 95 % of R̂ stay below, and what 95 % of the effective sample sizes exceed."""
        ess = np.minimum(self.bulk, self.tail)
        return float(np.nanquantile(self.rhat, 0.95)), float(np.nanquantile(ess, 0.05))


def check_chains(draws: Float[np.ndarray, "C S T"]) -> ChainCheck | None:
    """Compares C chains of S draws of T quantities; None for a single chain, or below 4 draws.

    Quantities that do not vary, which have no R̂, are left out. Raises ImportError without ArviZ.
    """
    az = arviz()
    if draws.shape[0] < 2 or draws.shape[1] < _LEAST_DRAWS:
        return None
    draws = draws[:, :, np.ptp(draws, axis=(0, 1)) > 0]
    data = az.convert_to_dataset({"x": np.asarray(draws, np.float64)})
    found = (az.rhat(data), az.ess(data, method="bulk"), az.ess(data, method="tail"))
    return ChainCheck(*(np.atleast_1d(values["x"].to_numpy()) for values in found))


def matched_shares(
    columns: Sequence[Float[np.ndarray, "M K"]], reference: Float[np.ndarray, "M K"], top: int = 3
) -> tuple[Float[np.ndarray, "D T"], float]:
    """The shares φ_mk = β_mk / Σ_m β_mk of the largest columns of each factor, in every draw.

    The factors of a draw are matched to those of the reference by their cosines.

    Args:
      columns: D draws of β.
      reference: β of the factors that the draws are matched to.
      top: the columns of each factor.

    Returns:
      the shares, T = K · top, and the part of the draws in which the factors had another order.
    """
    order = np.argsort(-reference, axis=0)[:top]
    shares, num_switched = [], 0
    for beta in columns:
        match = matched_factors(beta, reference)
        num_switched += bool((match != np.arange(match.size)).any())
        beta = beta[:, match]
        shares.append((np.take_along_axis(beta, order, axis=0) / beta.sum(axis=0)).ravel())
    return np.array(shares), num_switched / len(columns)


def arviz() -> Any:
    """Imports ArviZ, without the warnings that it greets with; raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("arviz")
