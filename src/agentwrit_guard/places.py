"""Places for calls to the broker: so many at once in a process, and a line for those who find none (threats X-03).

Threads and event loops stand in the same line, and who goes ahead in it overtakes those of both. Whoever has stood in
it for `patience` seconds leaves it, unless it has moved so fast meanwhile that the call can still be made in time: a
thousand agents after a restart all get in at a broker that is up to it, and nobody waits for one that is not.

What a finalizer may run, giving a place back, gets along with being run in the middle of anything here: hence the
reentrant lock, and a plain lock for each thread that waits instead of an event, whose own lock is not.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable

from agentwrit_guard.core.line import Line, Stand
from agentwrit_guard.errors import BrokerUnavailable


class Place(Stand):
    """A call's place, or its stand in the line for one. Whoever makes it gives it back, whatever came of it."""

    loop: asyncio.AbstractEventLoop | None = None
    wake: Callable[[], object]


class Places:
    """`patience` None waits until the deadline."""

    def __init__(self, count: int, patience: float | None = None) -> None:
        self._count = count
        self._patience = math.inf if patience is None else patience
        self.reset()

    def reset(self) -> None:
        """All free, nobody waiting, a new lock (for a forked child)."""
        self._lock = threading.RLock()
        self._held: set[Place] = set()
        self._line: Line[Place] = Line()

    @property
    def taken(self) -> int:
        self._reclaim()
        return len(self._held)

    @property
    def waiting(self) -> int:
        return len(self._line)

    def take(self, place: Place, deadline: float) -> None:
        """Wait for a place in this thread. BrokerUnavailable (`queue`) if none comes."""
        gate = threading.Lock()
        gate.acquire()
        place.wake = gate.release
        self._enter(place)
        while (seconds := self._waits(place, deadline)) is not None:
            gate.acquire(timeout=seconds)

    async def atake(self, place: Place, deadline: float) -> None:
        """As `take`, in this task."""
        loop = place.loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()
        place.wake = lambda: loop.call_soon_threadsafe(came.set_result, None)
        self._enter(place)
        if place not in self._held:
            # A loop that a thousand newcomers keep busy must come round first: that is not the broker's time.
            await asyncio.sleep(0)
            self._line.begin(place, time.monotonic())
        while (seconds := self._waits(place, deadline)) is not None:
            await asyncio.wait((came,), timeout=seconds)

    def give(self, place: Place) -> None:
        """Hand a place on to whoever is first in the line, or leave the line. Once more does nothing."""
        with self._lock:
            self._line.leave(place)
            self._held.discard(place)
            self._hand_out()

    def _enter(self, place: Place) -> None:
        with self._lock:
            if not self._line and len(self._held) < self._count:
                self._held.add(place)
                return
            self._line.join(place, time.monotonic())
            self._hand_out()

    def _hand_out(self) -> None:
        while len(self._held) < self._count and (place := self._line.next()) is not None:
            self._held.add(place)
            try:
                place.wake()
            except RuntimeError:
                # Its event loop was closed under it.
                self._held.discard(place)

    def _waits(self, place: Place, deadline: float) -> float | None:
        """Seconds until the next look at whether waiting is worth it; None for whoever has the place."""
        if place in self._held:
            return None
        now = time.monotonic()
        stood, left = now - place.since, deadline - now
        if left > 0:
            if stood < self._patience:
                return min(self._patience - stood, left)
            if self._line.moves(place, self._count, now, left):
                return min(self._patience, left)
        self._reclaim()
        if place in self._held:
            return None
        raise BrokerUnavailable("queue", "too many calls to the broker are under way")

    def _reclaim(self) -> None:
        """Take back the places of tasks whose event loop was closed under them: they cannot give them."""
        with self._lock:
            for place in [held for held in self._held if held.loop is not None and held.loop.is_closed()]:
                self._held.discard(place)
            self._hand_out()
