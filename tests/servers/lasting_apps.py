"""Apps whose websockets and answers last until somebody ends them (R-18).

WS  /receiving    receives until it is told of the end
WS  /sending      sends until it cannot
GET /events       a stream of events: one, and then silence (ASGI)
GET /ticking      a stream of events that goes on
GET /numbers      a stream of anything else that goes on
GET /me           any valid agent

What an app hears of its end is added to the file that TRIPWIRE names.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware as ASGIGuard
from agentwrit_guard.wsgi import GuardMiddleware as WSGIGuard
from tests.servers.apps import ran

EVENTS = "text/event-stream"
PACE = 0.02


def lasting_asgi() -> Starlette:
    async def receiving(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("open")
        message: Any = {}
        while message.get("type") != "websocket.disconnect":
            message = await websocket.receive()
        ran(f"disconnect {message['code']}", None)

    async def sending(websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(Exception):
            while True:
                await websocket.send_text("tick")
                await asyncio.sleep(PACE)
        ran("cannot send", None)

    async def first() -> AsyncIterator[bytes]:
        yield b"data: 0\n\n"
        await asyncio.Event().wait()

    async def more() -> AsyncIterator[bytes]:
        for number in itertools.count():
            yield b"data: %d\n\n" % number
            await asyncio.sleep(PACE)

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(first(), media_type=EVENTS)

    async def ticking(_: Request) -> StreamingResponse:
        return StreamingResponse(more(), media_type=EVENTS)

    async def numbers(_: Request) -> StreamingResponse:
        return StreamingResponse(more(), media_type="text/plain")

    async def me(_: Request) -> PlainTextResponse:
        return PlainTextResponse("me")

    handlers = {"/events": events, "/ticking": ticking, "/numbers": numbers, "/me": me}
    app = Starlette(
        routes=[
            WebSocketRoute("/receiving", receiving),
            WebSocketRoute("/sending", sending),
            *(Route(path, handler) for path, handler in handlers.items()),
        ]
    )
    app.add_middleware(ASGIGuard, guard=Guard.from_env())
    return app


def lasting_wsgi() -> WSGIGuard:
    def more() -> Iterator[bytes]:
        try:
            for number in itertools.count():
                yield b"data: %d\n\n" % number
                time.sleep(PACE)
        finally:
            ran("closed", None)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", EVENTS if path == "/ticking" else "text/plain")])
        return [b"me"] if path == "/me" else more()

    return WSGIGuard(app, Guard.from_env())
