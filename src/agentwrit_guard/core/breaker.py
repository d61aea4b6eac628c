"""The circuit breaker before the broker (threats section 2): after some failures in a row nobody is sent there.

It opens after `failures` in a row, for 1 to 30 s, longer each time and never for quite the same time in two processes.
Then one call, the probe, finds out whether the broker is back; everybody else is still refused. A 429 opens it
at once, for as long as the broker asks. It counts calls, not callers, and what a call from before it last opened
comes to tells it nothing.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import Final, Literal

from agentwrit_guard.errors import BrokerUnavailable

SHORTEST: Final = 1.0
LONGEST: Final = 30.0

State = Literal["closed", "open", "half_open"]


class Pass:
    """Leave to make one call, once it is `taken`. Say how the call went; `ended` takes back what nobody spoke of."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._open = False
        self.era: object = None
        """When it was taken: what is reported in another era is not heard."""

    def taken(self) -> None:
        """Take it, or have it already. BrokerUnavailable as from `Breaker.check`."""
        if self.era is None:
            self.era = self._breaker._admit()
            self._open = True

    def succeeded(self) -> None:
        """The broker answered."""
        self._once(lambda: self._breaker._close(self))

    def failed(self, fault: BrokerUnavailable) -> None:
        self._once(lambda: self._breaker._fail(self, fault))

    def ended(self) -> None:
        """The call came to nothing that tells of the broker: cancelled, say. Without effect after a report."""
        self._once(lambda: self._breaker._give_up(self))

    def _once(self, report: Callable[[], None]) -> None:
        if self._open:
            self._open = False
            report()


class Breaker:
    """`monotonic` is in seconds, `dice` gives numbers from 0 to 1, `notice` is told of each turn."""

    def __init__(
        self,
        failures: int,
        monotonic: Callable[[], float],
        notice: Callable[[str, str], None],
        *,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._limit = failures
        self._monotonic = monotonic
        self._notice = notice
        self._dice = dice
        self.reset()

    def reset(self) -> None:
        """Closed, with a new lock (for a forked child)."""
        # Reentrant: a call that is collected unfinished reports its end in the middle of anything.
        self._lock = threading.RLock()
        self._era = object()
        self._failures = 0
        self._openings = 0
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        # Read once: whoever looks holds no lock, and another thread may close it meanwhile.
        until = self._until
        if until is None:
            return "closed"
        return "half_open" if self._probing or self._monotonic() >= until else "open"

    def check(self) -> None:
        """BrokerUnavailable (fault `breaker`), with the time to come back, while nobody may call the broker."""
        with self._lock:
            if self._until is None:
                return
            now = self._monotonic()
            # Neither a clock that was set back nor a probe that is never heard of keeps it open for longer.
            self._until = min(self._until, now + LONGEST)
            if now >= self._until:
                return
            seconds = SHORTEST if self._probing else math.ceil(self._until - now)
        text = "the broker failed too often, or asked for a pause, and is left alone for a while"
        raise BrokerUnavailable("breaker", text, retry_after=seconds)

    def _admit(self) -> object:
        """The era of a call that may be made: of its own for the one that finds out, when it is time for that."""
        with self._lock:
            self.check()
            if self._until is not None:
                self._era, self._until, self._probing = object(), self._monotonic() + LONGEST, True
            return self._era

    def _close(self, call: Pass) -> None:
        with self._lock:
            if call.era is not self._era:
                return
            was_open = self._until is not None
            self._failures = self._openings = 0
            self._until, self._probing = None, False
        if was_open:
            self._notice("breaker_closed", "the broker answers again; new tokens are validated")

    def _fail(self, call: Pass, fault: BrokerUnavailable) -> None:
        with self._lock:
            if call.era is not self._era:
                return
            self._failures += 1
            limited = fault.status == 429
            if self._failures < self._limit and not limited and not self._probing:
                return
            asked = fault.retry_after if limited else None
            seconds = self._back_off() if asked is None else min(max(asked, SHORTEST), LONGEST)
            again = self._probing
            self._era, self._until, self._probing = object(), self._monotonic() + seconds, False
        if not again:
            self._notice("breaker_opened", f"{fault}; tokens not seen before get 503 until the broker answers again")

    def _give_up(self, call: Pass) -> None:
        with self._lock:
            if self._probing and call.era is self._era:
                self._until, self._probing = self._monotonic(), False

    def _back_off(self) -> float:
        """Of 2 s, 4 s, 8 s and so on up to 30 s, all but up to a half by chance."""
        longest = min(LONGEST, SHORTEST * 2.0 ** min(self._openings + 1, 10))
        self._openings += 1
        return longest * (1 - self._dice() / 2)
