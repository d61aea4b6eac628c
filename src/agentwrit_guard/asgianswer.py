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

    __slots__ = ("_answered", "_refusals", "_scope", "_send", "held", "over", "started")

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started: bool = False
        self.held: Sequence[Message] = ()
        self.over: asyncio.Event | None = None
        """There when the connection has ended before the app did, and set as soon as the server knows of it."""
        self._answered = False
        self._scope = scope
        self._send = send
        self._refusals = asgiscope.refusals(scope)

    def receiver(self, receive: Receive) -> Receive:
        """The app's `receive`. Not kept here: an answer that held its own method would wait for the collector, and
        with it the scope and its token."""
        return receive

    async def send(self, message: Message) -> None:
        """Decided when it is awaited: an app may send its messages as tasks, or never."""
        if self.started:
            if not self._answered:
                await self.forward(message)
        elif self._refusals:
            self._answered = self.started = True
            await asgiscope.refuse(self._refusals[0], self._scope, nothing, self.forward)
        elif self.held or message.get("status") == 500:
            self.held = [*self.held, message]
        else:
            self.started = True
            await self.forward(message)

    def forward(self, message: Message) -> Awaitable[None]:
        """Send what nothing replaces. Called to be awaited at once."""
        return self._send(message)

    async def flush(self) -> None:
        for message in self.held:
            self.started = True
            await self.forward(message)

    def leave(self) -> None:
        """The app has ended."""


async def nothing() -> Message:
    """Stands for a websocket's connect event, which the app has taken already."""
    return {}
