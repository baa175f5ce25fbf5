"""Numbers as people read them."""

import math

import pytest

from bench.analysis import formatting
from bench.analysis.formatting import MICROSECONDS, MILLISECONDS, SECONDS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.000201087, "201 µs"),
        (0.0009996, "1,000 µs"),
        (0.00123456, "1.23 ms"),
        (0.0253, "25.3 ms"),
        (0.999, "999 ms"),
        (1.5, "1.50 s"),
        (7200.0, "7,200 s"),
        (0.0, "0 ms"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "not reached"),
        (-math.inf, "–"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_one_unit_for_a_column() -> None:
    assert formatting.fitting_unit([0.0002, 0.0004, 0.9]) == MICROSECONDS
    assert formatting.fitting_unit([0.002, 0.0004, 0.9]) == MILLISECONDS
    assert formatting.fitting_unit([2.0, math.nan]) == SECONDS
    assert formatting.fitting_unit([math.nan, 0.0]) == MILLISECONDS
    assert formatting.duration(0.9, MICROSECONDS) == "900,000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (51354.3, "51,354"),
        (42.13, "42.1"),
        (9.996, "10.0"),
        (0.35123, "0.351"),
        (999.96, "1,000"),
        (0, "0"),
        (-2.345, "-2.35"),
    ],
)
def test_rates_have_three_digits(value: float, text: str) -> None:
    assert formatting.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "100 %"),
        (0.99999, ">99.9 %"),
        (0.000001, "<0.01 %"),
        (0.00123, "0.123 %"),
        (0.1234, "12.3 %"),
        (math.nan, "–"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(value: float, text: str) -> None:
    assert formatting.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00871, "0.0087"), (2e-7, "2e-07"), (41.3, "41"), (99.4, "99"), (99.9, "100"), (1500.4, "1,500")],
)
def test_differences_without_a_sign_have_two_digits(value: float, text: str) -> None:
    """All requests failed: `1e+02 points over it`."""
    assert formatting.difference(value) == text


def test_differences_have_a_sign_and_no_digit_beyond_a_thousandth() -> None:
    like = [0.00202, 0.00253]
    assert [formatting.signed(value, like) for value in (0.00051, -0.00051, 0.0000001, 0.0)] == [
        "+0.51 ms",
        "-0.51 ms",
        "0 ms",
        "0 ms",
    ]
    assert formatting.signed(0.0198, [0.0312], name=False) == "+19.8"
    assert formatting.signed(0.4, like, sign=False) == "400.00 ms"
    assert formatting.signed(0.0, [0.0, 0.0]) == "0 ms"
