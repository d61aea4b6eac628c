"""Shadow mode: refusals that are recorded and not acted on, until a day that was said beforehand (threats 1)."""

from __future__ import annotations

import datetime
import re
from typing import Final

from agentwrit_guard.errors import ConfigurationError

SHADOW_WAIT: Final = 0.05
"""Seconds that a request waits for a decision which will not be acted on."""

Until = datetime.date | str | None

_DAY: Final = 86_400
# Newer Pythons read weeks as well.
_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def shadow_end(enforce: bool, until: Until) -> float | None:
    """When a shadow ends, in seconds since the epoch: with the last moment of the day `until`, in UTC. None for none.

    `until` is a date, or its text as in 2027-01-31. ConfigurationError for `enforce=False` without one, and for one
    that nothing asks for: nobody shall find out later that what they have set up does nothing.
    """
    if not isinstance(enforce, bool):
        raise ConfigurationError(f"enforce must be True or False, got {enforce!r}")
    if enforce:
        if until is not None:
            raise ConfigurationError(f"until={until!r} is for enforce=False: it says how long nothing is enforced")
        return None
    if until is None:
        raise ConfigurationError("enforce=False lets refused requests through: say until which day, until='2027-01-31'")
    day = _day(until)
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.timezone.utc)
    return midnight.timestamp() + _DAY


def last_day(end: float) -> str:
    """The day `until` of an end."""
    return datetime.datetime.fromtimestamp(end - _DAY, datetime.timezone.utc).date().isoformat()


def _day(until: Until) -> datetime.date:
    # A datetime is a date to Python. Its hour would be lost.
    if isinstance(until, datetime.date) and not isinstance(until, datetime.datetime):
        return until
    if isinstance(until, str) and _TEXT.fullmatch(until):
        try:
            return datetime.date.fromisoformat(until)
        except ValueError:
            pass
    raise ConfigurationError(f"until must be a day such as 2027-01-31, got {until!r}")
