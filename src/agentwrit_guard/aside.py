"""Work that a request does not wait for to its end: the lookups of shadow mode."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from agentwrit_guard.errors import BrokerUnavailable

MOST: Final = 64
"""Works that may be under way at a time, over all threads and event loops."""

_LOST: Final = 120.0
"""Seconds after which one is taken for lost: its event loop was stopped under it. A lookup ends within `timeout`."""

T = TypeVar("T")


class Aside(Generic[T]):
    """Works are begun at once. One that takes longer than a request will wait goes on alone and tells `late`.

    BrokerUnavailable, and nothing begun, where `MOST` are under way already or the process is at its end.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """For a forked child, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        # Event loops hold their tasks weakly.
        self._under_way: dict[asyncio.Task[T] | concurrent.futures.Future[T], float] = {}

    async def awaited(
        self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float, late: Callable[[T], None]
    ) -> T | None:
        """What `work` gives within `seconds`, else None."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_room()
            task = loop.create_task(work())
            self._under_way[task] = time.monotonic()
        task.add_done_callback(self._leave)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            # Also when the request is cancelled meanwhile.
            if not task.done():
                task.add_done_callback(lambda work: _tell(work, late))
        return task.result() if task.done() else None

    def waited(self, work: Callable[[], T], seconds: float, late: Callable[[T], None]) -> T | None:
        """As `awaited`, in a thread."""
        with self._lock:
            self._check_room()
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(MOST, "agentwrit-shadow")
            try:
                future = self._pool.submit(contextvars.copy_context().run, work)
            except RuntimeError:
                raise BrokerUnavailable("closed", "the process ends, and begins no lookup any more") from None
            self._under_way[future] = time.monotonic()
        future.add_done_callback(self._leave)
        if concurrent.futures.wait({future}, seconds).done:
            return future.result()
        future.add_done_callback(lambda work: _tell(work, late))
        return None

    def close(self) -> None:
        """Let the threads end when their work has. Use after it begins new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _check_room(self) -> None:
        if len(self._under_way) < MOST:
            return
        # What was left in a loop that is closed or stopped will never end.
        now = time.monotonic()
        for work, begun in list(self._under_way.items()):
            if now - begun > _LOST or (isinstance(work, asyncio.Task) and work.get_loop().is_closed()):
                del self._under_way[work]
        if len(self._under_way) >= MOST:
            raise BrokerUnavailable("queue", "too many lookups of shadow mode are under way")

    def _leave(self, work: asyncio.Task[T] | concurrent.futures.Future[T]) -> None:
        with self._lock:
            self._under_way.pop(work, None)


def _tell(work: asyncio.Task[T] | concurrent.futures.Future[T], late: Callable[[T], None]) -> None:
    """Whoever asked is gone: of a work that failed there is nobody to tell."""
    if not work.cancelled() and work.exception() is None:
        late(work.result())
