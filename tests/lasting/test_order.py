"""Messages that an app sends as tasks, out of turn, or never (threats R-15)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.contrib.starlette import requires_scope
from agentwrit_guard.errors import ScopeRequired
from tests.lasting.lines import EVENTS, LAST, MORE, Line, World

OTHERS = "read:orders:8"
PLAIN = [(b"content-type", b"text/plain")]


def begins(status: int = 200, headers: list[Any] = PLAIN) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def answered(world: World, app: Any) -> list[tuple[str, int | None]]:
    """What the server is given, by the type of message and its status."""
    line = Line("http")

    async def test() -> None:
        await GuardMiddleware(app, world.guard)(line.scope, line.receive, line.send)

    world.run(test)
    return [(kind, message.get("status")) for kind, message in zip(line.types, line.sent, strict=True)]


@requires_scope(OTHERS)
async def _others(request: Request) -> PlainTextResponse:
    raise AssertionError("refused before")


async def refused_inside(scope: Any, receive: Any) -> None:
    """Whatever is answered inside, what goes out is the refusal."""

    async def nowhere(message: Any) -> None: ...

    await Starlette(routes=[Route("/", _others)])(scope, receive, nowhere)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("headers", [PLAIN, EVENTS], ids=["plain", "events"])
def test_messages_that_are_sent_at_once_arrive_in_order(world: World, status: int, headers: list[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.gather(send(begins(status, headers)), send(MORE), send(LAST))

    assert answered(world, app) == [("start", status), ("body", None), ("body", None)]


def test_r_15_a_refusal_is_sent_once_whatever_comes_at_once(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages = [send(begins()), send(LAST)]
        await refused_inside(scope, receive)
        await asyncio.gather(*messages, send(begins()), send(LAST))

    assert answered(world, app) == [("start", 403), ("body", None)]


def test_r_15_what_was_never_sent_does_not_keep_a_refusal_from_its_client(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        send(begins()).close()
        scope["state"]["agent"].require(OTHERS)

    assert answered(world, app) == [("start", 403), ("body", None)]


def test_r_15_what_was_sent_cannot_be_taken_back(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(begins())
        scope["state"]["agent"].require(OTHERS)

    with pytest.raises(ScopeRequired):
        answered(world, app)
