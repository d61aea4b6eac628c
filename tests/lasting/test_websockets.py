"""R-18: a websocket is closed with its agent's token, so that nothing comes through it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard.errors import AgentWritError, ConnectionEnded
from tests.lasting.lines import CLOSED, ENDS, EXP, LOCAL, Line, World, receiving, sender, sending

NEVER = 3600.0
DISCONNECT = {**CLOSED, "type": "websocket.disconnect"}


@pytest.mark.parametrize("end", ENDS)
def test_r_18_a_silent_websocket_is_closed(world: World, end: str) -> None:
    line = Line("websocket")

    async def test() -> None:
        async with world.opened(receiving, line):
            ENDS[end](world)

    world.run(test)
    assert line.sent == [{"type": "websocket.accept"}, CLOSED]
    assert line.scope["got"] == [{"type": "websocket.connect"}, DISCONNECT]
    assert world.reasons == [end.partition(",")[0]]


@pytest.mark.parametrize("end", LOCAL)
def test_r_18_what_a_client_says_too_late_is_not_heard(world: World, rounds: Callable[[float], None], end: str) -> None:
    rounds(NEVER)
    line = Line("websocket")

    async def test() -> None:
        async with world.opened(receiving, line):
            line.says("in time")
            while len(line.scope["got"]) < 2:
                await asyncio.sleep(0)
            LOCAL[end](world)
            line.says("too late")

    world.run(test)
    assert [message.get("text") for message in line.scope["got"]] == [None, "in time", None]
    assert line.scope["got"][-1] == DISCONNECT
    assert line.sent[1:] == [CLOSED]
    assert len(world.ended) == 1


@pytest.mark.parametrize("end", LOCAL)
def test_r_18_what_an_app_says_too_late_is_not_sent(world: World, rounds: Callable[[float], None], end: str) -> None:
    rounds(NEVER)
    line = sender("websocket", "in time")

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            LOCAL[end](world)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert line.sent == [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "in time"}, CLOSED]
    assert len(world.ended) == 1


def test_r_18_an_app_hears_of_the_end_as_of_a_client_that_has_left(world: World) -> None:
    caught: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        world.clock.move(EXP)
        try:
            await send({"type": "websocket.send", "text": "too late"})
        except OSError as error:
            caught.append(error)

    line = Line("websocket")

    async def test() -> None:
        async with world.opened(app, line):
            pass

    world.run(test)
    assert [type(error) for error in caught] == [ConnectionEnded]
    assert isinstance(caught[0], AgentWritError)
    assert line.types == ["accept", "close"]


def test_r_18_an_end_is_recorded(world: World) -> None:
    line = Line("websocket", "/chat")
    line.scope["headers"].append((b"x-request-id", b"r-1"))

    async def test() -> None:
        async with world.opened(receiving, line):
            world.clock.move(EXP)

    world.run(test)
    opened, ended = world.events
    assert (opened.outcome, opened.phase, opened.request_id) == ("allowed", "middleware", "r-1")
    assert (ended.outcome, ended.phase, ended.reason, ended.status) == ("denied", "connection", "expired", 401)
    assert (ended.front, ended.method, ended.path, ended.request_id) == ("asgi", "GET", "/chat", "r-1")


def test_r_18_an_app_that_ignores_the_end_neither_hears_nor_says_anything(world: World) -> None:
    came: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        world.clock.move(EXP)
        for _ in range(3):
            with contextlib.suppress(ConnectionEnded):
                await send({"type": "websocket.send", "text": "more"})
                came.append("sent")
            came.append((await receive())["type"])
        with contextlib.suppress(ConnectionEnded):
            await send({"type": "websocket.close"})
            came.append("closed")

    line = Line("websocket")
    line.says("one")
    line.says("two")

    async def test() -> None:
        async with world.opened(app, line):
            pass

    world.run(test)
    assert came == ["websocket.disconnect"] * 3
    assert line.types == ["accept", "close"]
    assert len(world.ended) == 1


@pytest.mark.parametrize("late", [True, False])
def test_r_18_what_an_app_raises_counts_only_before_the_end(world: World, late: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if late:
            world.clock.move(EXP)
            assert (await receive())["type"] == "websocket.disconnect"
        raise RuntimeError("of the app")

    line = Line("websocket")

    async def test() -> None:
        with contextlib.nullcontext() if late else pytest.raises(RuntimeError, match="of the app"):
            async with world.opened(app, line):
                pass

    world.run(test)
    assert line.types == ["accept", "close"][: 1 + late]


def test_r_18_a_refusal_of_the_apps_own_does_not_last(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        world.clock.move(EXP)
        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"body"})

    line = Line("websocket")

    async def test() -> None:
        async with world.opened(app, line, messages=3):
            pass

    world.run(test)
    assert line.types == ["start", "body", "body"]
    assert world.ended == []


@pytest.mark.parametrize("refused", [(1008,), (1008, 4008)])
def test_r_18_a_server_that_sends_no_such_code_is_given_a_private_one(world: World, refused: tuple[int, ...]) -> None:
    """As daphne is. A server that takes neither has a client that has left."""
    line = Line("websocket")
    take = line.send

    async def send(message: Any) -> None:
        await take(message)
        if message.get("code") in refused:
            raise ValueError("invalid close code")

    line.send = send  # type: ignore[method-assign]

    async def test() -> None:
        async with world.opened(receiving, line):
            world.clock.move(EXP)

    world.run(test)
    assert line.sent[1:] == [CLOSED, {**CLOSED, "code": 4008}]
    assert line.scope["got"][-1] == DISCONNECT


def test_r_18_a_websocket_that_is_over_by_itself_is_not_ended(world: World) -> None:
    """Closed by the client, by the app, and by an app that says nothing."""

    async def short(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    async def polite(scope: Any, receive: Any, send: Any) -> None:
        await receiving(scope, receive, send)
        world.clock.move(EXP)
        # The app is still busy with something.
        await asyncio.sleep(0.01)

    hung_up, closed, returned = Line("websocket"), sender("websocket", None), Line("websocket")

    async def test() -> None:
        for app, line in ((sending, closed), (short, returned)):
            async with world.opened(app, line):
                pass
        async with world.opened(polite, hung_up):
            hung_up.hangs_up()

    world.run(test)
    assert [line.types for line in (closed, returned, hung_up)] == [["accept", "close"], ["accept"], ["accept"]]
    assert closed.sent[-1]["code"] == 1000
    assert world.ended == []


def test_r_18_an_app_that_changes_its_scope_is_asked_about_as_before(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"].clear()
        await receiving(scope, receive, send)

    line = Line("websocket")

    async def test() -> None:
        async with world.opened(app, line):
            world.clock.move(30)
            while world.broker.calls < 2:
                await asyncio.sleep(0.001)
            line.hangs_up()

    world.run(test)
    assert world.ended == []
