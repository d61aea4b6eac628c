"""When a token wants renewing, on the app's own clock: the broker's may differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Renewed in its last seconds, or in the last third of a short life.
MARGIN: Final = 30.0
_PART: Final = 3
# After a renewal that could not be made, at least this long until the next try.
_PAUSE: Final = 1.0


class Freshness:
    """The life of the token held. `clock` is in monotonic seconds.

    A renewal kills the old token at once (contract 5), so it is not made earlier than needed, and a failed one is not
    repeated by every request that follows.
    """

    __slots__ = ("_clock", "_due", "_ends")

    def __init__(self, clock: Callable[[], float], expires_in: int) -> None:
        self._clock = clock
        self.began(clock(), expires_in)

    def began(self, at: float, expires_in: int) -> None:
        """A token has come that was asked for at `at` and is good for `expires_in` seconds."""
        self._ends = at + expires_in
        self._due = self._ends - min(MARGIN, expires_in / _PART)

    def failed(self) -> None:
        """A renewal could not be made: the next is due after a quarter of what is left."""
        now = self._clock()
        self._due = now + max(_PAUSE, (self._ends - now) / 4)

    def now(self) -> float:
        return self._clock()

    def due_in(self) -> float:
        """Seconds until the token should be renewed, 0 if it should be now."""
        return max(0.0, self._due - self._clock())

    def over(self) -> bool:
        """Whether the token has ended, so that going on with it makes no sense."""
        return self._clock() >= self._ends
