"""Selection and names of the features of Cell Ranger that become columns."""

from collections.abc import Sequence

import numpy as np

from vigamma.counts.names import as_names
from vigamma.counts.words import CELLS, Words
from vigamma.data.readers.packed_files import FormatError

GENES = "Gene Expression"


def chosen_features(kinds: np.ndarray, path: object, wanted: str) -> tuple[np.ndarray, str | None]:
    """Selects the features of the wanted type, with a note on those that are dropped.

    Args:
      kinds: the type of each feature, strings of shape (M,).
      path: the file, for messages.
      wanted: a type; "" for genes or, if there are no genes, for all features.

    Raises:
      FormatError: for a type that no feature has.
    """
    present = dict.fromkeys(kinds.tolist())
    if wanted and wanted not in present:
        raise FormatError(f"{path} has no {wanted}, but {', '.join(present)}")
    if not wanted and GENES not in present:
        return np.ones(len(kinds), bool), None
    is_chosen = kinds == (wanted or GENES)
    others = sorted(present.keys() - {wanted or GENES})
    if not others:
        return is_chosen, None
    left_out = f"{path}: left out {np.sum(~is_chosen):,} features of {', '.join(others)}"
    return is_chosen, f"{left_out}; data.layer names the type that is read"


def words_of(kinds: np.ndarray) -> Words:
    """Columns are genes, unless some are features of another type."""
    return CELLS if (kinds == GENES).all() else CELLS.given("", "feature")


def feature_names(ids: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """Symbols; if several features share one, symbol and id: "TBCE (ENSG00000285053)"."""
    _, of_feature, sizes = np.unique(as_names(symbols), return_inverse=True, return_counts=True)
    return as_names(
        symbol if size == 1 else f"{symbol} ({own})"
        for own, symbol, size in zip(ids, symbols, sizes[of_feature], strict=True)
    )
