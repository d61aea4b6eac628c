"""The sync runner: its calls run in a pool of threads."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from agentwrit_guard.core.cache import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.exchange import FAULTS, as_reply, bounded, client_settings, closed, uncoded, unlogged
from agentwrit_guard.link.call import Call
from agentwrit_guard.link.runner import Runner
from agentwrit_guard.transport import Transport, clip

T = TypeVar("T")


class Link(Runner):
    """The sync runner. Threads may share it."""

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[bytes, Call[concurrent.futures.Future[Any]]] = {}
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
            call: Call[concurrent.futures.Future[T]] | None = self._calls.get(name)
            begun, here = None, _nothing
            if call is None or not call.joinable(now, max_age):
                # The call that was found may have ended since its key was read.
                name = key() if callable(key) else key
                deadline = time.monotonic() + self._options.timeout
                pending, here = self._submitted(start(), deadline)
                begun = call = self._calls[name] = Call(pending, now, deadline)
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

    def _forget(self, key: bytes, call: Call[concurrent.futures.Future[Any]]) -> None:
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
