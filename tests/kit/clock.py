"""Clocks that tests move."""

from __future__ import annotations

from agentwrit_guard import Clock
from tests.kit.tokens import NOW


class Time:
    """The time as a function, for the twin and its clients. It stands still until `now` is set."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class MovableClock:
    """Both of a guard's clocks."""

    def __init__(self, wall: float = NOW + 1) -> None:
        self.wall = wall
        self.monotonic = 1000.0

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)
