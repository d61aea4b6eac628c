"""The time that a guard goes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agentwrit_guard.core.instant import Instant


@dataclass(frozen=True)
class Clock:
    """Both clocks of a guard, in seconds. Give your own in tests; deadlines of broker calls keep the real one."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> Instant:
        # As Instant(...) would, without its __new__: this is part of every decision.
        return tuple.__new__(Instant, (self.monotonic(), self.wall()))
