"""A clock that tests move, for both of a guard's clocks."""

from __future__ import annotations

from agentwrit_guard import Clock
from tests.kit.tokens import NOW


class MovableClock:
    def __init__(self, wall: float = NOW + 1) -> None:
        self.wall = wall
        self.monotonic = 1000.0

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)
