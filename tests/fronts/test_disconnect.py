"""A client that leaves while its token is validated: no handler runs, and nothing is lost for those that stay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from typing import Any

import anyio
import pytest

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from tests.fronts.connection import (
    CONNECT,
    CUT,
    GONE,
    TEXT,
    App,
    Event,
    Receive,
    Server,
    body,
    run,
    serve,
    taking,
    turns,
)
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    guard = Guard(broker.url, clock=clock.clock)
    yield guard
    guard.close()


# A client that has left.


@pytest.mark.parametrize("events", [[GONE], [body(), GONE], [body(b"all of it"), GONE]], ids=["at once", "get", "post"])
def test_r_22_nothing_runs_and_nothing_is_sent(
    guard: Guard, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentwrit_guard.decisions")
    app, server = App(), Server(*events)
    serve(guard, app, server)
    assert (app.runs, server.sent, server.asked, server.cancelled) == (0, [], len(events), 0)
    # What was decided was decided, and is on record.
    [entry] = [entry for entry in caplog.records if entry.name == "agentwrit_guard.decisions"]
    assert entry.decision.outcome == "allowed"  # type: ignore[attr-defined]


def test_r_22_websocket_that_is_gone_is_not_accepted(guard: Guard) -> None:
    app, server = App(), Server(CONNECT, CUT, kind="websocket")
    serve(guard, app, server)
    assert (app.runs, server.sent, server.cancelled) == (0, [], 0)


def test_r_22_of_two_requests_only_that_of_the_client_that_stayed_runs(guard: Guard, broker: StubBroker) -> None:
    """One token, and one question to the broker."""
    app, left, stayed = App(taking(1)), Server(body(b"left"), GONE), Server(body(b"stayed"))
    guarded = GuardMiddleware(app, guard)

    async def play() -> None:
        await asyncio.gather(*(guarded(one.scope, one.receive, one.send) for one in (left, stayed)))

    run(guard, play)
    assert app.got == [[body(b"stayed")]]
    assert (left.sent, len(stayed.sent), broker.calls) == ([], 2, 1)


def test_r_22_disconnect_behind_a_body_that_goes_on_is_the_apps_to_find(guard: Guard) -> None:
    """To look further would be to buffer what the client sends."""
    app, server = App(taking(2)), Server(body(b"a piece", more=True), GONE)
    serve(guard, app, server)
    assert app.got == [[body(b"a piece", more=True), GONE]]


# A client that stays.


@pytest.mark.parametrize(
    "events",
    [
        [body()],
        [body(b"all of it")],
        [body(b"one", more=True), body(b"two", more=True), body(b"three")],
        [body(b"one", more=True), body()],
    ],
    ids=["none", "whole", "pieces", "empty end"],
)
def test_r_22_body_comes_in_order_and_once(guard: Guard, events: list[Event]) -> None:
    app, server = App(taking(len(events))), Server(*events)
    serve(guard, app, server)
    assert app.got == [events]
    assert server.events.empty()


def test_r_22_body_is_read_as_the_app_reads_it(guard: Guard) -> None:
    server = Server(*(body(b"x", more=True) for _ in range(5)))

    async def plan(receive: Receive) -> Any:
        asked = [server.asked]
        for _ in range(5):
            await receive()
            asked.append(server.asked)
        return asked

    app = App(plan)
    serve(guard, app, server)
    # One piece had been looked at.
    assert app.got == [[1, 1, 2, 3, 4, 5]]


def test_r_22_what_was_looked_at_comes_without_a_turn(guard: Guard) -> None:
    """Starlette's `is_disconnected` takes only what comes so."""

    async def plan(receive: Receive) -> Any:
        with anyio.CancelScope() as scope:
            scope.cancel()
            return await receive()

    app, server = App(plan), Server(body(b"x"))
    serve(guard, app, server)
    assert app.got == [body(b"x")]


def test_r_22_an_event_that_is_there_is_not_waited_for(guard: Guard) -> None:
    ticks, server = [0], Server(body(b"x", more=True))

    async def tick() -> None:
        while True:
            ticks[0] += 1
            await asyncio.sleep(0)

    async def receive() -> Any:
        ticks[0] = 0
        return await server.receive()

    async def plan(_: Receive) -> Any:
        return ticks[0]

    async def play() -> None:
        ticking = asyncio.ensure_future(tick())
        await GuardMiddleware(app, guard)(server.scope, receive, server.send)
        ticking.cancel()
        await asyncio.wait((ticking,))

    app = App(plan)
    run(guard, play)
    assert app.got[0] <= 2


def test_r_22_a_slow_client_is_not_waited_for(guard: Guard) -> None:
    """Its first event comes once the app runs, and is what the call brings that was waiting already."""
    server = Server()

    async def plan(receive: Receive) -> Any:
        before = server.asked
        server.events.put_nowait(body(b"late"))
        return before, await receive(), server.asked

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [(1, body(b"late"), 1)]


def test_r_22_disconnect_that_comes_later_reaches_the_app(guard: Guard) -> None:
    server = Server(body(b"all"))

    async def plan(receive: Receive) -> Any:
        first = await receive()
        server.events.put_nowait(GONE)
        return first, await receive(), server.asked

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [(body(b"all"), GONE, 2)]


@pytest.mark.parametrize("events", [[], [body()], [body(b"x", more=True)]], ids=["nothing", "whole", "piece"])
def test_r_22_call_that_nobody_wants_is_cancelled(guard: Guard, events: list[Event]) -> None:
    app, server = App(), Server(*events)

    async def play() -> None:
        await GuardMiddleware(app, guard)(server.scope, server.receive, server.send)
        # It has ended before the request has.
        assert server.cancelled == server.asked - len(events)

    run(guard, play)
    assert app.runs == 1


def test_r_22_call_is_cancelled_when_the_app_fails(guard: Guard) -> None:
    async def plan(receive: Receive) -> Any:
        raise LookupError("the app's own")

    server = Server(body())
    with pytest.raises(LookupError, match="the app's own"):
        serve(guard, App(plan), server)
    assert (server.asked, server.cancelled) == (2, 1)


@pytest.mark.parametrize("events", [[], [body()], [body(b"x", more=True)]], ids=["nothing", "whole", "piece"])
def test_r_22_an_app_that_gives_up_a_call_loses_no_event(guard: Guard, events: list[Event]) -> None:
    server = Server(*events)

    async def plan(receive: Receive) -> Any:
        got = [await receive() for _ in events]
        for _ in range(2):
            with anyio.move_on_after(0) as scope:
                await receive()
            assert scope.cancelled_caught
        server.events.put_nowait(GONE)
        return [*got, await receive()]

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [[*events, GONE]]


@pytest.mark.parametrize("late", [False, True], ids=["before it came", "as it came"])
def test_r_22_event_that_comes_as_its_caller_gives_up_is_the_next_callers(guard: Guard, late: bool) -> None:
    server = Server()

    async def plan(receive: Receive) -> Any:
        caller = asyncio.ensure_future(receive())
        await turns()
        server.events.put_nowait(body(b"only once"))
        if late:
            # The call has ended, and its caller has not been told.
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait((caller,))
        assert caller.cancelled()
        return await receive()

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [body(b"only once")]
    assert (server.asked, server.cancelled) == (1, 0)


def test_r_22_call_of_a_task_that_the_app_leaves_behind_ends_with_the_task(guard: Guard) -> None:
    server, left = Server(), []

    async def plan(receive: Receive) -> Any:
        left.append(asyncio.ensure_future(receive()))
        await turns()

    async def play() -> None:
        await GuardMiddleware(App(plan), guard)(server.scope, server.receive, server.send)
        await turns()
        assert (server.cancelled, left[0].done()) == (0, False)
        left[0].cancel()
        await turns()

    run(guard, play)
    assert (server.asked, server.cancelled) == (1, 1)


def test_r_22_two_callers_get_two_events(guard: Guard) -> None:
    server = Server()

    async def plan(receive: Receive) -> Any:
        both = [asyncio.ensure_future(receive()) for _ in range(2)]
        await turns()
        server.events.put_nowait(body(b"one", more=True))
        server.events.put_nowait(body(b"two"))
        return [await one for one in both]

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [[body(b"one", more=True), body(b"two")]]


# What a look must not do.


def test_r_22_a_hit_has_the_servers_own_receive(guard: Guard, broker: StubBroker) -> None:
    """Nor does it look: a client that left while nobody was asked is the app's to find."""
    app, asked, hit = App(), Server(body()), Server(GONE)
    guarded, tasks = GuardMiddleware(app, guard), []

    async def play() -> None:
        for server in (asked, hit):
            await guarded(server.scope, server.receive, server.send)
            tasks.append(len(asyncio.all_tasks()))

    run(guard, play)
    assert app.receives[0] != asked.receive
    assert app.receives[1] == hit.receive
    assert (broker.calls, hit.asked, len(hit.sent)) == (1, 0, 2)
    assert tasks[0] == tasks[1]


def test_r_22_public_path_has_the_servers_own_receive(guard: Guard, broker: StubBroker) -> None:
    app, server = App(), Server(GONE)
    run(guard, lambda: GuardMiddleware(app, guard, public=["POST /me"])(server.scope, server.receive, server.send))
    assert app.receives == [server.receive]
    assert (server.asked, broker.calls) == (0, 0)


def test_r_22_nothing_is_received_before_the_broker_has_answered(guard: Guard, broker: StubBroker) -> None:
    """R-23."""
    app, server = App(), Server(body(b"x"), GONE)

    async def play() -> None:
        with broker.held():
            asking = asyncio.ensure_future(GuardMiddleware(app, guard)(server.scope, server.receive, server.send))
            while not broker.calls:
                await asyncio.sleep(0)
            await turns()
            assert server.asked == 0
        await asking

    run(guard, play)
    assert (app.runs, server.asked) == (0, 2)


def test_r_22_r_23_body_of_a_refused_request_is_not_touched(guard: Guard, broker: StubBroker) -> None:
    broker.answer = invalid
    app, server = App(), Server(body(b"x", more=True))
    serve(guard, app, server)
    assert (app.runs, server.asked, server.sent[0]["status"]) == (0, 0, 401)


def test_r_22_client_that_waits_to_be_asked_for_its_body_is_asked_by_the_app(guard: Guard) -> None:
    app, server = App(), Server(headers=((b"Expect", b"100-continue"),))
    serve(guard, app, server)
    assert app.receives == [server.receive]
    assert server.asked == 0


def test_r_22_cancelled_while_looking(guard: Guard) -> None:
    app, server = App(), Server()

    async def play() -> None:
        async def receive() -> Any:
            request.cancel()
            return await server.receive()

        request = asyncio.ensure_future(GuardMiddleware(app, guard)(server.scope, receive, server.send))
        await asyncio.wait((request,))
        assert request.cancelled()

    run(guard, play)
    assert (app.runs, server.sent, server.asked, server.cancelled) == (0, [], 1, 1)


def test_r_22_cancelled_while_the_app_receives(guard: Guard) -> None:
    server = Server(body())

    async def play() -> None:
        receiving = asyncio.Event()

        async def plan(receive: Receive) -> Any:
            await receive()
            receiving.set()
            await receive()

        request = asyncio.ensure_future(GuardMiddleware(App(plan), guard)(server.scope, server.receive, server.send))
        await receiving.wait()
        request.cancel()
        await asyncio.wait((request,))
        assert request.cancelled()

    run(guard, play)
    assert (server.asked, server.cancelled) == (2, 1)


# A receive that raises.


def broken(*events: Any) -> Receive:
    left = list(events)

    async def receive() -> Any:
        if isinstance(left[0], Exception):
            raise left.pop(0)
        return left.pop(0)

    return receive


@pytest.mark.parametrize("before", [[], [body(b"whole")]], ids=["first", "second"])
def test_r_22_error_of_receive_is_raised_where_the_app_receives(guard: Guard, before: list[Event]) -> None:
    async def plan(receive: Receive) -> Any:
        got = [await receive() for _ in before]
        with pytest.raises(ConnectionError, match="broken"):
            await receive()
        return [*got, await receive()]

    app, server = App(plan), Server()
    receive = broken(*before, ConnectionError("broken"), GONE)
    run(guard, lambda: GuardMiddleware(app, guard)(server.scope, receive, server.send))
    assert app.got == [[*before, GONE]]


@pytest.mark.parametrize("before", [[], [body(b"whole")]], ids=["first", "second"])
def test_r_22_error_of_receive_is_nobodys_if_the_app_does_not_receive(guard: Guard, before: list[Event]) -> None:
    app, server = App(), Server()
    receive = broken(*before, ConnectionError("broken"))

    async def play() -> None:
        await GuardMiddleware(app, guard)(server.scope, receive, server.send)
        # Through it the app still held what came of the calls.
        app.receives.clear()

    run(guard, play)
    assert (app.runs, len(server.sent)) == (1, 2)


def test_r_22_call_that_fails_when_it_is_cancelled_is_no_complaint(guard: Guard) -> None:
    app, server = App(), Server()

    async def receive() -> Any:
        try:
            return await server.receive()
        except asyncio.CancelledError:
            raise ConnectionError("broken") from None

    async def play() -> None:
        await GuardMiddleware(app, guard)(server.scope, receive, server.send)
        app.receives.clear()

    run(guard, play)
    assert (app.runs, server.cancelled) == (1, 1)


def test_r_22_awaitables_that_are_no_coroutines_will_do(guard: Guard) -> None:
    """granian's receive gives what passes for a future, and can be awaited and little else."""

    class Awaited:
        _asyncio_future_blocking = False

        def __init__(self, call: Awaitable[Any]) -> None:
            self._call = call

        def __await__(self) -> Any:
            return self._call.__await__()

    app, server = App(taking(1)), Server(body(b"x"))
    run(guard, lambda: GuardMiddleware(app, guard)(server.scope, lambda: Awaited(server.receive()), server.send))
    assert app.got == [[body(b"x")]]


# Websockets.


def test_r_22_websocket_events_come_in_order_and_once(guard: Guard) -> None:
    server = Server(CONNECT, kind="websocket")

    async def plan(receive: Receive) -> Any:
        connect, waiting = await receive(), server.asked - server.cancelled - 1
        await server.send({"type": "websocket.accept"})
        server.events.put_nowait(TEXT)
        server.events.put_nowait(CUT)
        await turns()
        # Nothing reads ahead of the app.
        return connect, waiting, server.events.qsize(), await receive(), await receive()

    app = App(plan)
    serve(guard, app, server)
    assert app.got == [(CONNECT, 0, 2, TEXT, CUT)]


def test_r_22_websocket_event_that_comes_as_its_call_is_taken_back_is_kept(guard: Guard) -> None:
    server = Server(CONNECT, kind="websocket")

    async def receive() -> Any:
        try:
            return await server.receive()
        except asyncio.CancelledError:
            return CUT

    app = App(taking(2))
    run(guard, lambda: GuardMiddleware(app, guard)(server.scope, receive, server.send))
    assert app.got == [[CONNECT, CUT]]
