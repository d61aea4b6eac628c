"""What a client sends, with one look ahead: whether it left while the broker was asked (threats R-22)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from agentwrit_guard.asgiscope import Message, Receive

# Turns of the event loop, not time: a client that is slow to send is not waited for. An event that is there takes one
# turn at uvicorn, hypercorn, daphne and gunicorn, and 3 + 2n through n of Starlette's BaseHTTPMiddleware: ten are
# enough for three of those. granian answers from a thread of its own, when that gets the interpreter: that takes
# anything from three turns to thousands, so there it is chance.
_TURNS: Final = 10
_LEFT: Final = ("http.disconnect", "websocket.disconnect")


class Inbox:
    """Receives for an app. What a look has taken comes first, in order and once; then the server's own events.

    Each call of `receive` that looks is a task: an outer middleware may hold cancel scopes open while it waits, which
    the app's own task could not leave in order.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ahead: deque[asyncio.Future[Message]] = deque()
        self._closed = False

    async def abandoned(self) -> bool:
        """Whether the server says at once that its client has gone.

        Takes one event, and another where only a disconnect can come next. Of a body that goes on nothing is taken
        beyond its first piece, so a disconnect behind it is not seen. A call that is still waiting becomes the app's
        next one, and what it raises is raised there.
        """
        event = await self._look()
        connecting = event.get("type") == "websocket.connect"
        if connecting or (event.get("type") == "http.request" and not event.get("more_body")):
            event = await self._look()
        if connecting:
            await self._withdraw()
        return event.get("type") in _LEFT

    async def receive(self) -> Message:
        if not self._ahead:
            return await self._receive()
        call = self._ahead.popleft()
        if not call.done():
            try:
                await asyncio.wait((call,))
            except BaseException:
                # Its caller gave up. The call waits on, for the next one: what it may bring just now would be lost.
                self._ahead.appendleft(call)
                if self._closed:
                    self._give_up()
                raise
        return call.result()

    async def aclose(self) -> None:
        """Cancel what nobody has asked for, and wait until it has ended.

        What a task that the app left behind waits for goes on, and is cancelled with that task.
        """
        self._closed = True
        self._give_up()
        if self._ahead:
            await asyncio.wait(self._ahead)

    def _give_up(self) -> None:
        for call in self._ahead:
            call.add_done_callback(_heard)
            call.cancel()

    async def _look(self) -> Message:
        """The next event if it is there, else an empty one."""
        # wait_for makes a coroutine of whatever `receive` gives: granian's is a future that knows half of the calls.
        call = asyncio.ensure_future(asyncio.wait_for(self._receive(), None))
        self._ahead.append(call)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if call.done():
                break
        there = call.done() and not call.cancelled() and call.exception() is None
        return call.result() if there else {}

    async def _withdraw(self) -> None:
        """Take the last call back if it is still waiting.

        A websocket's would read a message ahead of the app, and once its client has gone, uvicorn's older
        implementation ends the app's next send in another error. An HTTP request's stays: httpx's transport loses the
        body when it is cancelled, and gunicorn takes the client for gone.
        """
        call = self._ahead[-1]
        call.cancel()
        await asyncio.wait((call,))
        if call.cancelled():
            self._ahead.pop()


def _heard(call: asyncio.Future[Message]) -> None:
    if not call.cancelled():
        # Nobody will receive it now: an error is not worth asyncio's complaint.
        call.exception()
