"""A websocket or a streamed answer over ASGI, for as long as its vigil lets it last (threats R-18)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Sequence
from typing import Any

from agentwrit_guard import asgiscope
from agentwrit_guard.asgianswer import Answer
from agentwrit_guard.asgiscope import Message, Receive, Scope, Send
from agentwrit_guard.core.decisions import Allowed, Denied
from agentwrit_guard.errors import ConnectionEnded
from agentwrit_guard.guard import Guard
from agentwrit_guard.vigil import STALE, Rounds, Vigil

# Close codes of RFC 6455 and its registry: policy violation, and try again later. Where the server sends no such code
# (daphne), it is one for private use.
_VIOLATION, _LATER, _PRIVATE = 1008, 1013, 3000


class Lasting(Answer):
    """Stands between an app and its server. What comes or goes too late does neither.

    A websocket is closed, with the refusal's error code as the reason. A stream of events is completed, so that its
    client connects anew and is told why it may not. Any other stream is broken off at the app's next chunk, so that
    nobody takes a part of it for the whole.
    """

    # Of a connection that does not last, which is nearly every one, these never change.
    _spared = False
    """Whether it would be over, were anything enforced."""
    _receiving: frozenset[asyncio.Task[Any] | None] = frozenset()
    _code, _reason = _VIOLATION, ""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        guard: Guard,
        allowed: Allowed,
        authorization: Sequence[bytes],
        rounds: Rounds,
    ) -> None:
        self._websocket = scope["type"] == "websocket"
        self._receive = receive
        super().__init__(scope, send)
        self._events = False
        self._vigil: Vigil | None = None
        """From the accept of a websocket, the start of a stream of events, the first chunk of any other answer."""
        self._guard = guard
        self._allowed = allowed
        self._rounds = rounds
        # As the guard saw it: the app may change its scope.
        self._authorization = authorization

    def receiver(self, receive: Receive) -> Receive:
        return self._receive_in_time if self._websocket else receive

    async def _receive_in_time(self) -> Message:
        message = await self._next() if self.over is None else None
        if message is not None and message["type"] == "websocket.receive":
            await self._look()
        elif message is not None and message["type"] == "websocket.disconnect":
            self.leave()
        if message is None or self.over is not None:
            return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
        return message

    def forward(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own for an answer that does not last."""
        if self._vigil is None and self.over is None:
            kind = message["type"]
            if kind == "http.response.body" and not message.get("more_body"):
                return self._send(message)
            if kind == "http.response.start":
                message = self._begun(message)
                return self._keep(message) if self._events else self._send(message)
        return self._send_if_in_time(message)

    async def _send_if_in_time(self, message: Message) -> None:
        if self._vigil is not None:
            await self._look()
        if self.over is not None:
            raise ConnectionEnded("the connection has outlived its agent's token")
        kind = message["type"]
        if kind == "http.response.body":
            lasts = bool(message.get("more_body"))
        elif kind in ("http.response.start", "websocket.accept"):
            message = self._begun(message)
            lasts = self._events or self._websocket
        else:
            lasts = self._vigil is not None and kind != "websocket.close"
        if lasts:
            await self._keep(message)
        else:
            self.leave()
            await self._send(message)

    async def _keep(self, message: Message) -> None:
        """Send what more will follow."""
        await self._send(message)
        # The end may have come while the server took its time.
        if self._vigil is None and self.over is None:
            self._vigil = Vigil(self._guard, self._authorization, self._allowed)
            self._rounds.enter(self._vigil, self._end)

    def _begun(self, message: Message) -> Message:
        headers = message.get("headers") or ()
        stale = self._allowed.source == "stale"
        if stale or not isinstance(headers, (list, tuple)):
            # Others can be read only once.
            headers = [*headers]
            if stale:
                headers.append((STALE.lower().encode(), str(int(self._guard.age(self._allowed))).encode()))
            message = {**message, "headers": headers}
        kinds = []
        for name, value in headers:
            if len(name) == 12 and name.lower() == b"content-type":
                kinds.append(value)
        self._events = len(kinds) == 1 and kinds[0].lower().startswith(b"text/event-stream")
        return message

    async def _next(self) -> Message | None:
        """The server's next message; None if the end comes first, of which not every server speaks."""
        task = asyncio.current_task()
        self._receiving |= {task}
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if task in self._receiving or _still_cancelled(task):
                raise
            return None
        finally:
            self._receiving -= {task}

    async def _look(self) -> None:
        """Whoever finds that it is over ends it."""
        denied = None if self._vigil is None else self._vigil.look()
        if denied is not None:
            await self._end(denied)

    def leave(self) -> None:
        if self._vigil is not None:
            self._rounds.leave(self._vigil)
            self._vigil = None

    async def _end(self, denied: Denied) -> None:
        if not self._guard.enforces():
            self._spare(denied)
            return
        self.leave()
        self.over: asyncio.Event | None = asyncio.Event()
        self._code = _LATER if denied.status == 503 else _VIOLATION
        self._reason = denied.reason.error or "temporarily_unavailable"
        woken, self._receiving = self._receiving, frozenset()
        for task in woken:
            if task is not None:
                task.cancel()
        try:
            asgiscope.record(self._scope, self._guard, denied, phase="connection", front="asgi")
            await self._tell()
        finally:
            self.over.set()

    def _spare(self, denied: Denied) -> None:
        """Say once that it would be over, and keep an eye on it: the shadow has an end."""
        if self._vigil is not None:
            self._rounds.enter(self._vigil, self._end)
        if not self._spared:
            self._spared = True
            asgiscope.record(self._scope, self._guard, denied, phase="connection", front="asgi", enforced=False)

    async def _tell(self) -> None:
        # The client may have left before: whatever the server says to that, it is over.
        if self._websocket:
            for code in (self._code, self._code + _PRIVATE):
                with contextlib.suppress(Exception):
                    await self._send({"type": "websocket.close", "code": code, "reason": self._reason})
                    return
        elif self._events:
            with contextlib.suppress(Exception):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _still_cancelled(task: asyncio.Task[Any] | None) -> bool:
    """Whether somebody else cancelled it, besides us. Before Python 3.11 nobody can tell."""
    return sys.version_info >= (3, 11) and task is not None and task.uncancel() > 0
