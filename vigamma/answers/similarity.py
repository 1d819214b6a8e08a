"""Similarity of columns, or of rows.

Column m has v_mk = E[β_mk] Σ_n E[θ_nk] expected counts from factor k, and row n has u_nk = E[θ_nk]
Σ_m E[β_mk]. The similarity of two columns, or of two rows, is the cosine of these vectors. It is 1
if both consist of the factors in the same proportions, and does not depend on how the scale of a
factor is divided between θ_k and β_k.
"""

from typing import Literal

import numpy as np
import pandas as pd

from vigamma.runs.fitted import FittedRun


def similar(
    run: FittedRun, name: str, side: Literal["column", "row"] = "column", top: int = 10
) -> pd.DataFrame:
    """The columns (or rows) most similar to a given one.

    Args:
      run: from `load_run`.
      name: the name of the column or row, or its id.
      side: whether it is a column or a row.
      top: the maximum number of results, at least 1; ties are ordered by index.

    Returns:
      one row per result: rank, name, cosine.

    Raises:
      UnknownNameError: if there is no such name.
      ValueError: for a `top` or `side` out of range.
    """
    if top < 1 or side not in ("column", "row"):
        raise ValueError(f"top must be at least 1, side column or row, got {top} and {side!r}")
    factors = run.factors
    names = factors.column_names if side == "column" else factors.row_names
    (index,) = factors.indices_of(side, [name])
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
