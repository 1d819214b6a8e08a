"""Names found, and names that are nearly right."""

import numpy as np
import pytest

from vigamma import AmbiguousNameError, ConfigError, UnknownNameError
from vigamma.counts import names
from vigamma.counts.names import indices_of, places_of, read_names, split_names

NAMES = np.array(["Alien", "Brazil", "Alien", "Heat, The", "7"], np.dtypes.StringDType())


def test_names_are_found():
    assert indices_of(NAMES, ["7", "Brazil", "Heat, The", "7"]).tolist() == [4, 1, 3, 4]
    assert places_of(NAMES) == {"Alien": 0, "Brazil": 1, "Heat, The": 3, "7": 4}


def test_a_name_of_several_is_refused_and_counted():
    with pytest.raises(AmbiguousNameError, match=r"^2 films are called 'Alien' \(numbers 0, 2, fr"):
        indices_of(NAMES, ["7", "Alien"], "film")
    with pytest.raises(AmbiguousNameError, match=r"1,000 rows are .* \(numbers 0, 1, 2, \.\.\., f"):
        indices_of(np.repeat(NAMES[:1], 1000), ["Alien"])


@pytest.mark.parametrize("most", [100_000, 2])
def test_an_unknown_name_tells_the_nearest(monkeypatch, most):
    monkeypatch.setattr(names, "_MOST_COMPARED", most)
    with pytest.raises(UnknownNameError, match=r"^there is no film 'brasil' among 5; .* 'Brazil'$"):
        indices_of(NAMES, ["7", "brasil"], "film")
    with pytest.raises(LookupError, match=r"^there is no row 'xyz' among 5$"):
        indices_of(NAMES, ["xyz"])


def test_words_are_split_at_commas_unless_they_are_names():
    words = ["7,Alien", "Heat, The", "Heat,Alien,"]
    assert split_names(NAMES, words) == ["7", "Alien", "Heat, The", "Heat", "Alien"]


def test_names_are_read_one_a_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffHeat, The\r\n\n 7 \n".encode())
    assert read_names(path) == ["Heat, The", "7"]
    path.write_text(" \n")
    with pytest.raises(ConfigError, match="has no names"):
        read_names(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read_names(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_names(tmp_path / "nothing")
