"""Docstrings as documents."""

import numpy as np
import pytest

from vigamma import Docstrings

MODULE = '''
"""The docstring of a module is no document."""

def heat(water):
    """Heats water, and water only."""
    def private(): "never heats"

class Kettle:
    """A kettle boils water."""
    def boil(self): "Boils water; boils water."
    def _boil(self): "secretly"

def _hidden(): "hidden words"

def without(): pass
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose name no other test uses, as Python caches where packages are."""
    files = {
        "__init__.py": "raise ImportError",
        "_stove/__init__.py": MODULE,
        "broken.py": "def heat(:",
        "tests/test_stove.py": "def test_heat(): 'tests water'",
    }
    for name, text in files.items():
        path = tmp_path / "documented_kitchen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "documented_kitchen"


def test_documents_are_public_functions_and_classes_with_their_methods(package):
    loaded = Docstrings(package=package, min_documents=1, min_words=1).load()
    assert loaded.row_names.tolist() == [f"{package}.heat", f"{package}.Kettle"]
    table = dict(zip(loaded.column_names.tolist(), loaded.counts.toarray().T.tolist(), strict=True))
    assert table == {"boils": [0, 3], "heats": [1, 0], "kettle": [0, 1], "water": [2, 3]}


def test_rare_words_and_short_documents_are_left_out(package):
    loaded = Docstrings(package=package, min_documents=2, min_words=3).load()
    assert loaded.column_names.tolist() == ["water"]
    np.testing.assert_array_equal(loaded.counts.toarray(), [[2], [3]])
    loaded = Docstrings(package=package, min_documents=1, min_words=4).load()
    assert loaded.row_names.tolist() == [f"{package}.Kettle"]
    np.testing.assert_array_equal(loaded.counts.toarray(), [[3, 1, 3]])


def test_what_cannot_be_is_refused(package):
    for bad in ("no_such_package", "sklearn.svm", "sys", ""):
        with pytest.raises(ValueError, match="package must be an installed package"):
            Docstrings(package=bad).validate()
    for field in ("min_documents", "min_words"):
        with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
            Docstrings(**{field: 0}).validate()
    with pytest.raises(ValueError, match="no docstring of documented_kitchen has 99 words"):
        Docstrings(package=package, min_words=99).load()


@pytest.mark.slow
def test_scikit_learn_is_a_corpus():
    loaded = Docstrings().load()
    counts = loaded.counts
    assert counts.shape == (len(loaded.row_names), len(loaded.column_names))
    assert (counts > 0).sum(axis=0).min() == 3
    assert 500 < len(loaded.row_names) < 2000
    assert (loaded.words.row, loaded.words.column) == ("document", "word")
    assert "sklearn.cluster.KMeans" in loaded.row_names.tolist()
    kmeans = counts[[loaded.row_names.tolist().index("sklearn.cluster.KMeans")]].toarray()[0]
    assert kmeans[loaded.column_names.tolist().index("clusters")] > 10
