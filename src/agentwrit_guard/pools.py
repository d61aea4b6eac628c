"""One pool for each connection: so many calls at a time, and each finds its connection at once.

A pool of many looks at all of its connections for every request, and at each of them against all the others: with 32
that costs more than the request. Here the connection that was used last is used first, and one that has been idle
for too long is closed by the next request.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Generic, TypeVar, cast

import httpcore

KEEPALIVE: Final = 60.0

Pool = TypeVar("Pool")


class _Shelf(Generic[Pool]):
    """Pools of one connection each, as many as are in use at a time, and those that are idle."""

    def __init__(self, make: Callable[[], Pool]) -> None:
        self._make = make
        self._idle: deque[tuple[float, Pool]] = deque()
        self._spent: deque[Pool] = deque()
        self._made: set[Pool] = set()

    @property
    def ready(self) -> bool:
        """Whether a pool is idle."""
        return bool(self._idle)

    def take(self) -> Pool:
        try:
            return self._idle.pop()[1]
        except IndexError:
            pool = self._make()
            self._made.add(pool)
            return pool

    def put(self, pool: Pool) -> None:
        """Give a pool back. One whose connection is neither idle nor closed was left in the middle, by a deadline: it
        would take every request that comes, and answer none."""
        if _whole(pool):
            self._idle.append((time.monotonic(), pool))
        else:
            self._spent.append(pool)

    def spent(self) -> list[Pool]:
        """Pools that are of no use any more, or have been idle for too long; they are the caller's to close."""
        found = [self._spent.popleft() for _ in range(len(self._spent))]
        with contextlib.suppress(IndexError):
            since, pool = self._idle.popleft()
            if time.monotonic() - since < KEEPALIVE:
                self._idle.appendleft((since, pool))
            else:
                found.append(pool)
        self._made.difference_update(found)
        return found

    def all(self) -> list[Pool]:
        return list(self._made)


def _whole(pool: Any) -> bool:
    """Whether its one connection can take a request, or is gone, and nobody's request is left in it."""
    return not pool._requests and all(each.is_idle() or each.is_closed() for each in pool.connections)


class Pools:
    """For threads. Close each response."""

    def __init__(self, make: Callable[[], httpcore.ConnectionPool]) -> None:
        self._shelf = _Shelf(make)

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        for old in self._shelf.spent():
            with contextlib.suppress(Exception):
                old.close()
        pool = self._shelf.take()
        try:
            response = pool.handle_request(request)
        except BaseException:
            self._shelf.put(pool)
            raise
        response.stream = _Lent(cast("Any", response.stream), lambda: self._shelf.put(pool))
        return response

    @property
    def ready(self) -> bool:
        """Whether there is a connection that was opened for another request, and is idle."""
        return self._shelf.ready

    def close(self) -> None:
        for pool in self._shelf.all():
            pool.close()


class AsyncPools:
    """For tasks of one event loop. Close each response."""

    def __init__(self, make: Callable[[], httpcore.AsyncConnectionPool]) -> None:
        self._shelf = _Shelf(make)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        for old in self._shelf.spent():
            with contextlib.suppress(Exception):
                await old.aclose()
        pool = self._shelf.take()
        try:
            response = await pool.handle_async_request(request)
        except BaseException:
            self._shelf.put(pool)
            raise
        response.stream = _AsyncLent(cast("Any", response.stream), lambda: self._shelf.put(pool))
        return response

    async def aclose(self) -> None:
        for pool in self._shelf.all():
            await pool.aclose()


class _Lent:
    """The body of an answer. Its pool is idle again when it has been closed, whatever came of that, and only once."""

    def __init__(self, body: Any, back: Callable[[], None]) -> None:
        self._body = body
        self._back: Callable[[], None] | None = back

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        back, self._back = self._back, None
        try:
            self._body.close()
        finally:
            if back is not None:
                back()


class _AsyncLent:
    def __init__(self, body: Any, back: Callable[[], None]) -> None:
        self._body = body
        self._back: Callable[[], None] | None = back

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast("AsyncIterator[bytes]", self._body.__aiter__())

    async def aclose(self) -> None:
        back, self._back = self._back, None
        try:
            await self._body.aclose()
        finally:
            if back is not None:
                back()
