"""Connections of a guard in shadow mode: what would have ended them is recorded once, and ends nothing (threats 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard.errors import ConnectionEnded
from tests.kit.stub import invalid
from tests.kit.tokens import AGENT, token
from tests.lasting.lines import (
    CLOSED,
    ENDS,
    EVENTS,
    EXP,
    LAST,
    LOCAL,
    Line,
    World,
    receiving,
    rounds_go,
    sender,
    sending,
)
from tests.lasting.test_wsgi import EVENTS as WSGI_EVENTS
from tests.lasting.test_wsgi import PLAIN as WSGI_PLAIN
from tests.lasting.test_wsgi import Answer, Streaming

NEVER = 3600.0
PLAIN = [(b"content-type", b"text/plain")]
DAY_ENDS = 1_801_440_000
LATE = {"iat": DAY_ENDS - 60, "nbf": DAY_ENDS - 60, "exp": DAY_ENDS + EXP}


@pytest.fixture
def world(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> World:
    """Its guard is in shadow mode. A request waits longer than its broker takes."""
    monkeypatch.setattr("agentwrit_guard.asgiverdict.SHADOW_WAIT", 20.0)
    monkeypatch.setattr("agentwrit_guard.environ.SHADOW_WAIT", 20.0)
    return make(enforce=False, until="2027-01-31")


def recorded_once(world: World, end: str, front: str) -> None:
    [event] = world.ended
    assert (event.outcome, event.reason, event.enforced) == ("denied", end.partition(",")[0], False)
    assert (event.phase, event.front, event.path) == ("connection", front, "/stream" if front == "wsgi" else "/")


async def recorded(world: World) -> None:
    while not world.ended:
        await asyncio.sleep(0.001)
    await rounds_go()


@pytest.mark.parametrize("end", ENDS)
def test_a_silent_websocket_stays_open(world: World, end: str) -> None:
    line = Line("websocket")

    async def test() -> None:
        async with world.opened(receiving, line):
            ENDS[end](world)
            await recorded(world)
            line.says("still here")
            while len(line.scope["got"]) < 2:
                await asyncio.sleep(0)
            line.hangs_up()

    world.run(test)
    assert line.types == ["accept"]
    assert [message["type"].rpartition(".")[2] for message in line.scope["got"]] == ["connect", "receive", "disconnect"]
    recorded_once(world, end, "asgi")


@pytest.mark.parametrize("end", LOCAL)
def test_what_is_said_and_sent_through_a_websocket_goes_on(
    world: World, rounds: Callable[[float], None], end: str
) -> None:
    rounds(NEVER)
    heard, sent = Line("websocket"), sender("websocket", "in time")

    async def test() -> None:
        async with world.opened(receiving, heard), world.opened(sending, sent, messages=2):
            LOCAL[end](world)
            for number in range(3):
                heard.says("later")
                sent.scope["go"].put_nowait("later")
                await sent.until(3 + number)
            while len(heard.scope["got"]) < 4:
                await asyncio.sleep(0)
            heard.hangs_up()
            sent.scope["go"].put_nowait(None)

    world.run(test)
    assert [message.get("text") for message in heard.scope["got"]] == [None, "later", "later", "later", None]
    assert [message.get("text") for message in sent.sent] == [None, "in time", "later", "later", "later", None]
    assert [(event.reason, event.enforced) for event in world.ended] == [(end.partition(",")[0], False)] * 2


@pytest.mark.parametrize("headers", [EVENTS, PLAIN], ids=["events", "plain"])
@pytest.mark.parametrize("end", ENDS)
def test_a_stream_goes_on_to_its_own_end(world: World, end: str, headers: Any) -> None:
    line = sender("http", "in time", answer=headers)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            ENDS[end](world)
            await recorded(world)
            for text in ("later", "later still", None):
                line.scope["go"].put_nowait(text)

    world.run(test)
    assert [message["body"] for message in line.sent[1:]] == [b"in time", b"later", b"later still", b""]
    assert line.sent[-1] == LAST
    recorded_once(world, end, "asgi")


def test_whom_nobody_let_in_is_not_watched(world: World, rounds: Callable[[float], None]) -> None:
    """A connection without an agent has nothing that could expire."""
    line = Line("websocket")
    line.scope["headers"] = []

    async def test() -> None:
        async with world.opened(receiving, line):
            world.clock.move(EXP)
            await rounds_go()
            line.hangs_up()

    world.run(test)
    assert [(event.reason, event.enforced) for event in world.events] == [("no_credentials", False)]
    assert world.broker.calls == 0


@pytest.mark.parametrize("kind", ["websocket", "events", "plain"])
def test_after_its_day_connections_end_with_their_tokens(world: World, kind: str) -> None:
    """Those that were opened in it, too."""
    world.clock.wall = DAY_ENDS - 30
    line = sender("http", "in time", answer=EVENTS if kind == "events" else PLAIN, **LATE)
    app = sending
    if kind == "websocket":
        line, app = Line("websocket", **LATE), receiving
    line.scope["headers"] = [(b"authorization", b"Bearer " + token(**LATE).encode())]

    async def test() -> None:
        async with world.opened(app, line, messages=1 if kind == "websocket" else 2):
            world.clock.move(29)
            await rounds_go()
            assert world.ended == []
            world.clock.move(EXP + 1)
            while not world.ended:
                await asyncio.sleep(0.001)
            if kind != "websocket":
                line.scope["go"].put_nowait("too late")

    world.run(test)
    assert [(event.reason, event.enforced) for event in world.ended] == [("expired", True)]
    if kind == "websocket":
        assert line.sent[1:] == [CLOSED]
    else:
        bodies = [message["body"] for message in line.sent[1:]]
        assert bodies == ([b"in time", b""] if kind == "events" else [b"in time"])


@pytest.mark.parametrize("kind", ["websocket", "events"])
def test_what_a_shadow_spared_ends_with_it(world: World, kind: str) -> None:
    """A silent one is not forgotten, however long ago it would have ended."""
    line, app = (
        (Line("websocket"), receiving) if kind == "websocket" else (sender("http", "in time", answer=EVENTS), sending)
    )

    async def test() -> None:
        async with world.opened(app, line, messages=1 if kind == "websocket" else 2):
            world.clock.move(EXP)
            await recorded(world)
            assert len(world.ended) == 1
            world.clock.wall = DAY_ENDS
            while len(world.ended) < 2:
                await asyncio.sleep(0.001)
            if kind == "events":
                line.scope["go"].put_nowait("too late")

    world.run(test)
    assert [(event.reason, event.enforced) for event in world.ended] == [("expired", False), ("expired", True)]
    assert line.sent[-1] == (
        CLOSED if kind == "websocket" else {"type": "http.response.body", "body": b"", "more_body": False}
    )


# --- WSGI


@pytest.mark.parametrize("headers", [WSGI_EVENTS, WSGI_PLAIN], ids=["events", "plain"])
@pytest.mark.parametrize("end", LOCAL)
def test_a_stream_over_wsgi_goes_on(world: World, end: str, headers: Any) -> None:
    app = Streaming(headers)
    answer = Answer(world, app)
    assert next(answer.chunks) == b"one"
    LOCAL[end](world)
    assert answer.rest() == [b"two", b"three"]
    answer.close()
    assert app.closed
    recorded_once(world, end, "wsgi")
    world.guard.close()


def test_what_an_app_over_wsgi_writes_by_itself_goes_on(world: World) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", WSGI_PLAIN)
        write(b"one")
        world.clock.move(EXP)
        write(b"two")
        write(b"three")
        return [b"four"]

    answer = Answer(world, app)
    assert (answer.written, answer.rest()) == ([b"one", b"two", b"three"], [b"four"])
    recorded_once(world, "expired", "wsgi")
    world.guard.close()


def test_over_wsgi_nobody_is_asked_in_between(world: World) -> None:
    """That could take longer than shadow mode may. Over ASGI nothing waits for it."""
    answer = Answer(world, Streaming(WSGI_PLAIN, *[b"more"] * 10), exp=1_800_003_600)
    next(answer.chunks)
    calls = world.broker.calls
    world.broker.answer = invalid
    for _ in range(8):
        world.clock.move(60)
        assert next(answer.chunks) == b"more"
    assert (world.broker.calls, world.ended) == (calls, [])
    world.guard.close()


@pytest.mark.parametrize("asked", [True, False])
def test_after_its_day_streams_over_wsgi_end(world: World, asked: bool) -> None:
    world.clock.wall = DAY_ENDS - 30
    answer = Answer(world, Streaming(WSGI_PLAIN), **LATE)
    assert next(answer.chunks) == b"one"
    if asked:
        world.broker.answer = invalid
        world.clock.move(31)
    else:
        world.guard.deny("agent", AGENT)
        world.clock.wall = DAY_ENDS
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    [event] = world.ended
    assert (event.reason, event.enforced) == ("rejected_by_broker" if asked else "deny_list", True)
    world.guard.close()


def test_a_stream_over_wsgi_that_a_shadow_spared_ends_with_it(world: World) -> None:
    answer = Answer(world, Streaming(WSGI_PLAIN, *[b"more"] * 10))
    next(answer.chunks)
    world.clock.move(EXP)
    assert [next(answer.chunks), next(answer.chunks)] == [b"more", b"more"]
    world.clock.wall = DAY_ENDS
    with pytest.raises(ConnectionEnded):
        next(answer.chunks)
    assert [(event.reason, event.enforced) for event in world.ended] == [("expired", False), ("expired", True)]
    world.guard.close()
