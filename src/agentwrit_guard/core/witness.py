"""What is seen of an engine's work: numbers, and one event for each validation that the broker was asked for.

Nothing here is read by what decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.skew import Skew, skew
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable

Outcome = Literal["valid", "invalid", "unavailable"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("valid", "invalid", "unavailable")

VALIDATION_EVENT_VERSION: Final = 1
SKEWED: Final = 5.0
"""Seconds beyond which a difference of clocks is told of: the leeway that a token's `nbf` has."""

T = TypeVar("T")


@dataclass(frozen=True)
class ValidationEvent:
    """One validation that the broker was asked for, told once however many requests waited for it.

    Frozen and without token bytes; fields are only ever added. What breaker, budget or line kept from being asked is
    no validation: it shows as decisions with the reasons `breaker_open`, `over_budget` and `broker_busy`.
    """

    outcome: Outcome
    """`unavailable` is no usable answer, whatever the cause."""
    fault: str | None
    """With `unavailable`, the word for the cause from the closed list of `BrokerUnavailable`."""
    seconds: float
    """From the start of the call to its end, with the wait for a place and a second try."""
    started: float
    """Unix time of that start, by the guard's clock."""
    retried: bool
    """The first try broke off without any answer, so another was to follow."""
    clock_skew: float | None
    """Seconds that the broker's clock is ahead of ours, negative if it is behind; None without a usable Date."""
    version: int = VALIDATION_EVENT_VERSION


class Asking:
    """One validation under way."""

    def __init__(self, started: Instant, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self.started: Instant = started
        self.tries: int = 0
        self.skew: Skew | None = None
        self._monotonic = monotonic
        self._wall = wall
        self._left: float | None = None

    def watched(self, flow: Flow[T]) -> Flow[T]:
        """The flow as it is, with a look at what goes out and comes in."""
        try:
            request = next(flow)
            while True:
                try:
                    reply = yield self._leaving(request)
                except BrokerUnavailable as fault:
                    request = flow.throw(fault)
                else:
                    self._came(reply)
                    request = flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    def _leaving(self, request: BrokerRequest) -> BrokerRequest:
        self.tries += 1

        def leave() -> float:
            # The wait for a place is over: what it took is not taken for the way to the broker.
            seconds = request.leave() if request.leave else 0.0
            self._left = self._monotonic()
            return seconds

        return dataclasses.replace(request, leave=leave)

    def _came(self, reply: BrokerReply) -> None:
        date = reply.headers.get("date")
        if date is None or self._left is None:
            self.skew = None
        else:
            self.skew = skew(date, self._wall(), max(0.0, self._monotonic() - self._left))


class Witness:
    """Counts for `Guard.stats`, and tells of validations.

    The counts are incremented without a lock: threads of an interpreter without a GIL may lose one now and then.
    `notice` is told the name and text of an event, `told` each validation.
    """

    __slots__ = (
        "_monotonic", "_notice", "_told", "_wall", "answered", "cached", "lookups", "outcomes", "since", "skew",
    )  # fmt: skip

    def __init__(
        self,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        notice: Callable[[str, str], None],
        told: Callable[[ValidationEvent], None],
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._notice = notice
        self._told = told
        self.reset()

    def reset(self) -> None:
        """Begin anew (for a forked child)."""
        self.since: float = self._monotonic()
        self.cached: int = 0
        self.lookups: int = 0
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.answered: float | None = None
        self.skew: Skew | None = None

    def asking(self, started: Instant) -> Asking:
        return Asking(started, self._monotonic, self._wall)

    def ended(self, asking: Asking, outcome: Outcome, fault: str | None = None) -> None:
        """Count a validation and tell of it. Call it when all is settled: whoever is told may ask the guard again."""
        now, seen = self._monotonic(), None
        self.outcomes[outcome] += 1
        if outcome != "unavailable":
            # The Date of an error page is that of whoever made it.
            self.answered, seen = now, asking.skew
        if seen is not None:
            self.skew = seen
            if seen.over(SKEWED):
                self._notice("clock_skew", _advice(seen.seconds))
        seconds = max(0.0, now - asking.started.monotonic)
        figure = None if seen is None else seen.seconds
        event = ValidationEvent(outcome, fault, seconds, asking.started.wall, asking.tries > 1, figure)
        self._told(event)


def _advice(seconds: float) -> str:
    if seconds > 0:
        where, effect = "ahead of", "new tokens are refused as not_yet_valid at first"
    else:
        where, effect = "behind", "tokens expire here that much too soon"
    return f"the broker's clock is {abs(seconds):.0f} s {where} this host's: {effect}; set both by one time source"
