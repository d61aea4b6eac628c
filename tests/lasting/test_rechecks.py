"""R-18: whether an open connection's token is still valid is asked again, and not knowing is not a yes for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard import Allowed, Guard
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.vigil import Vigil
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, invalid, valid
from tests.kit.tokens import NOW, token
from tests.lasting.lines import CLOSED, EXP, Line, World, receiving, rounds_go, settled

LONG = {"exp": NOW + 3600}
LATER = {"type": "websocket.close", "code": 1013, "reason": "temporarily_unavailable"}


def down(_: bytes) -> Any:
    return 500, {}, b""


async def open_for(world: World, guarded: GuardMiddleware, *seconds: float) -> None:
    """Let time pass in steps, and after each what is due be done."""
    for step in seconds:
        world.clock.move(step)
        await rounds_go()
        await settled(guarded)


def lasts(world: World, *seconds: float, then: Callable[[], None] = lambda: None) -> tuple[Line, int]:
    """A websocket that is silent for so long, and over then. How often the broker was asked after it was opened."""
    line = Line("websocket", **LONG)
    guarded = GuardMiddleware(receiving, world.guard)
    calls = 0

    async def test() -> None:
        nonlocal calls
        async with world.opened(guarded, line):
            calls = world.broker.calls
            then()
            await open_for(world, guarded, *seconds)
            calls = world.broker.calls - calls
            line.hangs_up()

    world.run(test)
    return line, calls


def test_r_18_the_broker_is_asked_every_interval(world: World) -> None:
    line, calls = lasts(world, *[5] * 24)
    assert calls == 4
    assert line.types == ["accept"]
    assert world.ended == []


def test_r_18_the_interval_is_a_setting(make: Callable[..., World]) -> None:
    assert lasts(make(recheck_interval=10), *[5] * 24)[1] == 12
    assert lasts(make(recheck_interval=0), *[5] * 24)[1] == 0


def test_r_18_without_an_interval_exp_ends_it_still(make: Callable[..., World]) -> None:
    line, calls = lasts(make(recheck_interval=0), EXP, 3600)
    assert calls == 0
    assert line.sent[1:] == [CLOSED]


def test_r_18_a_revocation_ends_it_at_the_next_question(world: World) -> None:
    def revoke() -> None:
        world.broker.answer = invalid

    line, calls = lasts(world, 29.9, then=revoke)
    assert (line.types, calls) == (["accept"], 0)
    world.broker.answer = valid
    line, calls = lasts(world, 29.9, 0.1, then=revoke)
    assert (line.sent[1:], calls) == ([CLOSED], 1)
    assert world.reasons == ["rejected_by_broker"]


def test_r_18_what_other_requests_found_out_counts(world: World) -> None:
    """A connection is asked about as a new request is: through the cache."""
    line = Line("websocket", **LONG)
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        async with world.opened(guarded, line):
            world.clock.move(28)
            await world.guard.acheck([line.scope["headers"][0][1]])
            calls = world.broker.calls
            await open_for(world, guarded, 2)
            assert world.broker.calls == calls
            line.hangs_up()

    world.run(test)
    assert line.types == ["accept"]


def test_r_18_an_outage_of_less_than_twice_the_interval_ends_nothing(world: World) -> None:
    def fail() -> None:
        world.broker.answer = down

    line, calls = lasts(world, 29.9, 0.1, *[0.5] * 59, then=fail)
    assert line.types == ["accept"]
    assert world.ended == []
    # Until the breaker sends nobody to the broker but a probe now and then.
    assert calls >= 5


def test_r_18_after_an_outage_the_time_counts_anew(world: World) -> None:
    def fail() -> None:
        world.broker.answer = down

    line = Line("websocket", **LONG)
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        async with world.opened(guarded, line):
            fail()
            await open_for(world, guarded, 30, 25)
            world.broker.answer = valid
            await open_for(world, guarded, 4, 0.5)
            fail()
            await open_for(world, guarded, 30, 25)
            line.hangs_up()

    world.run(test)
    assert line.types == ["accept"]
    assert world.ended == []


@pytest.mark.parametrize("seconds", [(30, 30), (60,), (30, 29.9, 0.5)])
def test_r_18_an_outage_of_twice_the_interval_ends_it(world: World, seconds: tuple[float, ...]) -> None:
    def fail() -> None:
        world.broker.answer = down

    line, _ = lasts(world, *seconds, then=fail)
    assert line.sent[1:] == [LATER]
    assert line.scope["got"][-1] == {**LATER, "type": "websocket.disconnect"}
    assert [(event.status, event.reason) for event in world.ended] == [(503, "broker_unavailable")]


def test_r_18_an_outage_that_stale_if_error_bridges_ends_nothing(make: Callable[..., World]) -> None:
    world = make(recheck_interval=1, stale_if_error=10)

    def fail() -> None:
        world.broker.answer = down

    line, _ = lasts(world, *[1] * 14, then=fail)
    assert line.types == ["accept"]
    line, _ = lasts(world, *[1] * 3, then=fail)
    assert line.sent[1:] == [LATER]


def test_r_18_a_fault_of_the_guards_own_is_no_yes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-21: it ends as an outage does."""

    async def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    def break_it() -> None:
        monkeypatch.setattr(world.guard, "acheck", fail)

    line, _ = lasts(world, 30, 29, then=break_it)
    assert line.types == ["accept"]
    line, _ = lasts(world, 30, 30, then=break_it)
    assert line.sent[1:] == [LATER]


def test_r_18_what_cannot_be_judged_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-21: `exp` and the deny list are not gone by on a guess."""

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    line, _ = lasts(world, 0, then=lambda: monkeypatch.setattr(world.guard, "judge", fail))
    assert line.sent[1:] == [LATER]
    assert world.reasons == ["broker_unavailable"]


def test_r_18_two_connections_of_an_agent_cost_one_call(world: World) -> None:
    lines = [Line("websocket", **LONG), Line("websocket", **LONG)]
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        async with world.opened(guarded, lines[0]), world.opened(guarded, lines[1]):
            calls = world.broker.calls
            await open_for(world, guarded, 30)
            assert world.broker.calls == calls + 1
            world.broker.answer = invalid
            await open_for(world, guarded, 30)
            assert world.broker.calls == calls + 2

    world.run(test)
    assert [line.sent[1:] for line in lines] == [[CLOSED], [CLOSED]]
    assert world.reasons == ["rejected_by_broker"] * 2


def test_r_18_the_end_of_one_connection_is_not_anothers(world: World) -> None:
    gone, stays = Line("websocket"), Line("websocket", jti="another", **LONG)
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        async with world.opened(guarded, stays):
            async with world.opened(guarded, gone):
                world.clock.move(EXP)
            await rounds_go()
            stays.says("still here")
            stays.hangs_up()

    world.run(test)
    assert gone.sent[1:] == [CLOSED]
    assert stays.types == ["accept"]
    assert stays.scope["got"][1] == {"type": "websocket.receive", "text": "still here"}
    assert len(world.ended) == 1


def test_r_18_an_answer_that_takes_long_is_waited_for_once(world: World) -> None:
    line = Line("websocket", **LONG)
    guarded = GuardMiddleware(receiving, world.guard)

    async def test() -> None:
        async with world.opened(guarded, line):
            calls = world.broker.calls
            with world.broker.held():
                world.clock.move(30)
                while world.broker.calls == calls:
                    await asyncio.sleep(0.001)
                for _ in range(3):
                    world.clock.move(1)
                    await rounds_go()
                # What is said meanwhile is heard: messages do not wait for the broker.
                line.says("meanwhile")
                while len(line.scope["got"]) < 2:
                    await asyncio.sleep(0)
                assert world.broker.calls == calls + 1
                assert len(guarded._rounds._tasks) == 1
            line.hangs_up()

    world.run(test)
    assert line.types == ["accept"]


def test_r_18_each_guard_of_two_keeps_its_own_vigil(world: World, make: Callable[..., World]) -> None:
    """One around the other: whoever ends it first ends it for both."""
    inner, line = make(), Line("websocket")
    guard: Guard = inner.guard

    async def test() -> None:
        async with world.opened(GuardMiddleware(GuardMiddleware(receiving, guard), world.guard), line):
            guard.deny("task", "task-1")
        other = Line("websocket", jti="another", task_id="task-2")
        async with world.opened(GuardMiddleware(GuardMiddleware(receiving, guard), world.guard), other):
            world.guard.deny("task", "task-2")
        assert other.sent[1:] == [CLOSED]
        await guard.aclose()

    world.run(test)
    assert line.sent[1:] == [CLOSED]
    assert (inner.reasons, world.reasons) == (["deny_list"], ["deny_list"])


def until_over(guard: Guard, clock: MovableClock, vigil: Vigil) -> float:
    """Seconds of the clock until a connection that nobody speaks on is over."""
    began = clock.monotonic
    while asyncio.run(vigil.ask()) is None:
        clock.move(1)
        assert clock.monotonic - began < 1000
    return clock.monotonic - began


@pytest.mark.parametrize(
    "ttl, stale, recheck, seconds", [(5, 60, 30, 65), (60, 60, 30, 120), (5, 0, 30, 60), (5, 60, 0, 900)]
)
def test_r_18_b_22_a_stale_answer_is_no_yes_for_a_connection(
    ttl: int, stale: int, recheck: int, seconds: int, broker: StubBroker, clock: MovableClock
) -> None:
    """The broker is away from the moment it has opened: it lasts as a new request would, or twice the interval."""
    guard = Guard(broker.url, clock=clock.clock, cache_ttl=ttl, stale_if_error=stale, recheck_interval=recheck)
    credentials = [b"Bearer " + token(exp=NOW + 901).encode()]
    allowed = guard.check(credentials)
    assert isinstance(allowed, Allowed)
    broker.answer = down
    assert abs(until_over(guard, clock, Vigil(guard, credentials, allowed)) - seconds) <= 2
    guard.close()


def test_r_18_b_22_a_connection_that_opened_on_a_stale_answer_ends_with_it(
    broker: StubBroker, clock: MovableClock
) -> None:
    guard = Guard(broker.url, clock=clock.clock, stale_if_error=60)
    credentials = [b"Bearer " + token(**LONG).encode()]
    assert isinstance(guard.check(credentials), Allowed)
    broker.answer = down
    clock.move(64)
    opened = guard.check(credentials)
    assert isinstance(opened, Allowed)
    assert opened.source == "stale"
    assert until_over(guard, clock, Vigil(guard, credentials, opened)) <= 2
    guard.close()
