"""Times as the broker writes them: UTC with `Z`, whole seconds or nanoseconds without trailing zeros."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

LAST = 253402300799
"""The last second that a four-digit year can show: what lies beyond is written as this."""

ZERO = "0001-01-01T00:00:00Z"
"""What a record without `delegated_at` is given when its claims are written again."""

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]+))?(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))"
)


def seconds(now: float) -> str:
    """RFC 3339, whole seconds: apps and launch tokens."""
    return datetime.fromtimestamp(math.floor(now), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def nanoseconds(now: float) -> str:
    """RFC 3339 with up to nine digits: delegation records and audit events (contract section 6)."""
    whole = math.floor(now)
    return f"{seconds(whole)[:-1]}{_fraction(f'{int((now - whole) * 1e9):09d}')}Z"


def epoch(text: str) -> float | None:
    """Unix seconds of an RFC 3339 text, or None where it does not parse."""
    parts = _RFC3339.fullmatch(text)
    if parts is None or not _in_range(parts):
        return None
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    if year == 0:
        return None
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
    shift = (int(parts[10]) * 3600 + int(parts[11]) * 60) * (-1 if parts[9] == "-" else 1) if parts[9] else 0
    return moment + float(f"0.{parts[7] or 0}") - shift


def rewritten(text: str) -> str:
    """A record's time as validate writes it again: trailing zeros gone, offset kept. ValueError if it is none."""
    parts = _RFC3339.fullmatch(text)
    if parts is None or not _in_range(parts):
        raise ValueError("not an RFC 3339 time")
    zone = "Z" if parts[8] or (parts[10], parts[11]) == ("00", "00") else f"{parts[9]}{parts[10]}:{parts[11]}"
    return f"{text[:19]}{_fraction((parts[7] or '')[:9])}{zone}"


def _fraction(digits: str) -> str:
    kept = digits.rstrip("0")
    return f".{kept}" if kept else ""


def _in_range(parts: re.Match[str]) -> bool:
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    try:
        # The broker knows a year 0, a leap year; datetime does not.
        datetime(year or 2000, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return False
    return parts[9] is None or (int(parts[10]) < 24 and int(parts[11]) < 60)
