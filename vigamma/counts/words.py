"""What the rows and columns of counts are called in their field, and labels of groups of rows."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Integer


class Words(NamedTuple):
    """The nouns for a row and for a column, in the singular: a cell and a gene.

    An entry of the matrix is an "entry", never a "cell", which may be a row.

    Attributes:
      row: what a row is.
      column: what a column is.
    """

    row: str = "row"
    column: str = "column"

    @property
    def rows(self) -> str:
        """The plural of `row`."""
        return plural(self.row)

    @property
    def columns(self) -> str:
        """The plural of `column`."""
        return plural(self.column)

    def given(self, row: str, column: str) -> Self:
        """The same with other words, where they are not empty."""
        return type(self)(row or self.row, column or self.column)


CELLS = Words("cell", "gene")
DOCUMENTS = Words("document", "word")
IMAGES = Words("image", "pixel")


class Labels(NamedTuple):
    """Labels of rows, which belong to groups by them.

    Attributes:
      title: what the labels are of, for example "cell_type".
      codes: the index of the label of each row, -1 for none.
      names: the labels, in the order of the file.
    """

    title: str
    codes: Integer[np.ndarray, " N"]
    names: Sequence[str]


def plural(noun: str) -> str:
    """The regular plural of an English noun."""
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"
