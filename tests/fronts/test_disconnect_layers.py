"""A guard that looks whether its client has left, among other middlewares and behind clients in process."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from tests.fronts.connection import GONE, HEADERS, App, Event, Server, body, run, taking, turns
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker

STYLE: contextvars.ContextVar[str] = contextvars.ContextVar("style", default="none")


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    guard = Guard(broker.url, clock=clock.clock)
    yield guard
    guard.close()


class Plain(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


class Reading(BaseHTTPMiddleware):
    """Has the whole body before the guard does."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        await request.body()
        response: Response = await call_next(request)
        return response


class Styled:
    """Says in each event what the request's context says while `receive` runs."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def styled() -> Any:
            return {**await receive(), "style": STYLE.get()}

        STYLE.set("styled")
        await self.app(scope, styled, send)


@pytest.mark.parametrize("layers", range(4))
@pytest.mark.parametrize("events", [[GONE], [body(b"whole"), GONE]], ids=["at once", "after its body"])
def test_r_22_disconnect_is_seen_through_middlewares(guard: Guard, layers: int, events: list[Event]) -> None:
    inner, server = App(), Server(*events)
    app: Any = GuardMiddleware(inner, guard)
    for _ in range(layers):
        app = Plain(app)

    async def play() -> None:
        if layers:
            # What Starlette's middleware makes of an app that does not answer, whoever it was that asked.
            with pytest.raises(RuntimeError, match="No response returned"):
                await app(server.scope, server.receive, server.send)
        else:
            await app(server.scope, server.receive, server.send)

    run(guard, play)
    assert (inner.runs, server.sent) == (0, [])


def test_r_22_context_of_an_outer_middleware_holds_for_its_receive(guard: Guard) -> None:
    app, server = App(taking(2)), Server(body(b"one", more=True), body(b"two"))
    run(guard, lambda: Styled(GuardMiddleware(app, guard))(server.scope, server.receive, server.send))
    assert [event["style"] for event in app.got[0]] == ["styled", "styled"]


@pytest.mark.parametrize("events", [[], [body(b"x")], [body(b"x", more=True), body(b"y")]])
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
def test_r_22_a_guard_in_a_guard(
    guard: Guard, broker: StubBroker, clock: MovableClock, events: list[Event], leaves: bool
) -> None:
    """The client leaves while the inner one asks, when the outer one has looked."""
    inner, app, server = Guard(broker.url, clock=clock.clock), App(taking(len(events))), Server(*events)

    async def play() -> None:
        loop, answer = asyncio.get_running_loop(), broker.answer

        def asked(question: bytes) -> Any:
            if leaves and broker.calls == 2:
                loop.call_soon_threadsafe(server.events.put_nowait, GONE)
            return answer(question)

        broker.answer = asked
        guarded = GuardMiddleware(GuardMiddleware(app, inner), guard)
        await guarded(server.scope, server.receive, server.send)
        await inner.aclose()

    run(guard, play)
    assert broker.calls == 2
    if leaves and len(events) < 2:
        assert (app.runs, server.sent) == (0, [])
    else:
        assert app.got == [events]


STACKS: dict[str, list[Middleware]] = {
    "none": [],
    "base": [Middleware(Plain)],
    "three": [Middleware(Plain)] * 3,
    "reading": [Middleware(Reading)],
    "others": [
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(Plain),
        Middleware(Styled),
    ],
}


def api(guard: Guard, stack: str) -> Starlette:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def streamed(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for byte in data:
                yield bytes([byte])

        data = await request.body()
        # It listens for a disconnect while it sends.
        return StreamingResponse(pieces())

    async def patient(request: Request) -> Response:
        data = await request.body()
        return PlainTextResponse(data + str(await request.is_disconnected()).encode())

    async def deaf(request: Request) -> Response:
        return PlainTextResponse("deaf")

    def threaded(request: Request) -> Response:
        return PlainTextResponse("threaded")

    handlers = {"echo": echo, "streamed": streamed, "patient": patient, "deaf": deaf, "threaded": threaded}
    return Starlette(
        routes=[Route(f"/{name}", handler, methods=["POST"]) for name, handler in handlers.items()],
        # On the inside as well: what it hands to the app is cut out of the guard's.
        middleware=[*STACKS[stack], Middleware(GuardMiddleware, guard=guard), Middleware(Plain)],
    )


EXPECTED = {"echo": "body", "streamed": "body", "patient": "bodyFalse", "deaf": "deaf", "threaded": "threaded"}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("path", EXPECTED)
def test_r_22_a_client_in_process_notices_nothing(
    broker: StubBroker, clock: MovableClock, stack: str, path: str
) -> None:
    guard = Guard(broker.url, clock=clock.clock, cache_ttl=0)
    with TestClient(api(guard, stack), headers=HEADERS) as client:
        for _ in range(2):
            assert client.post(f"/{path}", content=b"body").text == EXPECTED[path]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"bo", b"dy"):
            yield piece

    async def play() -> None:
        transport = httpx.ASGITransport(app=api(guard, stack))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=HEADERS) as client:
            for content in (b"body", pieces()):
                assert (await client.post(f"/{path}", content=content)).text == EXPECTED[path]
        # httpx leaves what generates a body to the event loop if nobody has read to its end.
        await turns()

    run(guard, play)
    assert broker.calls == 4


def test_r_22_websocket_conversation(guard: Guard) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    app = Starlette(routes=[WebSocketRoute("/ws", echo)], middleware=[Middleware(GuardMiddleware, guard=guard)])
    with TestClient(app, headers=HEADERS) as client, client.websocket_connect("/ws") as websocket:
        for text in ("one", "two"):
            websocket.send_text(text)
            assert websocket.receive_text() == text
