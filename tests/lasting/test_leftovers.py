"""R-18: an end that comes in the middle of something, and what is left when connections, loops and servers are gone."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
import weakref
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.vigil import Rounds, Vigil
from tests.kit.stub import invalid
from tests.lasting.lines import (
    CLOSED,
    EVENTS,
    EXP,
    LAST,
    PATIENCE,
    Line,
    World,
    left_behind,
    receiving,
    rounds_go,
    sender,
    sending,
    settled,
)


async def ends(world: World, number: int = 1) -> None:
    while len(world.ended) < number:
        await asyncio.sleep(0.001)


# A server that takes its time (backpressure).


@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_r_18_the_end_comes_while_the_server_holds_a_message(world: World, kind: str) -> None:
    """There is one end, and nothing of the app's comes after it."""
    line = sender(kind, "one", answer=EVENTS)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            line.ready.clear()
            line.scope["go"].put_nowait("held")
            await line.until(3)
            world.clock.move(EXP)
            await line.until(4)
            line.ready.set()
            await rounds_go()
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert line.sent[3:] == [CLOSED if kind == "websocket" else LAST]
    assert len(world.ended) == 1


@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_r_18_the_end_comes_while_the_server_holds_the_first_message(world: World, kind: str) -> None:
    """Until it has been taken there is nothing to end. What comes next is too late."""
    line = sender(kind, answer=EVENTS)
    line.ready.clear()

    async def test() -> None:
        async with world.opened(sending, line):
            world.clock.move(EXP)
            await rounds_go()
            assert world.ended == []
            line.ready.set()
            await line.until(2)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert line.sent[1:] == [CLOSED if kind == "websocket" else LAST]
    assert len(world.ended) == 1


def test_r_18_a_last_message_that_is_held_is_not_followed_by_an_end(world: World) -> None:
    for kind in ("websocket", "http"):
        line = sender(kind, "one", answer=EVENTS)

        async def test(line: Line = line) -> None:
            async with world.opened(sending, line, messages=2):
                line.ready.clear()
                line.scope["go"].put_nowait(None)
                await line.until(3)
                world.clock.move(EXP)
                await rounds_go()
                line.ready.set()

        world.run(test)
        assert line.types == ["accept", "send", "close"] if kind == "websocket" else ["start", "body", "body"]
        world.clock.move(-EXP)
    assert world.ended == []


def test_r_18_an_app_does_not_return_before_the_server_has_its_close(world: World) -> None:
    """Else a server may drop the connection without one."""
    line = Line("websocket")

    async def test() -> None:
        async with world.opened(receiving, line) as task:
            line.ready.clear()
            world.clock.move(EXP)
            await line.until(2)
            await rounds_go()
            assert line.scope["got"][-1]["type"] == "websocket.disconnect"
            assert not task.done()
            line.ready.set()

    world.run(test)


@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_r_18_a_client_that_has_left_is_no_error(world: World, kind: str) -> None:
    line = sender(kind, "one", answer=EVENTS)

    async def test() -> None:
        async with world.opened(sending, line, messages=2):
            line.fault = OSError("gone")
            world.clock.move(EXP)
            await ends(world)
            line.scope["go"].put_nowait("too late")

    world.run(test)
    assert len(world.ended) == 1


# Cancellation.


async def start(guarded: GuardMiddleware, line: Line, messages: int = 1) -> asyncio.Task[None]:
    task = asyncio.ensure_future(guarded(line.scope, line.receive, line.send))
    await line.until(messages)
    return task


@pytest.mark.parametrize("app", [sending, receiving])
def test_r_18_a_request_that_is_cancelled_in_the_middle_of_its_end(world: World, app: Any) -> None:
    """Of an end that it has come upon itself, and of one that a round has."""
    line = sender("websocket")
    guarded = GuardMiddleware(app, world.guard)

    async def test() -> None:
        task = await start(guarded, line)
        line.ready.clear()
        world.clock.move(EXP)
        line.scope["go"].put_nowait("too late")
        await line.until(2)
        await rounds_go()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        line.ready.set()
        await rounds_go()
        assert left_behind(guarded) == []

    world.run(test)
    assert line.sent[1:] == [CLOSED]
    assert len(world.ended) == 1


def test_r_18_somebody_elses_cancellation_is_not_taken_for_an_end(world: World) -> None:
    line = Line("websocket")
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        task = await start(guarded, line)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left_behind(guarded) == []

    world.run(test)
    assert line.types == ["accept"]
    assert world.ended == []


def test_r_18_a_cancellation_that_comes_with_the_end_is_not_lost(world: World) -> None:
    line = Line("websocket")
    guarded = GuardMiddleware(receiving, world.guard)
    take = line.send
    tasks: list[asyncio.Task[None]] = []

    async def send(message: Any) -> None:
        if message["type"] == "websocket.close":
            tasks[0].cancel()
        await take(message)

    line.send = send  # type: ignore[method-assign]

    async def test() -> None:
        tasks.append(await start(guarded, line))
        world.clock.move(EXP)
        await asyncio.wait(tasks, timeout=PATIENCE)

    world.run(test)
    assert tasks[0].done()
    # Before Python 3.11 two cancellations at a time are one, and the app hears of the end instead.
    assert tasks[0].cancelled() == (sys.version_info >= (3, 11))


def test_r_18_an_app_that_receives_with_a_time_limit_loses_nothing(world: World) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while "websocket.disconnect" not in heard:
            try:
                message = await asyncio.wait_for(receive(), 0.003)
            except asyncio.TimeoutError:
                heard.append("nothing")
            else:
                heard.append(message.get("text") or message["type"])

    line = Line("websocket")

    async def test() -> None:
        async with world.opened(app, line):
            for text in ("one", "two"):
                while heard[-1:] != ["nothing"]:
                    await asyncio.sleep(0.001)
                line.says(text)
                while text not in heard:
                    await asyncio.sleep(0)
            world.clock.move(EXP)

    world.run(test)
    assert [word for word in heard if word != "nothing"] == ["one", "two", "websocket.disconnect"]
    assert line.sent[1:] == [CLOSED]


# What is left.


def test_r_18_a_connection_that_is_over_by_itself_leaves_nothing(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (receiving if scope["type"] == "websocket" else sending)(scope, receive, send)

    guarded = GuardMiddleware(app, world.guard)

    async def test() -> None:
        for _ in range(3):
            line = Line("websocket")
            async with world.opened(guarded, line):
                line.hangs_up()
            async with world.opened(guarded, sender("http", "one", "two", None), messages=4):
                pass
        assert left_behind(guarded) == []
        await rounds_go()
        assert guarded._rounds._watched == {}

    world.run(test)
    assert world.ended == []


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_r_18_a_connection_that_is_over_leaves_its_token_to_no_garbage_collector(world: World, kind: str) -> None:
    class Scope(dict[str, Any]):
        """One that can be seen going."""

    guarded = GuardMiddleware(receiving if kind == "websocket" else sending, world.guard)

    async def once() -> weakref.ref[Scope]:
        line = Line("websocket") if kind == "websocket" else sender("http", "one", None)
        line.hangs_up()
        scope = Scope(line.scope)
        await guarded(scope, line.receive, line.send)
        return weakref.ref(scope)

    async def test() -> None:
        await once()
        gc.collect()
        gc.disable()
        try:
            assert (await once())() is None
        finally:
            gc.enable()

    world.run(test)


def test_r_18_a_question_is_of_no_interest_when_the_connection_is_over(world: World) -> None:
    line = Line("websocket")
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        calls = world.broker.calls + 1
        with world.broker.held():
            task = asyncio.ensure_future(guarded(line.scope, line.receive, line.send))
            while world.broker.calls < calls:
                await asyncio.sleep(0.001)
        await line.until(1)
        with world.broker.held():
            world.broker.answer = invalid
            world.clock.move(30)
            while world.broker.calls < calls + 1:
                await asyncio.sleep(0.001)
            line.hangs_up()
            await task
        await settled(guarded)

    world.run(test)
    assert line.types == ["accept"]
    assert world.ended == []


def test_r_18_each_event_loop_has_rounds_of_its_own(world: World) -> None:
    guarded = GuardMiddleware(receiving, world.guard)
    lines = [Line("websocket"), Line("websocket")]
    opened = threading.Barrier(3)

    async def serve(line: Line) -> None:
        task = await start(guarded, line)
        await asyncio.to_thread(opened.wait, PATIENCE)
        await asyncio.wait_for(task, PATIENCE)
        await world.guard.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(serve(line),)) for line in lines]
    for thread in threads:
        thread.start()
    opened.wait(PATIENCE)
    assert len(guarded._rounds._watched) == 2
    world.clock.move(EXP)
    for thread in threads:
        thread.join(PATIENCE)
    assert [line.sent[1:] for line in lines] == [[CLOSED], [CLOSED]]
    assert len(world.ended) == 2
    assert left_behind(guarded) == []


def test_r_18_a_loop_that_was_closed_in_the_middle_is_forgotten(world: World) -> None:
    rounds = Rounds()

    async def end(_: Denied) -> None:
        raise AssertionError

    async def enter() -> None:
        decision = await world.guard.acheck([Line("http").scope["headers"][0][1]])
        assert isinstance(decision, Allowed)
        rounds.enter(Vigil(world.guard, [], decision), end)
        await world.guard.aclose()

    loops = [asyncio.new_event_loop() for _ in range(3)]
    for loop in loops:
        loop.run_until_complete(enter())
        loop.close()
        assert list(rounds._watched) == [loop]


@pytest.mark.parametrize("asking", [False, True])
def test_r_18_a_server_that_shuts_down_leaves_nothing_pending(
    world: World, caplog: pytest.LogCaptureFixture, asking: bool
) -> None:
    """Its event loop ends with connections open, and with a question on its way."""
    guarded = GuardMiddleware(receiving, world.guard)

    async def serve() -> None:
        lines = [Line("websocket"), Line("websocket", jti="another")]
        tasks = [await start(guarded, line) for line in lines]
        assert len(left_behind(guarded)) == len(tasks)
        calls = world.broker.calls
        if asking:
            world.broker.gate.clear()
            world.clock.move(30)
            while world.broker.calls == calls:
                await asyncio.sleep(0.001)
        await world.guard.aclose()

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        asyncio.run(serve())
        world.broker.gate.set()
        gc.collect()
    assert [str(complaint.message) for complaint in complaints] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert left_behind(guarded) == []
