"""The async runner: its calls are tasks of the event loops that they are asked in."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpcore

from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.exchange import FAULTS, as_reply, closed, grown, uncoded, unlogged
from agentwrit_guard.link.call import Call
from agentwrit_guard.link.runner import Runner
from agentwrit_guard.places import Place
from agentwrit_guard.tls import Tls
from agentwrit_guard.transport import AsyncTransport, LinkOptions

T = TypeVar("T")


class AsyncLink(Runner):
    """The async runner (asyncio). Each event loop has its own client and calls; a loop that ends takes them along."""

    async def run(self, flow: Flow[T], *, timeout: float | None = None) -> T:
        """What the flow returns, in at most `timeout` seconds."""
        return await self._drive(flow, time.monotonic() + (self._options.timeout if timeout is None else timeout))

    async def share(
        self, key: bytes | Callable[[], bytes], start: Callable[[], Flow[T]], *, now: Instant, max_age: float
    ) -> T:
        """As `Link.share`; a caller that is cancelled leaves the call and the others alone."""
        calls, name = self._here().calls, key() if callable(key) else key
        call: Call[asyncio.Task[T]] | None = calls.get(name)
        if call is None or not call.joinable(now, max_age):
            deadline = time.monotonic() + self._options.timeout
            task = asyncio.get_running_loop().create_task(self._drive(start(), deadline))
            call = Call(task, now, deadline)
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
            here = self._loops[loop] = _Here(_keep(self._options, self._tls), {})
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
        place = Place(ahead=request.ahead)
        try:
            # The queue stands here and not in the HTTP library's pool, whose every step looks at all that wait in it.
            await self._places.atake(place, deadline)
            if seconds := self._leave(request, deadline):
                self._places.give(place)
                await asyncio.sleep(seconds)
                await self._places.atake(place, deadline)
            # Only what the broker takes is a timeout of the broker's: not the line, which ends at the deadline itself.
            return await asyncio.wait_for(self._fetch(request, self._here()), max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            fault = self._talk.late()
        except FAULTS as error:
            fault = self._talk.fault(error)
        finally:
            self._places.give(place)
        raise fault

    async def _fetch(self, request: BrokerRequest, here: _Here) -> BrokerReply:
        if here.transport is None:
            here.transport = await here.keeper.__anext__()
        with unlogged():
            response = await here.transport.handle_async_request(self._talk.request(request))
            try:
                chunks = []
                size = 0
                async with contextlib.aclosing(_raw(response)) as raw:
                    async for chunk in raw:
                        size = grown(size, chunk)
                        chunks.append(chunk)
                return as_reply(response, b"".join(chunks))
            finally:
                await response.aclose()


def _raw(response: httpcore.Response) -> AsyncGenerator[bytes, None]:
    """The answer's bytes: a generator, whatever the library promises, and so to be closed if it is left early."""
    return cast("AsyncGenerator[bytes, None]", uncoded(response).aiter_stream())


@dataclass
class _Here:
    """What one event loop has opened."""

    keeper: AsyncGenerator[AsyncTransport, None]
    calls: dict[bytes, Call[asyncio.Task[Any]]]
    transport: AsyncTransport | None = None


async def _keep(options: LinkOptions, tls: Tls) -> AsyncGenerator[AsyncTransport, None]:
    """Holds connections open. A loop that shuts down closes its generators, so that none of its sockets outlives it,
    whether anyone called `aclose` or not: test clients run a loop for each request."""
    transport = AsyncTransport(options, tls)
    try:
        yield transport
    finally:
        await transport.aclose()


def _forget(calls: dict[bytes, Call[asyncio.Task[Any]]], key: bytes, call: Call[asyncio.Task[Any]]) -> None:
    if calls.get(key) is call:
        del calls[key]
    if not call.pending.cancelled():
        # Every caller may have gone: an error that nobody awaits is not worth asyncio's complaint.
        call.pending.exception()
