"""The budget for tokens that nobody here has seen: what a flood of strangers may cost the broker (threats P4).

It refills steadily. A token that the broker confirms gives its share back, so agents never use the budget up,
however many come at once; what the broker rejects is paid for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from agentwrit_guard.errors import BrokerUnavailable


class Budget:
    """`rate` calls a second, `burst` at once. `patience` is how many seconds ahead a call may be promised."""

    def __init__(self, rate: float, burst: int, patience: float, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._debt = rate * patience
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Full, with a new lock (for a forked child)."""
        self._lock = threading.Lock()
        self._left = float(self._burst)
        self._since = self._monotonic()

    @property
    def left(self) -> float:
        """Calls that could be made at once, by what is known without the lock; below 0 some are promised ahead."""
        return min(self._burst, self._left + max(0.0, self._monotonic() - self._since) * self._rate)

    def check(self) -> None:
        """BrokerUnavailable (fault `budget`) if `take` would raise it now."""
        with self._lock:
            self._refill()

    def take(self) -> float:
        """Seconds to wait before the call may be made, 0 as a rule. BrokerUnavailable (fault `budget`) if those are
        more than `patience`."""
        with self._lock:
            self._refill()
            self._left -= 1
            return max(0.0, -self._left / self._rate)

    def refund(self) -> None:
        """Give one call's share back."""
        with self._lock:
            self._left += 1

    def _refill(self) -> None:
        now = self._monotonic()
        self._left = min(self._burst, self._left + max(0.0, now - self._since) * self._rate)
        self._since = now
        if self._left - 1 < -self._debt:
            text = "too many tokens that were never seen here; those seen before go on"
            raise BrokerUnavailable("budget", text)
