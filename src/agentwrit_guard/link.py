"""The two runners that know sync from async: they carry a `Flow` to the broker and back (threats B).

Both hold one pooled client, opened on first use, and give every call one total deadline that bounds name
resolution, connecting, waiting for a free connection and a dripping answer alike. Nothing comes from the
environment, no redirect is followed, no encoding is accepted, and an answer is read up to 64 KiB.

Equal lookups share one call. Sync: a `Future` in a pool of threads. Async: a task of its own, so that a cancelled
caller cancels only itself. A call is joined only while the caller finds it young enough and its deadline lies ahead.
"""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import httpx

from agentwrit_guard.core.cache import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.exchange import (
    FAULTS,
    Exchange,
    as_reply,
    bounded,
    client_settings,
    closed,
    grown,
    uncoded,
    unlogged,
)
from agentwrit_guard.tls import Tls
from agentwrit_guard.transport import AsyncTransport, LinkOptions, Transport, clip

T = TypeVar("T")
Pending = TypeVar("Pending", bound="concurrent.futures.Future[Any] | asyncio.Task[Any]")


@dataclass(frozen=True)
class _Call(Generic[Pending]):
    """A lookup in flight: what its callers wait for, when it began, and when they give up."""

    pending: Pending
    started: Instant
    deadline: float

    def joinable(self, now: Instant, max_age: float) -> bool:
        """Whether a caller who read the clocks at `now` may wait for this call instead of making one."""
        if max_age <= 0 or self.pending.done() or time.monotonic() >= self.deadline:
            return False
        # Of two callers who race, the second may have read the clocks before the first one's call began.
        return now.monotonic < self.started.monotonic or self.started.age(now) < max_age


class _Runner(abc.ABC):
    """What both runners have: options, TLS context, and a way to begin anew after a fork."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._talk = Exchange(options)
        self._tls = options.tls()
        _LINKS.add(self)
        self._reset()

    @abc.abstractmethod
    def _reset(self) -> None:
        """Forget sockets, threads and calls, without closing what a parent process still uses."""


_LINKS: weakref.WeakSet[_Runner] = weakref.WeakSet()


def _after_fork() -> None:
    for link in list(_LINKS):
        link._tls.reset()
        link._reset()


# Absent where there is no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork)


class Link(_Runner):
    """The sync runner. Threads may share it."""

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[bytes, _Call[concurrent.futures.Future[Any]]] = {}
        self._client: httpx.Client | None = None
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._opening = 0

    def run(self, flow: Flow[T], *, timeout: float | None = None) -> T:
        """What the flow returns. The caller is free at the deadline, even while a name is still being resolved."""
        deadline = time.monotonic() + (self._options.timeout if timeout is None else timeout)
        with self._lock:
            pending, here = self._submitted(flow, deadline)
        here()
        return self._wait(pending, deadline)

    def share(
        self, key: bytes | Callable[[], bytes], start: Callable[[], Flow[T]], *, now: Instant, max_age: float
    ) -> T:
        """What `start()` returns, or what a call for the same key that is younger than `max_age` seconds returns.

        A key that changes when its call ends is given as a function, to be read while nobody else can begin a call.
        """
        with self._lock:
            name = key() if callable(key) else key
            call: _Call[concurrent.futures.Future[T]] | None = self._calls.get(name)
            begun, here = None, _nothing
            if call is None or not call.joinable(now, max_age):
                # The call that was found may have ended since its key was read.
                name = key() if callable(key) else key
                deadline = time.monotonic() + self._options.timeout
                pending, here = self._submitted(start(), deadline)
                begun = call = self._calls[name] = _Call(pending, now, deadline)
        if begun is not None:
            begun.pending.add_done_callback(lambda _: self._forget(name, begun))
        here()
        return self._wait(call.pending, call.deadline)

    def close(self) -> None:
        """Close the connections. The next flow opens new ones."""
        with self._lock:
            client, workers = self._client, self._pool
            self._client, self._pool, self._calls = None, None, {}
            self._opening += 1
        if workers is not None:
            workers.shutdown(wait=False)
        if client is not None:
            client.close()

    def _forget(self, key: bytes, call: _Call[concurrent.futures.Future[Any]]) -> None:
        with self._lock:
            if self._calls.get(key) is call:
                del self._calls[key]

    def _wait(self, pending: concurrent.futures.Future[T], deadline: float) -> T:
        try:
            return pending.result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            fault = self._talk.late()
        raise fault

    def _submitted(self, flow: Flow[T], deadline: float) -> tuple[concurrent.futures.Future[T], Callable[[], None]]:
        """What the flow will come to, and what the caller has to run without the lock: nothing, as a rule.

        An interpreter that is ending starts no threads, so there the flow runs in the caller's own.
        """
        opening = self._opening
        try:
            return self._workers().submit(self._drive, flow, deadline, opening), _nothing
        except RuntimeError:
            pending: concurrent.futures.Future[T] = concurrent.futures.Future()

        def here() -> None:
            try:
                pending.set_result(self._drive(flow, deadline, opening))
            except BaseException as error:
                pending.set_exception(error)

        return pending, here

    def _workers(self) -> concurrent.futures.ThreadPoolExecutor:
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self._options.max_in_flight, "agentwrit-link")
        return self._pool

    def _drive(self, flow: Flow[T], deadline: float, opening: int) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    reply = self._exchange(request, deadline, opening)
                except BrokerUnavailable as fault:
                    request = flow.throw(fault)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    def _exchange(self, request: BrokerRequest, deadline: float, opening: int) -> BrokerReply:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise self._talk.late()
        clip(deadline)
        try:
            with (
                unlogged(),
                self._opened(opening).stream(**self._talk.arguments(request), timeout=remaining) as response,
            ):
                return as_reply(response, b"".join(bounded(uncoded(response).iter_raw())))
        except FAULTS as error:
            fault = self._talk.fault(error)
        # Raised out here, so that the library's error, which holds the request and so the token, is not its context.
        raise fault

    def _opened(self, opening: int) -> httpx.Client:
        with self._lock:
            if opening != self._opening:
                raise closed()
            if self._client is None:
                self._client = httpx.Client(transport=Transport(self._options, self._tls), **client_settings())
            return self._client


def _nothing() -> None:
    return None


class AsyncLink(_Runner):
    """The async runner (asyncio). Each event loop has its own client and calls; a loop that ends takes them along."""

    async def run(self, flow: Flow[T], *, timeout: float | None = None) -> T:
        """What the flow returns, in at most `timeout` seconds."""
        return await self._drive(flow, time.monotonic() + (self._options.timeout if timeout is None else timeout))

    async def share(
        self, key: bytes | Callable[[], bytes], start: Callable[[], Flow[T]], *, now: Instant, max_age: float
    ) -> T:
        """As `Link.share`; a caller that is cancelled leaves the call and the others alone."""
        calls, name = self._here().calls, key() if callable(key) else key
        call: _Call[asyncio.Task[T]] | None = calls.get(name)
        if call is None or not call.joinable(now, max_age):
            deadline = time.monotonic() + self._options.timeout
            task = asyncio.get_running_loop().create_task(self._drive(start(), deadline))
            call = _Call(task, now, deadline)
            calls[name] = call
            started = call
            task.add_done_callback(lambda _: _forget(calls, name, started))
        # Not shield: of a caller and a call that are cancelled together, only the caller's end may count for it.
        await asyncio.wait((call.pending,))
        if call.pending.cancelled():
            raise closed()
        return call.pending.result()

    async def drain(self) -> None:
        """Wait for the shared calls of this event loop, for each until its deadline at most."""
        here = self._loops.get(asyncio.get_running_loop())
        for call in [] if here is None else list(here.calls.values()):
            await asyncio.wait((call.pending,), timeout=max(0.0, call.deadline - time.monotonic()))

    async def aclose(self) -> None:
        """Close what this event loop opened. The next flow opens anew."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is None:
            return
        tasks = [call.pending for call in here.calls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await here.keeper.aclose()

    def _reset(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, _Here] = {}

    def _here(self) -> _Here:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            # A loop that has ended closed what it opened; only its entry is left.
            for ended in [other for other in list(self._loops) if other.is_closed()]:
                self._loops.pop(ended, None)
            here = self._loops[loop] = _Here(
                _keep(self._options, self._tls), asyncio.Semaphore(self._options.max_in_flight), {}
            )
        return here

    async def _drive(self, flow: Flow[T], deadline: float) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    reply = await self._exchange(request, deadline)
                except BrokerUnavailable as fault:
                    request = flow.throw(fault)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    async def _exchange(self, request: BrokerRequest, deadline: float) -> BrokerReply:
        try:
            return await asyncio.wait_for(self._placed(request), max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            fault = self._talk.late()
        except FAULTS as error:
            fault = self._talk.fault(error)
        raise fault

    async def _placed(self, request: BrokerRequest) -> BrokerReply:
        # The queue stands here and not in the HTTP library's pool, whose every step looks at all that wait in it.
        here = self._here()
        async with here.places:
            return await self._fetch(request, here)

    async def _fetch(self, request: BrokerRequest, here: _Here) -> BrokerReply:
        if here.client is None:
            here.client = await here.keeper.__anext__()
        with unlogged():
            async with here.client.stream(**self._talk.arguments(request), timeout=None) as response:
                chunks = []
                size = 0
                async with contextlib.aclosing(_raw(response)) as raw:
                    async for chunk in raw:
                        size = grown(size, chunk)
                        chunks.append(chunk)
                return as_reply(response, b"".join(chunks))


def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The answer's bytes: a generator, whatever the library promises, and so to be closed if it is left early."""
    return cast("AsyncGenerator[bytes, None]", uncoded(response).aiter_raw())


@dataclass
class _Here:
    """What one event loop has opened."""

    keeper: AsyncGenerator[httpx.AsyncClient, None]
    places: asyncio.Semaphore
    calls: dict[bytes, _Call[asyncio.Task[Any]]]
    client: httpx.AsyncClient | None = None


async def _keep(options: LinkOptions, tls: Tls) -> AsyncGenerator[httpx.AsyncClient, None]:
    """Holds a client open. A loop that shuts down closes its generators, so that none of its sockets outlives it,
    whether anyone called `aclose` or not: test clients run a loop for each request."""
    async with httpx.AsyncClient(transport=AsyncTransport(options, tls), **client_settings()) as client:
        yield client


def _forget(calls: dict[bytes, _Call[asyncio.Task[Any]]], key: bytes, call: _Call[asyncio.Task[Any]]) -> None:
    if calls.get(key) is call:
        del calls[key]
    if not call.pending.cancelled():
        # Every caller may have gone: an error that nobody awaits is not worth asyncio's complaint.
        call.pending.exception()
