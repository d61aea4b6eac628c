"""One moment on both clocks."""

from __future__ import annotations

import math
from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    monotonic: float
    wall: float

    def age(self, now: Instant) -> float:
        """Seconds since this moment, by the clock that says more; infinite if the wall clock has run backwards."""
        monotonic, wall = now[0] - self[0], now[1] - self[1]
        if wall < 0:
            return math.inf
        return wall if wall > monotonic else monotonic
