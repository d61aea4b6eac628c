"""The sync runner: callers drive their flows themselves, and a pool of threads does what may block for too long."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import httpcore

from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.exchange import FAULTS, as_reply, bounded, closed, uncoded, unlogged
from agentwrit_guard.link.call import Call
from agentwrit_guard.link.errand import Errand
from agentwrit_guard.link.runner import Runner
from agentwrit_guard.places import Place
from agentwrit_guard.transport import Transport, clip

T = TypeVar("T")

Make = Callable[[Transport, httpcore.Request], httpcore.Response | None]


class Link(Runner):
    """The sync runner. Threads may share it."""

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[bytes, Call[concurrent.futures.Future[Any]]] = {}
        self._transport: Transport | None = None
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._opening = 0

    def run(self, flow: Flow[T], *, timeout: float | None = None) -> T:
        """What the flow returns. The caller is free at the deadline, even while a name is still being resolved."""
        deadline = time.monotonic() + (self._options.timeout if timeout is None else timeout)
        return self._drive(flow, deadline, self._opening)

    def share(
        self, key: bytes | Callable[[], bytes], start: Callable[[], Flow[T]], *, now: Instant, max_age: float
    ) -> T:
        """What `start()` returns, or what a call for the same key that is younger than `max_age` seconds returns.

        A key that changes when its call ends is given as a function, to be read while nobody else can begin a call.
        """
        with self._lock:
            name = key() if callable(key) else key
            call: Call[concurrent.futures.Future[T]] | None = self._calls.get(name)
            flow, opening = None, self._opening
            if call is None or not call.joinable(now, max_age):
                # The call that was found may have ended since its key was read.
                name = key() if callable(key) else key
                flow = start()
                call = Call(concurrent.futures.Future(), now, time.monotonic() + self._options.timeout)
                self._calls[name] = call
        if flow is not None:
            return self._lead(name, call, flow, opening)
        return self._wait(call.pending, call.deadline)

    def close(self) -> None:
        """Close the connections. The next flow opens new ones."""
        with self._lock:
            transport, workers = self._transport, self._pool
            self._transport, self._pool, self._calls = None, None, {}
            self._opening += 1
        if workers is not None:
            workers.shutdown(wait=False)
        if transport is not None:
            transport.close()

    def _lead(self, key: bytes, call: Call[concurrent.futures.Future[T]], flow: Flow[T], opening: int) -> T:
        """Run a call that others may wait for. They hear of its end whatever it is: this thread's own, too."""
        try:
            outcome = self._drive(flow, call.deadline, opening)
            call.pending.set_result(outcome)
        except BaseException as error:
            call.pending.set_exception(error if isinstance(error, Exception) else closed())
            raise
        finally:
            with self._lock:
                if self._calls.get(key) is call:
                    del self._calls[key]
        return outcome

    def _wait(self, pending: concurrent.futures.Future[T], deadline: float) -> T:
        try:
            return pending.result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            fault = self._talk.late()
        raise fault

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
        """One request, in the caller's own thread where a connection is open. Else in a thread of the pool, which may
        be held up by a name that is looked up: it is left to itself at the deadline, and keeps its place until it ends.
        Where no thread can be had, as in an interpreter that is ending, the caller's own does that too."""
        place = Place(ahead=request.ahead)
        try:
            self._places.take(place, deadline)
            if seconds := self._leave(request, deadline):
                # Who waits for more than a place keeps none from others.
                self._places.give(place)
                time.sleep(seconds)
                self._places.take(place, deadline)
            reply = self._fetch(request, deadline, opening, Transport.request_at_once)
            if reply is not None:
                self._places.give(place)
                return reply
            errand = Errand(lambda: self._placed(place, request, deadline, opening))
            try:
                self._hand_over(errand)
            except RuntimeError:
                errand.run()
        except BaseException:
            self._places.give(place)
            raise
        return self._wait(errand.outcome, deadline)

    def _hand_over(self, errand: Errand[BrokerReply]) -> None:
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(self._options.max_in_flight, "agentwrit-link")
            self._pool.submit(errand.run)

    def _placed(self, place: Place, request: BrokerRequest, deadline: float, opening: int) -> BrokerReply:
        try:
            reply = self._fetch(request, deadline, opening, Transport.handle_request)
            return cast("BrokerReply", reply)
        finally:
            self._places.give(place)

    def _fetch(self, request: BrokerRequest, deadline: float, opening: int, make: Make) -> BrokerReply | None:
        """None if `make` gives none."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise self._talk.late()
        clip(deadline)
        try:
            with unlogged():
                response = make(self._opened(opening), self._talk.request(request, remaining))
                if response is None:
                    return None
                try:
                    return as_reply(response, b"".join(bounded(uncoded(response).iter_stream())))
                finally:
                    response.close()
        except FAULTS as error:
            fault = self._talk.fault(error)
        # Raised out here, so that the library's error, which holds the request and so the token, is not its context.
        raise fault

    def _opened(self, opening: int) -> Transport:
        with self._lock:
            if opening != self._opening:
                raise closed()
            if self._transport is None:
                self._transport = Transport(self._options, self._tls)
            return self._transport
