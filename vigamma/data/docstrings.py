"""A corpus that is on every machine: the docstrings of an installed package."""

import ast
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vigamma.counts.names import as_names
from vigamma.counts.sparse import check_sparse_counts
from vigamma.counts.words import DOCUMENTS
from vigamma.data.files import LoadedCounts
from vigamma.typing import spec

_WORD = r"[a-z]{3,}"
_PRIVATE = "tests", "externals"
_DOCUMENTED = ast.FunctionDef, ast.ClassDef


@spec
class Docstrings:
    """Counts of words in the docstrings of a package: real documents, without a download.

    A document is a public function or class, with its public methods; private modules are left out
    of its name, as in `sklearn.cluster.KMeans`. Words are letters only, at least three, and no
    English stop words. The files are read, and not imported.

    Attributes:
      package: an installed package.
      min_documents: words in fewer of the documents are left out.
      min_words: documents with fewer words, of whatever kind, are left out.
    """

    package: str = "sklearn"
    min_documents: int = 3
    min_words: int = 20

    def validate(self) -> None:
        """Raises ValueError for a package that is not installed, or a number below 1."""
        if not self.package.isidentifier() or _folder_of(self.package) is None:
            raise ValueError(f"package must be an installed package, got {self.package!r}")
        for name in ("min_documents", "min_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def load(self) -> LoadedCounts:
        """Counts words; raises ValueError if no document has enough of them."""
        from sklearn.feature_extraction.text import CountVectorizer  # takes a second to import

        folder = _folder_of(self.package)
        assert folder is not None
        texts = dict(_texts_in(folder))
        vectorizer = CountVectorizer(stop_words="english", token_pattern=_WORD)
        counts = vectorizer.fit_transform(texts.values())
        is_document = np.ravel(counts.sum(axis=1)) >= self.min_words
        if not is_document.any():
            raise ValueError(f"no docstring of {self.package} has {self.min_words} words")
        counts = counts[is_document]
        is_word = np.ravel((counts > 0).sum(axis=0)) >= self.min_documents
        return LoadedCounts(
            check_sparse_counts(counts[:, is_word]),
            row_names=as_names(np.array(list(texts))[is_document]),
            column_names=as_names(vectorizer.get_feature_names_out()[is_word]),
            words=DOCUMENTS,
        )


def _folder_of(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin and found.has_location else None


def _texts_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the name and the docstrings of each public function and class."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if set(parts).isdisjoint(_PRIVATE):
            module = ".".join(part for part in parts if not part.startswith("_"))
            for node in _parsed(path).body:
                if isinstance(node, _DOCUMENTED) and (text := "\n".join(_docstrings_of(node))):
                    yield f"{module}.{node.name}", text


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError:  # a template, or of another Python: it documents nothing here
            return ast.Module([], [])


def _docstrings_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, _DOCUMENTED) and not node.name.startswith("_"):
        yield ast.get_docstring(node) or ""
        for child in node.body if isinstance(node, ast.ClassDef) else ():
            yield from _docstrings_of(child)
