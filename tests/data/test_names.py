import pytest

from vigamma.counts.names import as_names, name_order, repeated


@pytest.mark.parametrize(
    "in_order",
    [
        ["-3", "0", "9", "10", str(2**63 - 1)],
        ["10", "9", str(2**63)],  # more than 64 bits: strings
        ["007", "10", "7"],
        ["+1", "0"],
        ["", "1", "10", "2", "B", "a", "é"],
        [],
    ],
)
def test_integers_are_sorted_by_value_and_strings_by_character(in_order):
    names = as_names(reversed(in_order))
    assert names[name_order(names)].tolist() == in_order


def test_names_that_come_more_than_once_are_counted():
    assert repeated(as_names("abcbab")) == {"a": 2, "b": 3}
    assert repeated(as_names("abc")) == repeated(as_names([])) == {}
