"""What an app answers over ASGI, unless something further in has refused the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from agentwrit_guard import asgiscope
from agentwrit_guard.asgiscope import Message, Receive, Scope, Send


class Answer:
    """What an app sends, replaced by the first refusal from within.

    A 500 is held back until the app has ended: an inner app's error page goes out before its ScopeRequired arrives.
    """

    __slots__ = ("_answered", "_refusals", "_scope", "_send", "held", "over", "receive", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive: Receive = receive
        self.started: bool = False
        self.held: Sequence[Message] = ()
        self.over: asyncio.Event | None = None
        """There when the connection has ended before the app did, and set as soon as the server knows of it."""
        self._answered = False
        self._scope = scope
        self._send = send
        self._refusals = asgiscope.refusals(scope)

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own for what only goes through."""
        if not self.started:
            if self._refusals or self.held or message.get("status") == 500:
                return self._begin(message)
            self.started = True
        return nothing_sent() if self._answered else self.forward(message)

    def forward(self, message: Message) -> Awaitable[None]:
        """Send what nothing replaces."""
        return self._send(message)

    async def flush(self) -> None:
        for message in self.held:
            self.started = True
            await self.forward(message)

    def leave(self) -> None:
        """The app has ended."""

    async def _begin(self, message: Message) -> None:
        if self._refusals:
            self._answered = self.started = True
            await asgiscope.refuse(self._refusals[0], self._scope, nothing, self.forward)
        else:
            self.held = [*self.held, message]


async def nothing() -> Message:
    """Stands for a websocket's connect event, which the app has taken already."""
    return {}


async def nothing_sent() -> None:
    """Stands for the `send` of what the client does not get."""
