"""What `Guard.stats` gives: the state of one guard in one process, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from agentwrit_guard.core.breaker import State


@dataclass(frozen=True)
class Stats:
    """Counts begin with the guard, and anew in a forked child. Under threads they may be a little short."""

    uptime: float
    """Seconds that this guard has counted for."""
    cached: int
    """Tokens decided on what the cache held: an identity, or the broker's no of a moment ago."""
    lookups: int
    """Tokens that only the broker could judge. Equal ones at a time share a validation."""
    valid: int
    """Validations that the broker was asked for and answered with yes."""
    invalid: int
    """Validations that it answered with no."""
    unavailable: int
    """Validations that brought no usable answer. What breaker, budget or line held back was not asked."""
    in_flight: int
    """Calls to the broker now, of all threads and event loops: at most `max_in_flight`."""
    waiting: int
    """Calls that stand in line for a place."""
    identities: int
    """Identities kept, those past their time included until others need the room: at most `cache_size`."""
    rejected: int
    """Tokens kept as rejected by the broker, in the same way."""
    tombstones: int
    """Tokens that were valid here and then rejected; they stay out until their `exp`."""
    denied: int
    """Deny entries made by `Guard.deny`."""
    denied_by_file: int
    """Deny entries of the `deny_file`."""
    breaker: State
    """`closed` lets calls through, `open` none, `half_open` one to find out."""
    degraded: bool
    """The breaker is not closed: cached agents go on, and new ones get 503. It does not make a service unready."""
    budget_left: float
    """Calls for unknown tokens that could be made at once; below 0 some are promised for the next moment."""
    answered: float | None
    """Seconds since the broker's last yes or no; None before the first."""
    clock_skew: float | None
    """Seconds that the broker's clock is ahead of this one's by its last usable answer, negative if it is behind; None
    before one with a Date. Off by at most half a second and half of that round trip."""
