"""Connections as a server has them, with both of their ends in a test's hands (threats R-18)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentwrit_guard import Guard, vigil
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.core.decisions import DecisionEvent
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import AGENT, token

PATIENCE = 10.0
"""Seconds until something that does not happen counts as broken."""
EXP = 300
"""Seconds until the tokens of `Line` expire, a little less by the clock of a test."""
EVENTS = [(b"Content-Type", b"Text/Event-Stream; charset=utf-8")]
MORE = {"type": "http.response.body", "body": b"more", "more_body": True}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}
CLOSED = {"type": "websocket.close", "code": 1008, "reason": "invalid_token"}


class Line:
    """One connection. `incoming` is what the client sends, `sent` what the server was given.

    A server that is not `ready` takes a message and does not return.
    """

    def __init__(self, kind: str, path: str = "/", **claims: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws" if kind == "websocket" else "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {token(**claims)}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        if kind == "websocket":
            self.scope |= {"subprotocols": [], "extensions": {"websocket.http.response": {}}}
        else:
            self.scope["method"] = "GET"
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        first = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}
        self.incoming.put_nowait(first)
        self.sent: list[dict[str, Any]] = []
        self.ready = asyncio.Event()
        self.ready.set()
        self.fault: Exception | None = None
        self._news = asyncio.Condition()

    @property
    def types(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.sent]

    def says(self, text: str) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": text})

    def hangs_up(self) -> None:
        self.incoming.put_nowait({"type": f"{self.scope['type']}.disconnect", "code": 1001})

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        # Whoever waits for the message goes on after the app, which needs no turn from here on.
        async with self._news:
            self.sent.append(dict(message))
            self._news.notify_all()
        await self.ready.wait()
        if self.fault is not None:
            raise self.fault

    async def until(self, number: int) -> None:
        """Wait for the server to have been given so many messages."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: len(self.sent) >= number), PATIENCE)


@dataclass
class World:
    """A guard over a stub broker, and what is decided about connections."""

    guard: Guard
    broker: StubBroker
    clock: MovableClock
    events: list[DecisionEvent]
    deny_file: Path
    complaints: list[str] = field(default_factory=list)

    @property
    def ended(self) -> list[DecisionEvent]:
        return [event for event in self.events if event.phase == "connection"]

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.ended]

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run an async test. Nothing may complain in its event loop."""

        async def complete() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, told: self.complaints.append(str(told)))
            try:
                await asyncio.wait_for(test(), PATIENCE)
            finally:
                await self.guard.aclose()

        asyncio.run(complete())
        assert self.complaints == []

    @contextlib.asynccontextmanager
    async def opened(
        self, app: Any, line: Line, *, messages: int = 1, around: Callable[[Any], Any] = lambda app: app
    ) -> AsyncIterator[asyncio.Task[None]]:
        """An app with a connection, from its first messages on. It must return by itself, and leave nothing behind."""
        guarded = app if isinstance(app, GuardMiddleware) else GuardMiddleware(app, self.guard)
        before = len(left_behind(guarded))
        task = asyncio.ensure_future(around(guarded)(line.scope, line.receive, line.send))
        try:
            await line.until(messages)
            yield task
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)
        finally:
            task.cancel()
        await settled(guarded)
        assert len(left_behind(guarded)) <= before


def left_behind(guarded: GuardMiddleware) -> list[object]:
    """Connections that are still watched, and questions that are still asked."""
    rounds = guarded._rounds
    return [*(one for watched in rounds._watched.values() for one in watched), *rounds._tasks]


async def settled(guarded: GuardMiddleware, broker: StubBroker | None = None, calls: int = 0) -> None:
    """Wait until the broker has been asked so often, and what it said has been acted on."""
    while (broker is not None and broker.calls < calls) or guarded._rounds._tasks:
        await asyncio.sleep(0.001)


async def rounds_go() -> None:
    """Let several rounds pass, so that whatever they can do is done."""
    loop = asyncio.get_running_loop()
    passed = loop.time() + 5 * vigil.ROUND_EVERY
    while loop.time() < passed:
        await asyncio.sleep(vigil.ROUND_EVERY)


# What happens to an agent that has a connection open. The names are the reasons that are recorded.


def _expires(world: World) -> None:
    world.clock.move(EXP)


def _is_denied(world: World) -> None:
    world.guard.deny("agent", AGENT)


def _is_denied_by_file(world: World) -> None:
    replacement = world.deny_file.with_suffix(".next")
    replacement.write_text(f"chain {AGENT}\n")
    replacement.rename(world.deny_file)
    world.clock.move(0.25)


def _is_revoked(world: World) -> None:
    world.broker.answer = invalid
    world.clock.move(30)


LOCAL: dict[str, Callable[[World], None]] = {
    "expired": _expires,
    "deny_list": _is_denied,
    "deny_list, in a file": _is_denied_by_file,
}
ENDS = {**LOCAL, "rejected_by_broker": _is_revoked}


# Apps.


async def receiving(scope: Any, receive: Any, send: Any) -> None:
    """A websocket that receives until it is told of the end; what came is in `scope["got"]`."""
    got = scope["got"] = [await receive()]
    await send({"type": "websocket.accept"})
    while got[-1]["type"] != "websocket.disconnect":
        got.append(await receive())


async def sending(scope: Any, receive: Any, send: Any) -> None:
    """Sends something for each item of `scope["go"]`, until it cannot. `scope["answer"]` has the headers."""
    await receive()
    websocket = scope["type"] == "websocket"
    if websocket:
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": scope.get("answer", [])})
    while (text := await scope["go"].get()) is not None:
        await send({"type": "websocket.send", "text": text} if websocket else {**MORE, "body": text.encode()})
    await send({"type": "websocket.close", "code": 1000} if websocket else LAST)


def sender(kind: str, *texts: str | None, **scope: Any) -> Line:
    """A line for `sending`, which sends these at once."""
    line = Line(kind)
    line.scope |= {"go": asyncio.Queue(), **scope}
    for text in texts:
        line.scope["go"].put_nowait(text)
    return line
