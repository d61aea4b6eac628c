"""Scopes as the broker reads them (contract section 8).

Written a second time on purpose: the guard has its own, and a mistake shared by both would pass every test.
"""

from __future__ import annotations

from collections.abc import Iterable


def well_formed(scope: str) -> bool:
    """Whether `scope` has three parts, none empty; everything after the second colon is the identifier."""
    parts = scope.split(":", 2)
    return len(parts) == 3 and all(parts)


def covers(held: str, requested: str) -> bool:
    """Whether one held scope covers one requested scope: text equality, and `*` only as a whole identifier."""
    if not (well_formed(held) and well_formed(requested)):
        return False
    *held_family, held_identifier = held.split(":", 2)
    *family, identifier = requested.split(":", 2)
    return held_family == family and held_identifier in ("*", identifier)


def covers_all(held: Iterable[str], requested: Iterable[str]) -> bool:
    """Whether every requested scope is covered by some held one; trivially true for an empty request."""
    holdings = list(held)
    return all(any(covers(one, wanted) for one in holdings) for wanted in requested)


def bracketed(scopes: Iterable[str]) -> str:
    """The broker's way to print a list in details: `[read:data:* write:data:*]`."""
    return f"[{' '.join(scopes)}]"
