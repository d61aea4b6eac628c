"""The time that the test kit and the guards under test go by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

from agentwrit_guard.testing.guards import each_guard

if TYPE_CHECKING:
    from agentwrit_guard.clock import Clock
    from agentwrit_guard.standing import Standing


_FAR: Final = 1e10


class StoppedClock:
    """Stands still at the time of its making until it is moved. Seconds."""

    def __init__(self) -> None:
        self._wall = time.time()
        self._monotonic = time.monotonic()
        self._clock: Clock | None = None

    @property
    def now(self) -> float:
        """Unix time."""
        return self._wall

    @property
    def clock(self) -> Clock:
        """For `Guard(clock=...)`. Guards that were given none follow this clock without it."""
        from agentwrit_guard.clock import Clock

        if self._clock is None:
            self._clock = Clock(monotonic=lambda: self._monotonic, wall=lambda: self._wall)
        return self._clock

    def move(self, seconds: float) -> None:
        """Go on by so many seconds. ValueError for a way back: tokens do not grow younger."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _FAR:
            raise ValueError(f"a clock moves forward, by so many seconds, got {seconds!r}")
        self._wall += seconds
        self._monotonic += seconds


_running: list[StoppedClock] = []


def now() -> float:
    """Unix seconds by the clock of the running test, the real one if it asked for none."""
    return _running[-1].now if _running else time.time()


def monotonic() -> float:
    return _running[-1]._monotonic if _running else time.monotonic()


@pytest.fixture
def agentwrit_clock() -> Iterator[StoppedClock]:
    """A clock that stands still until `move(seconds)`; `now` is its Unix time.

    It drives every guard of the process that has the real clock, those made during the test too, and
    `agentwrit_broker`, `agentwrit_app` and `fake_principal`. At the end the guards get the real clock back and
    forget what they have cached. Give `clock=agentwrit_clock.clock` to a guard with another clock.
    """
    from agentwrit_guard.clock import Clock

    stopped, real = StoppedClock(), Clock()
    driving = stopped.clock

    def drive(guard: Standing) -> None:
        if guard._clock == real:
            guard._run_on(driving)

    def release(guard: Standing) -> None:
        if guard._clock is driving:
            guard._run_on(real)

    _running.append(stopped)
    try:
        with each_guard(drive, release):
            yield stopped
    finally:
        _running.remove(stopped)
