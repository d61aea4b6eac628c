"""A connection as its server has it: events in a queue, and what an app behind a guard asks of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from tests.kit.tokens import token

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
GONE: Event = {"type": "http.disconnect"}
CONNECT: Event = {"type": "websocket.connect"}
CUT: Event = {"type": "websocket.disconnect", "code": 1006}
TEXT: Event = {"type": "websocket.receive", "text": "hello"}
BEARER = f"Bearer {token()}"
HEADERS = {"Authorization": BEARER}


def body(data: bytes = b"", *, more: bool = False) -> Event:
    return {"type": "http.request", "body": data, "more_body": more}


class Server:
    """One connection, as its server has it. `asked` counts calls of `receive`, `cancelled` those that were given up."""

    def __init__(self, *events: Event, kind: str = "http", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        for event in events:
            self.events.put_nowait(event)
        self.sent: list[Event] = []
        self.asked = self.cancelled = 0
        self.scope: dict[str, Any] = {
            "type": kind,
            "method": "POST",
            "path": "/me",
            "query_string": b"",
            "headers": [(b"authorization", BEARER.encode()), *headers],
        }

    async def receive(self) -> Event:
        self.asked += 1
        try:
            return await self.events.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def send(self, message: Any) -> None:
        self.sent.append(message)


class App:
    """Does what its plan says with `receive`, notes what came of it, and answers."""

    def __init__(self, plan: Callable[[Receive], Awaitable[Any]] | None = None) -> None:
        self.plan = plan
        self.runs = 0
        self.got: list[Any] = []
        self.receives: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        self.receives.append(receive)
        if self.plan is not None:
            self.got.append(await self.plan(receive))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def taking(number: int) -> Callable[[Receive], Awaitable[Any]]:
    async def take(receive: Receive) -> Any:
        return [await receive() for _ in range(number)]

    return take


def run(guard: Guard, play: Callable[[], Awaitable[Any]]) -> None:
    """Play to the end, and see that no task is left and that the event loop has nothing to complain of."""
    complaints: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            await play()
        finally:
            await guard.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    assert complaints == []


def serve(guard: Guard, app: Any, server: Server) -> None:
    run(guard, lambda: GuardMiddleware(app, guard)(server.scope, server.receive, server.send))


async def turns(number: int = 30) -> None:
    for _ in range(number):
        await asyncio.sleep(0)
