"""Columns, or rows, that are alike.

Column m makes v_mk = E[β_mk] Σ_n E[θ_nk] of the counts through factor k, and row n u_nk = E[θ_nk]
Σ_m E[β_mk]. Two of a side are as similar as the cosine of these vectors: 1 if they are made of the
factors in the same proportions. If θ_k is multiplied by a number, and β_k divided by it, nothing
changes.
"""

from typing import Literal

import numpy as np
import pandas as pd

from vigamma.counts.names import indices_of
from vigamma.runs.fitted import FittedRun


def similar(
    run: FittedRun, name: str, side: Literal["column", "row"] = "column", top: int = 10
) -> pd.DataFrame:
    """The columns most similar to one of them, or the rows.

    Args:
      run: from `load_run`.
      name: of the column or the row.
      side: which of the two it is.
      top: how many at most, at least 1; of equal ones the first come first.

    Returns:
      a row for each: rank, name, cosine.

    Raises:
      UnknownNameError: if there is no such name.
    """
    if top < 1 or side not in ("column", "row"):
        raise ValueError(f"top must be at least 1, side column or row, got {top} and {side!r}")
    factors = run.factors
    names = factors.column_names if side == "column" else factors.row_names
    (index,) = indices_of(names, [name], side)
    means, others = (np.asarray(factors.q[f"{s}s"].mean, np.float64) for s in _ordered(side))
    vectors = means * others.sum(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors[index]).astype(np.float32)
    order = np.argsort(-cosines, kind="stable")
    order = order[order != index][:top]
    ranks = np.arange(order.size) + 1
    columns = {"rank": ranks, "name": names[order].astype(object), "cosine": cosines[order]}
    return pd.DataFrame(columns)


def _ordered(side: str) -> tuple[str, str]:
    return ("column", "row") if side == "column" else ("row", "column")
