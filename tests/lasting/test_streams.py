"""R-18: a streamed answer ends with its agent's token: completed if its client connects anew, broken off otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.errors import ConnectionEnded
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request, asgi_request
from tests.kit.fronts import Front, make_asgi
from tests.kit.tokens import token
from tests.lasting.lines import ENDS, EVENTS, EXP, LAST, LOCAL, MORE, Line, World, sender, sending

NEVER = 3600.0
PLAIN = [(b"content-type", b"text/plain")]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("first", [True, False])
def test_r_18_a_silent_stream_of_events_is_completed(world: World, end: str, first: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        if first:
            await send(MORE)
        assert (await receive())["type"] == "http.disconnect"

    line = Line("http")

    async def test() -> None:
        async with world.opened(app, line, messages=1 + first):
            ENDS[end](world)
            await line.until(2 + first)
            line.hangs_up()

    world.run(test)
    assert line.types == ["start", "body", "body"][: 2 + first]
    assert line.sent[-1] == LAST
    assert world.reasons == [end.partition(",")[0]]


@pytest.mark.parametrize("end", LOCAL)
def test_r_18_a_stream_of_events_ends_before_the_next_one(
    world: World, rounds: Callable[[float], None], end: str
) -> None:
    rounds(NEVER)
    line = sender("http", "in time", answer=EVENTS)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            LOCAL[end](world)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert [message["body"] for message in line.sent[1:]] == [b"in time", b""]
    assert line.sent[-1] == LAST
    assert len(world.ended) == 1


@pytest.mark.parametrize("end", LOCAL)
@pytest.mark.parametrize("last", [True, False])
def test_r_18_any_other_stream_is_broken_off(
    world: World, rounds: Callable[[float], None], end: str, last: bool
) -> None:
    """With its last chunk or with one before: the answer stays incomplete."""
    rounds(NEVER)
    line = sender("http", "in time", answer=PLAIN)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            LOCAL[end](world)
            line.scope["go"].put_nowait(None if last else "too late")

    world.run(test)
    assert [message["body"] for message in line.sent[1:]] == [b"in time"]
    assert line.sent[-1]["more_body"]
    assert len(world.ended) == 1


@pytest.mark.parametrize("end", ENDS)
def test_r_18_a_silent_stream_of_anything_is_found_out_and_broken_off(world: World, end: str) -> None:
    line = sender("http", "in time", answer=PLAIN)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            ENDS[end](world)
            while not world.ended:
                await asyncio.sleep(0.001)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert [message["body"] for message in line.sent[1:]] == [b"in time"]
    assert world.reasons == [end.partition(",")[0]]


@pytest.mark.parametrize("headers", [EVENTS, PLAIN])
def test_r_18_an_app_that_ignores_the_end_adds_nothing(world: World, headers: list[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(MORE)
        world.clock.move(EXP)
        for message in (MORE, MORE, LAST):
            with contextlib.suppress(ConnectionEnded):
                await send(message)
        raise RuntimeError("of the app")

    line = Line("http")

    async def test() -> None:
        async with world.opened(app, line):
            pass

    world.run(test)
    assert line.sent[1:] == [MORE, LAST][: 2 if headers is EVENTS else 1]
    assert len(world.ended) == 1


@pytest.mark.parametrize(
    "value", [b"text/event-stream", b"text/event-stream;charset=utf-8", b"TEXT/EVENT-STREAM", b"text/plain", None]
)
def test_r_18_what_a_stream_of_events_is(world: World, value: bytes | None) -> None:
    headers = [] if value is None else [(b"Content-Type", value)]
    line = sender("http", "in time", answer=headers)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            world.clock.move(EXP)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert (line.sent[-1] == LAST) == (value is not None and b"event-stream" in value.lower())


def test_r_18_an_answer_in_one_piece_does_not_last_however_long_it_takes(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        world.clock.move(EXP)
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        world.guard.deny("task", "task-1")
        await send({**LAST, "body": b"whole"})

    line = Line("http")

    async def test() -> None:
        async with world.opened(app, line, messages=2):
            pass

    world.run(test)
    assert line.types == ["start", "body"]
    assert world.ended == []


def test_r_18_headers_that_can_be_read_only_once_arrive(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": (header for header in EVENTS)})
        await send(LAST)

    line = Line("http")

    async def test() -> None:
        async with world.opened(app, line, messages=2):
            pass

    world.run(test)
    assert list(line.sent[0]["headers"]) == EVENTS


def test_r_18_a_stream_without_an_agent_is_left_alone(world: World) -> None:
    """Public paths, and what `others="pass"` leaves to the app's own authentication."""

    async def test() -> None:
        for options in ({"public": ["/open"]}, {"others": "pass"}):
            line = sender("http", "one", "two", None, path="/open", answer=EVENTS)
            line.scope["headers"] = [(b"authorization", b"Basic YTpi")]
            guarded = GuardMiddleware(sending, world.guard, **options)  # type: ignore[arg-type]
            async with world.opened(guarded, line, messages=2):
                world.clock.move(EXP)
            assert line.types == ["start", *["body"] * 3]

    world.run(test)
    assert world.ended == []


# B-22: answers to agents that could not be validated again.


@pytest.fixture
def stale(make: Callable[..., World]) -> World:
    """A world whose agent has been validated 12 s ago, and a broker that is down."""
    world = make(stale_if_error=30)
    world.guard.check([f"Bearer {token()}".encode()])
    world.broker.answer = lambda _: (500, {}, b"")
    world.clock.move(12)
    return world


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_b_22_an_answer_says_how_old_what_it_goes_by_is(stale: World, kind: str) -> None:
    line = sender(kind, None, answer=PLAIN)

    async def test() -> None:
        async with stale.opened(sending, line, messages=2):
            pass

    stale.run(test)
    assert line.sent[0]["headers"] == [*(PLAIN if kind == "http" else []), (b"x-agentwrit-stale", b"12")]


def test_b_22_nothing_else_says_so(world: World, clock: MovableClock) -> None:
    front: Front = make_asgi(world.guard)
    request = Request(headers=[("Authorization", f"Bearer {token()}".encode())])

    async def test() -> None:
        for seconds in (0, 4):
            clock.move(seconds)
            assert (await asgi_request(front.app, request)).header("x-agentwrit-stale") is None

    world.run(test)
