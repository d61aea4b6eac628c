"""How far the broker's clock is from ours, by the Date of an answer (RFC 9110, 6.6.1).

A Date names a whole second, and was written at some moment between the request's leaving and the answer's coming. So
one answer gives two bounds and no figure: they lie apart by that second and the round trip.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final, NamedTuple

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The one form that is sent; the two older ones of RFC 9110, 5.6.7, are not worth a parser.
_DATE: Final = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


class Skew(NamedTuple):
    """The broker's clock less ours lies between these, in seconds: positive where the broker's is ahead."""

    low: float
    high: float

    @property
    def seconds(self) -> float:
        """The middle. It is off by at most half a second and half of the round trip."""
        return (self.low + self.high) / 2

    def over(self, limit: float) -> bool:
        """Whether the clocks differ by more than `limit` seconds, however the answer's moment is taken."""
        return self.low > limit or self.high < -limit


def skew(date: str, came: float, trip: float) -> Skew | None:
    """`came` is our unix time of the answer, `trip` the seconds since its request left. None for what is no Date."""
    second = _unix(date)
    return None if second is None else Skew(second - came, second + 1 - came + trip)


def _unix(date: str) -> float | None:
    match = _DATE.fullmatch(date)
    if match is None:
        return None
    day, month, *rest = match.groups()
    year, hour, minute, second = map(int, rest)
    try:
        moment = datetime(year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment.timestamp()
