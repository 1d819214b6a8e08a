"""Numbers as people read them: as many digits as their intervals bear."""

import numpy as np
import pytest

from vigamma.terminal.numbers import estimate, interval, number, percent


def test_numbers_have_separators_and_no_exponent_if_possible():
    assert number(-1234567.8) == "−1,234,568"
    assert number(0.012345) == "0.0123"
    assert [number(x) for x in (999.4, 999.7, 1000, -1000.4)] == [
        "999", "1,000", "1,000", "−1,000"
    ]  # fmt: skip
    assert number(1428.31, 6) == "1,428.31"
    assert percent(9.9996, 3) == "1,000\N{NO-BREAK SPACE}%"
    assert number(0) == "0"
    assert percent(0.12345) == "12.3\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((0.51, 9.3), "0.5 – 9.3"),
        ((9.8e-6, 0.26), "0.00 – 0.26"),
        ((1.4, 1.4), "1.4"),
        ((1.42, 1.44), "1.420 – 1.440"),
        ((1.4491, 1.4512), "1.4491 – 1.4512"),
        ((12.3, 14.6), "12.3 – 14.6"),
        ((2.3361, 2.5585), "2.34 – 2.56"),
        ((120.4, 5000.6), "120 – 5,001"),
        ((1428.31, 1428.34), "1,428.310 – 1,428.340"),
        ((1.234e-6, 1.236e-6), "1.234e−06 – 1.236e−06"),
        ((1.2341234e-6, 1.2361234e-6), "1.2341e−06 – 1.2361e−06"),
        ((0.0, 3e-9), "0 – 3e−09"),
        ((0.0, 0.3), "0.00 – 0.30"),
        ((-0.2, 0.3), "−0.20 – 0.30"),
        ((3e20, 4e20), "3e+20 – 4e+20"),
        ((0.0, np.inf), "0 – inf"),
    ],
)
def test_intervals_have_the_digits_of_their_width(ends, shown):
    assert interval(ends) == shown


def test_what_lies_beside_an_interval_has_its_digits():
    assert estimate(0.0725, (0.0717, 0.0733), 100) == "7.25"
    assert interval((0.0717, 0.0733), 100) == "7.17 – 7.33"
    assert estimate(0.0, (0.0867, 0.115), 100) == "0.0"


def test_no_two_ends_of_an_interval_are_printed_alike():
    rng = np.random.default_rng(0)
    for low in 10 ** rng.uniform(-8, 8, 500):
        ends = low, low * (1 + 10 ** rng.uniform(-9, 1))
        first, second = interval(ends).split(" – ")
        assert first != second
