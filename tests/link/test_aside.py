"""Work aside: begun at once, left alone when it takes too long, and told of late (threats 1, shadow mode)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, Lookup
from agentwrit_guard.aside import MOST, Aside
from agentwrit_guard.errors import BrokerUnavailable
from tests.fronts.test_load import until
from tests.fronts.test_shadow import soon
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import token
from tests.link.test_fork import in_child

LONG = 20.0
"""Seconds in which whatever a test waits for has happened."""


@pytest.fixture
def aside() -> Iterator[Aside[str]]:
    """No thread of it is left in the end, and no place taken."""
    threads = set(threading.enumerate())
    made: Aside[str] = Aside()
    yield made
    made.close()
    until(lambda: not made._under_way)
    until(lambda: not [one for one in threading.enumerate() if one not in threads])


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def never(_: object) -> None:
    raise AssertionError("nobody is late")


def held(gate: threading.Event, answer: str = "done") -> Callable[[], str]:
    def work() -> str:
        assert gate.wait(LONG)
        return answer

    return work


def fails() -> str:
    raise LookupError("of the work")


def run(test: Callable[[], Any]) -> None:
    """Run an async test. No task is left, and nothing complains in its event loop."""
    complaints: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    assert complaints == []


# --- in threads


def test_what_is_done_in_time_is_given(aside: Aside[str]) -> None:
    assert aside.waited(lambda: "done", LONG, never) == "done"


def test_what_takes_longer_goes_on_and_is_told_once(aside: Aside[str], gate: threading.Event) -> None:
    told: list[str] = []
    assert aside.waited(held(gate), 0, told.append) is None
    assert told == []
    gate.set()
    until(lambda: told)
    assert told == ["done"]


def test_what_fails_in_time_fails_its_request(aside: Aside[str]) -> None:
    with pytest.raises(LookupError, match="of the work"):
        aside.waited(fails, LONG, never)


def test_of_what_fails_late_nobody_is_told(aside: Aside[str], gate: threading.Event) -> None:
    assert aside.waited(lambda: fails() if gate.wait(LONG) else "", 0, never) is None
    gate.set()
    until(lambda: not aside._under_way)


def test_a_work_has_the_context_of_its_request(aside: Aside[str]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the request")
    assert aside.waited(variable.get, LONG, never) == "of the request"


def test_there_is_room_for_so_many_and_no_more(aside: Aside[str], gate: threading.Event) -> None:
    told: list[str] = []
    begun: list[int] = []

    def work(number: int) -> str:
        begun.append(number)
        return held(gate)()

    for number in range(MOST):
        assert aside.waited(lambda number=number: work(number), 0, told.append) is None  # type: ignore[misc]
    until(lambda: len(begun) == MOST)
    with pytest.raises(BrokerUnavailable) as caught:
        aside.waited(lambda: work(-1), 0, told.append)
    assert caught.value.fault == "queue"
    gate.set()
    until(lambda: len(told) == MOST)
    assert -1 not in begun
    until(lambda: not aside._under_way)
    assert aside.waited(lambda: "room again", LONG, never) == "room again"


def test_closing_lets_what_is_under_way_end_and_use_after_it_begins_anew(
    aside: Aside[str], gate: threading.Event
) -> None:
    told: list[str] = []
    assert aside.waited(held(gate), 0, told.append) is None
    aside.close()
    aside.close()
    assert aside.waited(lambda: "again", LONG, never) == "again"
    assert told == []
    gate.set()
    until(lambda: told)


def test_a_process_at_its_end_begins_nothing(aside: Aside[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert aside.waited(lambda: "done", LONG, never) == "done"
    monkeypatch.setattr("concurrent.futures.thread._shutdown", True)
    with pytest.raises(BrokerUnavailable) as caught:
        aside.waited(lambda: "too late", LONG, never)
    assert caught.value.fault == "closed"
    monkeypatch.undo()
    assert aside.waited(lambda: "done", LONG, never) == "done"


# --- in event loops


async def quick() -> str:
    return "done"


def test_async_what_is_done_in_time_is_given(aside: Aside[str]) -> None:
    async def test() -> None:
        assert await aside.awaited(quick, LONG, never) == "done"

    run(test)


def test_async_what_takes_longer_goes_on_and_is_told_once(aside: Aside[str]) -> None:
    told: list[str] = []

    async def test() -> None:
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "done"

        assert await aside.awaited(work, 0, told.append) is None
        # Event loops hold their tasks weakly.
        gc.collect()
        assert told == []
        gate.set()
        await soon(lambda: told)

    run(test)
    assert told == ["done"]


@pytest.mark.parametrize("late", [False, True])
def test_async_what_fails(aside: Aside[str], late: bool) -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def work() -> str:
            if late:
                await gate.wait()
            return fails()

        if not late:
            with pytest.raises(LookupError, match="of the work"):
                await aside.awaited(work, LONG, never)
            return
        assert await aside.awaited(work, 0, never) is None
        gate.set()
        await soon(lambda: not aside._under_way)

    run(test)


def test_async_whose_request_is_cancelled_is_told_late(aside: Aside[str]) -> None:
    told: list[str] = []

    async def test() -> None:
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "done"

        waiting = asyncio.ensure_future(aside.awaited(work, LONG, told.append))
        await soon(lambda: aside._under_way)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert told == []
        gate.set()
        await soon(lambda: told)

    run(test)
    assert told == ["done"]


def test_async_of_what_is_cancelled_itself_nobody_is_told(aside: Aside[str]) -> None:
    """As everything is when its event loop ends."""

    async def test() -> None:
        assert await aside.awaited(asyncio.Event().wait, 0, never) is None  # type: ignore[arg-type]
        for task in list(aside._under_way):
            task.cancel()
        await soon(lambda: not aside._under_way)

    run(test)


def test_async_there_is_room_for_so_many_and_no_more(aside: Aside[str], gate: threading.Event) -> None:
    """Over threads and event loops together."""
    told: list[str] = []

    async def test() -> None:
        opened = asyncio.Event()

        async def work() -> str:
            await opened.wait()
            return "async"

        for _ in range(MOST - 1):
            assert await aside.awaited(work, 0, told.append) is None
        assert await asyncio.to_thread(aside.waited, held(gate), 0, told.append) is None
        for ask in (lambda: aside.awaited(work, 0, never), lambda: asyncio.to_thread(aside.waited, fails, 0, never)):
            with pytest.raises(BrokerUnavailable) as caught:
                await ask()
            assert caught.value.fault == "queue"
        opened.set()
        gate.set()
        await soon(lambda: len(told) == MOST and not aside._under_way)
        assert await aside.awaited(quick, LONG, never) == "done"

    run(test)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_async_a_loop_that_is_closed_gives_its_room_back(aside: Aside[str]) -> None:
    """And one that goes on does not."""
    lost = asyncio.new_event_loop()
    lost.set_exception_handler(lambda *_: None)

    async def left() -> None:
        for _ in range(MOST):
            assert await aside.awaited(asyncio.Event().wait, 0, never) is None  # type: ignore[arg-type]

    lost.run_until_complete(left())

    async def test(room: bool) -> None:
        if room:
            assert await aside.awaited(quick, LONG, never) == "done"
        else:
            with pytest.raises(BrokerUnavailable):
                await aside.awaited(quick, LONG, never)

    asyncio.run(test(False))
    tasks = [task for task in aside._under_way if isinstance(task, asyncio.Task)]
    lost.close()
    asyncio.run(test(True))
    assert not aside._under_way
    # Nobody is to hear of them from the garbage collector.
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


# --- forked children


def test_a_child_has_room_though_its_parent_has_none(aside: Aside[str], gate: threading.Event) -> None:
    for _ in range(MOST):
        assert aside.waited(held(gate), 0, lambda _: None) is None

    def child() -> bool:
        aside.reset()
        return aside.waited(lambda: "in the child", LONG, never) == "in the child"

    assert in_child(child)
    with pytest.raises(BrokerUnavailable):
        aside.waited(lambda: "in the parent", LONG, never)


def test_a_guard_of_a_forked_child_looks_up_aside(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, timeout=LONG, enforce=False, until="2027-01-31")
    lookup = guard.decide([b"Bearer " + token().encode()])
    assert isinstance(lookup, Lookup)
    # A thread that has nothing to do is one that the child would wait for in vain.
    assert isinstance(guard.settle_aside(lookup, LONG, never), Allowed)
    assert in_child(lambda: isinstance(guard.settle_aside(lookup, LONG / 4, never), Allowed))
    guard.close()


# --- a guard's lookups


def test_a_guard_that_is_closed_tells_of_what_was_under_way(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, timeout=LONG, enforce=False, until="2027-01-31")
    lookup = guard.decide([b"Bearer " + token().encode()])
    assert isinstance(lookup, Lookup)
    told: list[Any] = []

    async def test() -> None:
        with stub.held():
            assert await guard.asettle_aside(lookup, 0, told.append) is None
            await soon(lambda: stub.calls)
            await guard.aclose()
            await soon(lambda: told)

    run(test)
    [denied] = told
    assert isinstance(denied, Denied)
    assert denied.status == 503


def test_a_guard_that_is_closed_leaves_no_thread(stub: StubBroker, clock: MovableClock) -> None:
    threads = set(threading.enumerate())
    guard = Guard(stub.url, clock=clock.clock, timeout=LONG, enforce=False, until="2027-01-31")
    lookup = guard.decide([b"Bearer " + token().encode()])
    assert isinstance(lookup, Lookup)
    assert isinstance(guard.settle_aside(lookup, LONG, never), Allowed)
    guard.close()
    until(lambda: not [one for one in threading.enumerate() if one not in threads and one.name.startswith("agentwrit")])


def test_lookups_of_one_token_ask_once(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, timeout=LONG, enforce=False, until="2027-01-31")
    lookup = guard.decide([b"Bearer " + token().encode()])
    assert isinstance(lookup, Lookup)
    told: list[Any] = []

    async def test() -> None:
        with stub.held(), contextlib.closing(guard):
            for _ in range(10):
                assert await guard.asettle_aside(lookup, 0, told.append) is None
            stub.gate.set()
            await soon(lambda: len(told) == 10)
            await guard.aclose()

    run(test)
    assert stub.calls == 1
    assert {type(decision) for decision in told} == {Allowed}


def test_a_loop_that_was_stopped_and_forgotten_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Aside[str] = Aside()
    loop = asyncio.new_event_loop()

    async def hang() -> str:
        await asyncio.sleep(LONG * 10)
        return ""

    async def begin() -> None:
        for _ in range(MOST):
            assert await made.awaited(hang, 0, never) is None

    try:
        loop.run_until_complete(begin())
        with pytest.raises(BrokerUnavailable):
            made.waited(lambda: "done", LONG, never)
        monkeypatch.setattr("agentwrit_guard.aside._LOST", 0.0)
        assert made.waited(lambda: "done", LONG, never) == "done"
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        made.close()
