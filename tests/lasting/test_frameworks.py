"""R-18 through frameworks: what their handlers and middleware make of a connection that is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from agentwrit_guard.contrib.fastapi import CurrentAgent, requires_scope
from tests.lasting.lines import CLOSED, EXP, LAST, Line, World, rounds_go

EVENTS = "text/event-stream"


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


class Chat:
    """FastAPI websockets that only receive, only send, or do both; `told` is what they heard of their end."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.go: asyncio.Queue[str] = asyncio.Queue()
        self.app = FastAPI()
        self.app.websocket("/receiving")(self.receiving)
        self.app.websocket("/sending")(self.sending)
        self.app.websocket("/both")(self.both)
        self.app.add_middleware(Passing)

    @requires_scope("read:customers:7291")
    async def receiving(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            async for text in websocket.iter_text():
                self.told.append(text)
        finally:
            self.told.append("over")

    async def sending(self, websocket: WebSocket, agent: CurrentAgent) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await self.go.get())
        except WebSocketDisconnect as error:
            self.told.append(error.code)
            raise

    async def both(self, websocket: WebSocket) -> None:
        await websocket.accept()
        sender = asyncio.ensure_future(self.sending_on(websocket))
        try:
            while True:
                self.told.append(await websocket.receive_text())
        except WebSocketDisconnect as error:
            self.told.append(error.code)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def sending_on(self, websocket: WebSocket) -> None:
        while True:
            await websocket.send_text(await self.go.get())


@pytest.mark.parametrize(
    ("path", "told"), [("/receiving", ["hello", "over"]), ("/sending", [1006]), ("/both", ["hello", 1008])]
)
def test_r_18_websockets_of_fastapi(world: World, path: str, told: list[object]) -> None:
    line = Line("websocket", path)

    async def test() -> None:
        chat = Chat()
        async with world.opened(chat.app, line):
            line.says("hello")
            await rounds_go()
            world.clock.move(EXP)
            await line.until(2)
            chat.go.put_nowait("too late")
        assert chat.told == told

    world.run(test)
    assert line.sent[1:] == [CLOSED]
    assert len(world.ended) == 1


def streaming(go: asyncio.Queue[bytes], kind: str) -> Any:
    """A streamed answer of Starlette."""

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield await go.get()

    async def stream(_: Request) -> StreamingResponse:
        return StreamingResponse(chunks(), media_type=kind)

    return Starlette(routes=[Route("/", stream)])


@pytest.mark.parametrize("spec", ["2.1", "2.4"])
@pytest.mark.parametrize("inside, around", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", [EVENTS, "text/plain"])
def test_r_18_streams_of_starlette(world: World, kind: str, inside: bool, around: bool, spec: str) -> None:
    """With a `BaseHTTPMiddleware` on either side of the guard, or on none."""
    line = Line("http")
    line.scope["asgi"]["spec_version"] = spec

    async def test() -> None:
        go: asyncio.Queue[bytes] = asyncio.Queue()
        go.put_nowait(b"in time")
        app = streaming(go, kind)
        if inside:
            app.add_middleware(Passing)
        async with world.opened(app, line, messages=2, around=Passing if around else lambda app: app):
            world.clock.move(EXP)
            while not world.ended:
                await asyncio.sleep(0.001)
            go.put_nowait(b"too late")

    world.run(test)
    came = [message["body"] for message in line.sent[1:] if message["body"]]
    assert came == [b"in time"]
    # What the guard breaks off, a BaseHTTPMiddleware around it completes: the guard belongs on the outside.
    assert (line.sent[-1] == LAST) == (kind == EVENTS or around)
    assert len(world.ended) == 1


def test_r_18_an_answer_that_a_middleware_cuts_in_two_is_complete(world: World) -> None:
    async def plain(_: Request) -> JSONResponse:
        return JSONResponse("whole")

    app = Starlette(routes=[Route("/", plain)])
    app.add_middleware(Passing)
    line = Line("http")

    async def test() -> None:
        async with world.opened(app, line, messages=3):
            pass

    world.run(test)
    assert [message["body"] for message in line.sent[1:]] == [b'"whole"', b""]
    assert world.ended == []
