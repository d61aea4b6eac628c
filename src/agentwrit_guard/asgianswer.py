"""What an app answers over ASGI, unless something further in has refused the request."""

from __future__ import annotations

from collections.abc import Awaitable

from agentwrit_guard import asgiscope
from agentwrit_guard.asgiscope import Message, Scope, Send


class Answer:
    """What an app sends, replaced by the first refusal from within.

    A 500 is held back until the app has ended: an inner app's error page goes out before its ScopeRequired arrives.
    """

    __slots__ = ("_answered", "_refusals", "_scope", "_send", "held", "started")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._refusals = asgiscope.refusals(scope)
        self._answered = False
        self.held: list[Message] = []
        self.started: bool = False

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own for what only goes through."""
        if not self.started:
            if self._refusals or self.held or message.get("status") == 500:
                return self._begin(message)
            self.started = True
        return nothing_sent() if self._answered else self._send(message)

    async def _begin(self, message: Message) -> None:
        if self._refusals:
            self._answered = self.started = True
            await asgiscope.refuse(self._refusals[0], self._scope, nothing, self._send)
        else:
            self.held.append(message)

    async def flush(self) -> None:
        for message in self.held:
            self.started = True
            await self._send(message)


async def nothing() -> Message:
    """Stands for a websocket's connect event, which the app has taken already."""
    return {}


async def nothing_sent() -> None:
    """Stands for the `send` of what the client does not get."""
