"""What the rows and columns of counts are called in their field, and labels of groups of rows."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Integer


def _both_numbers(noun: str) -> tuple[str, str]:
    """The singular and the plural of a noun, regular unless it has one after a comma."""
    singular, _, many = noun.partition(",")
    return singular, many or plural(singular)


def plural(noun: str) -> str:
    """The regular plural of an English noun."""
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


class Words(NamedTuple):
    """The nouns for rows and columns: cells and genes.

    An entry of the matrix is an "entry", never a "cell", which may be a row.

    Attributes:
      row: what a row is.
      column: what a column is.
      rows: the plural of `row`.
      columns: the plural of `column`.
    """

    row: str = "row"
    column: str = "column"
    rows: str = "rows"
    columns: str = "columns"

    @classmethod
    def of(cls, row: str, column: str) -> Self:
        """Of two nouns, each with its plural after a comma if that is irregular: "index,indices".

        A row is a "row" where the noun is empty, and a column a "column".
        """
        own_row, rows = _both_numbers(row or "row")
        own_column, columns = _both_numbers(column or "column")
        return cls(own_row, own_column, rows, columns)

    @property
    def swapped(self) -> Self:
        """Those of the transpose."""
        return type(self)(self.column, self.row, self.columns, self.rows)

    def given(self, row: str, column: str) -> Self:
        """The same with other nouns, as of `of`, where they are not empty."""
        found = self.of(row, column)
        own = self._replace(row=found.row, rows=found.rows) if row else self
        return own._replace(column=found.column, columns=found.columns) if column else own


CELLS = Words.of("cell", "gene")
DOCUMENTS = Words.of("document", "word")
IMAGES = Words.of("image", "pixel")


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
