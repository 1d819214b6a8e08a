"""Tools for single cells in AnnData, by the conventions of scanpy: results are written in place.

    from vigamma import pl, tl

    tl.factorize(adata, n_factors=20, layer="counts")
    pl.structure(adata, groupby="cell_type")

AnnData is not imported here: whatever has its members will do.
"""

import math
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from vigamma import UnknownNameError
from vigamma.answers.factor_values import FactorValues, values_of
from vigamma.counts.sparse import canonical_counts, check_sparse_counts
from vigamma.data.files import LoadedCounts
from vigamma.data.heldout import HeldOut
from vigamma.data.split_data import SplitData
from vigamma.inference.gibbs import Gibbs
from vigamma.models.factor_model import Posterior
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.likelihoods import Factorization, factorization
from vigamma.runs.chains import sample_posterior
from vigamma.runs.in_memory import fit
from vigamma.runs.samples import Samples
from vigamma.sklearn.validation import seed_of, tails_of

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "vigamma"
"""The key in `adata.uns` if `key_added` is not given."""

_HIGHLY_VARIABLE: Any = object()
"""The default of `mask_var`: the column of this name in `adata.var`, if there is one."""

_TOO_NARROW = (
    "mean-field intervals are too narrow: in simulations those of 90 % held 50 to 81 % of the true "
    "values; sampled=True takes draws from the exact posterior, which held 89 to 91 %"
)
_ENDS = "", "_low", "_high"
_OUTCOMES = (
    "elbo",
    "sweeps",
    "num_heldout",
    "heldout_log_likelihood",
    "heldout_log_likelihood_independent",
)


def factorize(
    adata: "AnnData",
    n_factors: int = HierarchicalPoissonFactorization.num_factors,
    *,
    layer: str | None = None,
    mask_var: str | ArrayLike | None = _HIGHLY_VARIABLE,
    hierarchical: bool = True,
    likelihood: str = "poisson",
    row_shape: float | None = None,
    column_shape: float = HierarchicalPoissonFactorization.column_shape,
    rate_shape: float = HierarchicalPoissonFactorization.rate_shape,
    row_sum_exposures: bool = False,
    num_steps: int = 500,
    heldout_fraction: float = 0.0,
    interval: float = 0.9,
    sampled: bool = False,
    n_samples: int = 200,
    random_state: int | np.random.RandomState | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> "AnnData | None":
    """Factorizes the counts of cells, with credible intervals.

        x_nm ~ Poisson(e_n Σ_k θ_nk β_mk),   θ_nk, β_mk ~ Gamma

    for cells n, genes m and factors k (Gopalan, Hofman & Blei 2015; see
    `HierarchicalPoissonFactorization`). The posterior is fitted by coordinate ascent. What is
    written does not depend on how the scale of a factor is divided between cells and genes:

        amount_nk = e_n θ_nk B_k,   share φ_mk = β_mk / B_k,   B_k = Σ_m β_mk

    so that an amount is in counts, the shares of a factor sum to 1 over the genes of the fit, and
    the amounts times the transposed shares are the expected counts. In all results factors have
    one order, the one with most counts in the fit first.

    Args:
      adata: cells × genes. Counts are whole numbers, dense or sparse, of any integer or float type.
        Cells and genes without counts may be among them.
      n_factors: K.
      layer: the layer with the counts; None for `adata.X`.
      mask_var: the genes to fit, a boolean column of `adata.var` or a boolean array of shape (M,);
        None for all. By default, as in scanpy, `highly_variable` if `adata.var` has it, or all.
      hierarchical: whether cells and genes have rate latents (activity, popularity).
      likelihood: "poisson", or "negative_binomial" for genes whose counts vary more.
      row_shape: the shape of the prior of θ; smaller is sparser. None for 6 / K, or 3 / K for
        negative binomials, clipped to [0.05, 1].
      column_shape: the shape of the prior of β.
      rate_shape: the shape of the prior of the rates, if hierarchical.
      row_sum_exposures: whether e_n is the sum of the counts of a cell over the mean sum (its size
        factor), rather than 1. Every cell then needs a count. Hierarchical models learn the
        activity of a cell without it.
      num_steps: the most sweeps.
      heldout_fraction: the part of each count that is held out by binomial thinning, to score the
        fit with; amounts are of whole counts nevertheless.
      interval: the probability of the credible intervals.
      sampled: whether means and intervals are of draws from the exact posterior. It takes some
        times as long as the fit, and memory for `n_samples` times K (N + M) numbers of 4 bytes.
        Without, intervals are of the mean-field posterior and too narrow: in simulations, those of
        90 % held 50 to 81 % of the true values, and those of draws 89 to 91 % (see
        `vigamma.answers.intervals`). Where factors have several solutions, the intervals of draws
        include the differences between them.
      n_samples: how many draws; rounded up to a multiple of 4, the number of chains.
      random_state: an int, for the same results every time, a RandomState, or None.
      key_added: replaces "vigamma" in the names of all results.
      copy: whether to return a copy with the results, and leave `adata` as it is.

    Returns:
      None, or with `copy` an AnnData, with

      * `obsm["X_vigamma"]`: the posterior means of the amounts, in counts; float32 of shape (N, K).
        `obsm["X_vigamma_low"]` and `obsm["X_vigamma_high"]` are the ends of their intervals.
      * `varm["vigamma_loadings"]`: those of the shares; float32 of shape (M, K), NaN for genes that
        are not in the fit. `varm["vigamma_loadings_low"]` and `..._high`, likewise.
      * `uns["vigamma"]`: "params", and
        "weights", the shares of the factors in all counts, with "weights_low" and "weights_high",
        each of shape (K,);
        "interval"; "intervals", which is "sampled", or "variational" with a "note" that they are
        too narrow; "num_draws";
        "elbo" in nats; "sweeps"; "stopped", which is "converged" or "num_steps";
        with `heldout_fraction`, the mean log-likelihoods of held-out counts, in nats a count,
        "heldout_log_likelihood" and, of genes without factors,
        "heldout_log_likelihood_independent", and "num_heldout", their nonzeros;
        "obsm_key" and "varm_key", the names above.

    Raises:
      UnknownNameError: for a layer or a column of `adata.var` that does not exist.
      ValueError: for an argument out of range, and for numbers that are not counts, such as
        log-normalized ones; the message names layers with counts.
      NonFiniteError: if the ELBO becomes non-finite.
    """
    tails, num_draws = np.array(tails_of(interval)), operator.index(n_samples)
    if num_draws < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}")
    mask_var = _mask_name(adata) if mask_var is _HIGHLY_VARIABLE else mask_var
    mask, seed = _mask_of(adata, mask_var), seed_of(random_state)
    counts = canonical_counts(_counts_of(adata, layer)[:, mask], "counts of the genes of mask_var")
    num_factors = operator.index(n_factors)
    options: dict[str, Any] = {
        "hierarchical": bool(hierarchical),
        "likelihood": likelihood,
        "row_shape": None if row_shape is None else float(row_shape),
        "column_shape": float(column_shape),
        "rate_shape": float(rate_shape),
        "row_sum_exposures": bool(row_sum_exposures),
    }
    model = factorization(num_factors=num_factors, **options)
    num_sweeps, fraction = operator.index(num_steps), float(heldout_fraction)
    heldout = HeldOut(test_fraction=fraction, seed=seed) if fraction else None
    found = fit(model, counts, num_steps=num_sweeps, heldout=heldout, seed=seed)
    data = SplitData(LoadedCounts(counts), heldout, model.row_sum_exposures)
    samples = _draws(model, found.posterior, data, num_draws, seed) if sampled else None
    values = values_of(found.posterior, samples, data.exposures / (1 - fraction), tails)
    asked: dict[str, Any] = {
        "layer": layer,
        "mask_var": mask_var if isinstance(mask_var, str) else None,
        "n_genes": counts.shape[1],
        "n_factors": num_factors,
        **options,
        "num_steps": num_sweeps,
        "heldout_fraction": fraction,
        "seed": seed,
    }
    about = {
        "params": {name: value for name, value in asked.items() if value is not None},
        "interval": float(interval),
        **_about_intervals(samples),
        "stopped": found.stopped,
        **{name: found.summary[name] for name in _OUTCOMES if name in found.summary},
    }
    written = adata.copy() if copy else adata
    _write(written, key_added or KEY, values, mask, about)
    return written if copy else None


def _counts_of(adata: "AnnData", layer: str | None) -> csr_array:
    """The counts of all genes, canonical; raises the errors of `factorize`."""
    if layer is not None and layer not in adata.layers:
        there = ", ".join(map(repr, adata.layers)) or "no layer at all"
        raise UnknownNameError(f"adata has no layer {layer!r}, but {there}")
    name = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    matrices = {"adata.X": adata.to_memory().X if adata.isbacked else adata.X}
    matrices |= {f"adata.layers[{other!r}]": matrix for other, matrix in adata.layers.items()}
    if adata.raw is not None:
        matrices["adata.raw.to_adata()"] = adata.raw.X
    try:
        if matrices[name] is None:
            raise ValueError(f"{name} is empty")
        return check_sparse_counts(matrices.pop(name), name)
    except ValueError as error:
        others = [other for other, matrix in matrices.items() if _are_counts(matrix)]
        advice = f"counts are in {', '.join(others)}"
        if not others:
            advice = "no other layer holds counts: keep them, before they are normalized, by "
            advice += "adata.layers['counts'] = adata.X.copy()"
        raise ValueError(f"{error}; {advice}") from error


def _are_counts(matrix: Any) -> bool:
    try:
        check_sparse_counts(matrix)
    except (TypeError, ValueError):
        return False
    return True


def _mask_name(adata: "AnnData") -> str | None:
    return "highly_variable" if "highly_variable" in adata.var else None


def _mask_of(adata: "AnnData", mask_var: str | ArrayLike | None) -> np.ndarray:
    """Which genes are in the fit; shape (M,)."""
    if mask_var is None:
        return np.ones(adata.n_vars, bool)
    if isinstance(mask_var, str):
        if mask_var not in adata.var:
            raise UnknownNameError(f"adata.var has no column {mask_var!r}")
        mask_var = adata.var[mask_var]
    mask = np.asarray(mask_var)
    if mask.dtype != bool or mask.shape != (adata.n_vars,):
        raise ValueError(
            f"mask_var must be boolean, one for each of {adata.n_vars:,} genes, but it is "
            f"{mask.dtype} of shape {mask.shape}"
        )
    if not mask.any():
        raise ValueError("mask_var leaves no gene to fit")
    return mask


def _draws(
    model: Factorization, q: Posterior, data: SplitData, num_draws: int, seed: int
) -> Samples:
    """At least `num_draws` draws from the exact posterior given the training counts."""
    chains, train = Gibbs(), data.split.train
    num_sweeps = chains.burn_in + chains.thin * math.ceil(num_draws / chains.num_chains)
    return sample_posterior(
        model.build(train, data.exposures, 0),
        q,
        train,
        chains,
        num_sweeps=num_sweeps,
        exposures=data.exposures,
        seed=seed,
    )


def _about_intervals(samples: Samples | None) -> dict[str, Any]:
    if samples is None:
        return {"intervals": "variational", "num_draws": 0, "note": _TOO_NARROW}
    return {"intervals": "sampled", "num_draws": samples.num_draws}


def _write(
    adata: "AnnData", key: str, values: FactorValues, mask: np.ndarray, about: Mapping[str, Any]
) -> None:
    """Writes the results."""
    names = {"obsm_key": f"X_{key}", "varm_key": f"{key}_loadings"}
    weights = dict[str, np.ndarray]()
    parts = zip(_ENDS, values.amounts(), values.shares(), values.weights, strict=True)
    for end, amounts, shares, of_factors in parts:
        loadings = np.full((len(mask), shares.shape[1]), np.nan, np.float32)
        loadings[mask] = shares
        adata.obsm[names["obsm_key"] + end] = amounts
        adata.varm[names["varm_key"] + end] = loadings
        weights["weights" + end] = of_factors
    adata.uns[key] = {**about, **weights, **names}
