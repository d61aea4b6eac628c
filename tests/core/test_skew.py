"""The broker's clock by the Date of its answers: bounds that hold, and nothing from what is no Date."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard.core.skew import Skew, skew

NOON = 1_800_014_400


def date(at: float) -> str:
    return formatdate(at, usegmt=True)


@pytest.mark.parametrize("text, at", [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("Fri, 29 Feb 2036 23:59:59 GMT", 2087942399),
])  # fmt: skip
def test_a_date_is_a_second_of_unix_time(text: str, at: int) -> None:
    assert skew(text, at, 0.0) == Skew(0, 1)


@given(
    broker=st.floats(-400 * 86400, 400 * 86400),
    ours=st.floats(NOON, NOON + 86400),
    trip=st.floats(0, 60),
    share=st.floats(0, 1),
)
def test_the_true_skew_lies_within_the_bounds(broker: float, ours: float, trip: float, share: float) -> None:
    """Whenever on the way the broker looked at its clock."""
    bounds = skew(date(int(ours + share * trip + broker)), ours + trip, trip)
    assert bounds is not None
    assert bounds.low - 1e-5 <= broker <= bounds.high + 1e-5
    assert bounds.high - bounds.low == pytest.approx(1 + trip)
    assert abs(bounds.seconds - broker) <= 0.5 + trip / 2 + 1e-5


@pytest.mark.parametrize("low, high, over", [
    (5.1, 6.1, True), (5.0, 6.0, False), (4.9, 60.0, False), (-60.0, 60.0, False), (-6.1, -5.1, True),
    (-6.0, -5.0, False), (-60.0, -4.9, False),
])  # fmt: skip
def test_a_skew_is_over_a_limit_only_where_both_bounds_are(low: float, high: float, over: bool) -> None:
    assert Skew(low, high).over(5.0) is over


@pytest.mark.parametrize("text", [
    "", "now", "1800014400", "2027-01-15T12:00:00Z", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
    "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37 UTC",
    "sun, 06 nov 1994 08:49:37 gmt", " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT\n",
    "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:60 GMT",
    "Sun, 06 Xxx 1994 08:49:37 GMT", "Sun, 06 Nov 19945 08:49:37 GMT", "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
])  # fmt: skip
def test_what_is_no_date_says_nothing(text: str) -> None:
    assert skew(text, NOON, 0.0) is None


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    skew(text, NOON, 0.0)
