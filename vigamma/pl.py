"""Pictures of what `vigamma.tl.factorize` wrote into AnnData, by Matplotlib.

    axes = pl.structure(adata, groupby="cell_type")

Factors are numbered from 1 on, the one with most counts first, as in all results.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vigamma import UnknownNameError
from vigamma.figures import loadings as drawing_loadings
from vigamma.figures import memberships
from vigamma.figures.loadings import Loadings
from vigamma.figures.memberships import MOST_GROUPS, Groups
from vigamma.figures.notebook import WIDTH, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


def loadings(
    adata: "AnnData",
    factors: Sequence[int] | None = None,
    n_genes: int = 10,
    *,
    order: Literal["mean", "lift"] = "mean",
    key: str = "vigamma",
    width: float = WIDTH,
    ax: "Axes | None" = None,
) -> "FigureBase":
    """Draws the first genes of each factor, with their credible intervals.

    Args:
      adata: after `vigamma.tl.factorize`.
      factors: the numbers of the factors, from 1; None for all.
      n_genes: how many genes of each factor.
      order: "mean", for the genes with the largest shares φ_mk in the counts of the factor; or
        "lift", for those that mark it out: a lift is φ_mk over the share of the gene in all counts,
        and genes are in the order of the lower ends of its intervals, as in `vigamma.topics`.
      key: the `key_added` of `factorize`, if it was given.
      width: that of the figure, in inches.
      ax: what a single factor is drawn on, in place of a new figure.

    Returns:
      the figure, one panel a factor.

    Raises:
      UnknownNameError: if `factorize` has not written under this key.
      ValueError: for an argument out of range, and for `ax` with several factors.
    """
    about = _about(adata, key)
    num_factors = len(about["weights"])
    factors = range(1, num_factors + 1) if factors is None else factors
    if not factors or not set(factors) <= {*range(1, num_factors + 1)}:
        raise ValueError(f"factors must be of 1 to {num_factors}, got {[*factors]}")
    if n_genes < 1 or order not in ("mean", "lift"):
        raise ValueError(f"n_genes must be at least 1, order mean or lift, got {n_genes}, {order}")
    if ax is not None and len(factors) > 1:
        raise ValueError(f"ax is for a single factor, got {len(factors)}: give factors=[1]")
    tables = [adata.varm[about["varm_key"] + end] for end in ("", "_low", "_high")]
    scale = "share of the counts of the factor"
    if order == "lift":
        overall = np.asarray(tables[0] @ about["weights"])[:, None]
        tables, scale = [table / overall for table in tables], "lift over the share in all counts"
    names = adata.var_names.to_numpy()
    shown = [_first(names, tables, k - 1, n_genes, order, about["weights"]) for k in factors]
    if ax is not None:
        drawing_loadings.factor_loadings(ax, shown[0], scale)
        return ax.figure
    height = drawing_loadings.loadings_size(len(shown), len(shown[0].names), width)[2]
    figure = new_figure(width, height)
    drawing_loadings.loadings(figure, shown, scale)
    return figure


def structure(
    adata: "AnnData",
    groupby: str | None = None,
    *,
    key: str = "vigamma",
    width: float = WIDTH,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws a structure plot: each cell is a bar, split by the shares of factors in its counts.

    Cells are side by side within groups, ordered by their largest factor and its share; a group is
    as wide as it has cells, but wide enough for its name. Of more than 4,000 cells, evenly spaced
    ones of each group are drawn. If there are more than 24 factors, those from the 24th on are
    drawn together, in gray.

    Args:
      adata: after `vigamma.tl.factorize`.
      groupby: a column of `adata.obs` with labels; None for one group of all cells.
      key: the `key_added` of `factorize`, if it was given.
      width: that of a new figure, in inches.
      ax: what is drawn on, in place of a new figure.

    Returns:
      the axes.

    Raises:
      UnknownNameError: if `factorize` has not written under this key, or for a `groupby` that
        `adata.obs` does not have.
      ValueError: for a `groupby` with more than 100 labels.
    """
    shares = _shares(adata, key)
    groups = None if groupby is None else _of(adata, groupby)
    ax = new_figure(width, 3.4 if groups is None else 4.2).subplots() if ax is None else ax
    memberships.structure(ax, shares, groups)
    return ax


def heatmap(
    adata: "AnnData",
    groupby: str,
    *,
    key: str = "vigamma",
    width: float = WIDTH,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the mean shares of the factors in the counts of a cell, by groups of cells.

    The arguments, and errors, are those of `structure`.
    """
    shares, groups = _shares(adata, key), _of(adata, groupby)
    means = groups.means(shares)
    ax = new_figure(width, 1.3 + 0.27 * len(means)).subplots() if ax is None else ax
    memberships.heat_map(ax, means, groups.names)
    return ax


def _about(adata: "AnnData", key: str) -> Mapping[str, Any]:
    if key not in adata.uns:
        raise UnknownNameError(f"adata.uns has no {key!r}: run vigamma.tl.factorize(adata) first")
    return adata.uns[key]


def _shares(adata: "AnnData", key: str) -> np.ndarray:
    """The shares of the factors in the expected counts of each cell; shape (N, K)."""
    return memberships.shares_of(np.asarray(adata.obsm[_about(adata, key)["obsm_key"]], float))


def _of(adata: "AnnData", groupby: str) -> Groups:
    """The groups of a column, in the order of its categories; cells without a label come last."""
    if groupby not in adata.obs:
        raise UnknownNameError(f"adata.obs has no column {groupby!r}")
    labels = adata.obs[groupby].astype("category").cat.remove_unused_categories().cat
    codes, names = labels.codes.to_numpy(), [str(name) for name in labels.categories]
    if len(names) > MOST_GROUPS:
        raise ValueError(
            f"adata.obs[{groupby!r}] has {len(names):,} labels: groupby takes up to {MOST_GROUPS}"
        )
    return Groups.of_labels(codes.astype(int), names)


def _first(
    names: np.ndarray, tables: list[np.ndarray], k: int, top: int, order: str, weights: np.ndarray
) -> Loadings:
    """The first genes of a factor; those that are not in the fit are NaN, and come last."""
    mean, low, high = (table[:, k] for table in tables)
    by = mean if order == "mean" else low
    chosen = np.argsort(-by, kind="stable")[: min(top, int(np.isfinite(mean).sum()))]
    return Loadings(
        k, float(weights[k]), names[chosen].tolist(), mean[chosen], low[chosen], high[chosen]
    )
