"""`Guard.stats`: true figures, from any thread and any loop, in the middle of anything."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.stats import Stats
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, valid
from tests.kit.tokens import AGENT, token


def bearer(**changes: object) -> list[bytes]:
    return [b"Bearer " + token(**changes).encode()]


def down(_: bytes) -> Answer:
    return 500, {}, b""


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    made = Guard(broker.url, clock=clock.clock, timeout=20, queue_timeout=20, breaker_failures=2, max_in_flight=1)
    yield made
    made.close()


FRESH = Stats(
    uptime=0.0, cached=0, lookups=0, valid=0, invalid=0, unavailable=0, in_flight=0, waiting=0, identities=0,
    rejected=0, tombstones=0, denied=0, denied_by_file=0, breaker="closed", degraded=False, budget_left=100,
    answered=None, clock_skew=None,
)  # fmt: skip


def test_a_new_guard_has_seen_nothing(guard: Guard) -> None:
    assert guard.stats() == FRESH
    with pytest.raises(dataclasses.FrozenInstanceError):
        guard.stats().cached = 1  # type: ignore[misc]


def test_what_is_counted(guard: Guard, broker: StubBroker, clock: MovableClock) -> None:
    for entries in (bearer(), bearer(), bearer(), [], [b"Basic x"], [b"Bearer a.b.c"]):
        guard.check(entries)
    counted = dataclasses.replace(FRESH, lookups=1, cached=2, valid=1, identities=1, answered=0.0)
    assert guard.stats() == counted
    broker.answer = invalid
    for _ in range(3):
        assert isinstance(guard.check(bearer(jti="a")), Denied)
    clock.move(2)
    counted = dataclasses.replace(
        counted, uptime=2.0, lookups=2, cached=4, invalid=1, rejected=1, answered=2.0, budget_left=100
    )
    assert guard.stats() == counted
    # A requirement that asks each time is a lookup each time.
    broker.answer = valid
    guard.check(bearer(), all_of("read:customers:7291", max_age=0))
    assert (guard.stats().lookups, guard.stats().valid, guard.stats().cached) == (3, 2, 4)
    # A token that was valid and is no more.
    broker.answer = invalid
    guard.check(bearer(), all_of("read:customers:7291", max_age=0))
    assert guard.stats().tombstones == 0
    clock.move(6)
    guard._cache.reset()
    broker.answer = valid
    guard.check(bearer())
    clock.move(6)
    broker.answer = invalid
    guard.check(bearer())
    assert (guard.stats().tombstones, guard.stats().identities) == (1, 0)


def test_an_outage(guard: Guard, broker: StubBroker, clock: MovableClock) -> None:
    broker.answer = down
    for number in range(4):
        guard.check(bearer(jti=f"{number}"))
    stats = guard.stats()
    # Two were asked, and then nobody was.
    assert (broker.calls, stats.unavailable, stats.lookups) == (2, 2, 4)
    assert (stats.breaker, stats.degraded, stats.answered) == ("open", True, None)
    clock.move(60)
    assert (guard.stats().breaker, guard.stats().degraded) == ("half_open", True)
    broker.answer = valid
    guard.check(bearer())
    assert (guard.stats().breaker, guard.stats().degraded, guard.stats().answered) == ("closed", False, 0.0)


def test_what_strangers_cost(guard: Guard, broker: StubBroker) -> None:
    broker.answer = invalid
    for number in range(3):
        guard.check(bearer(jti=f"{number}"))
    assert guard.stats().budget_left == 97


def test_the_deny_lists(broker: StubBroker, clock: MovableClock, tmp_path: Path) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("task a\ntask b\n", encoding="utf-8")
    guard = Guard(broker.url, clock=clock.clock, deny_file=str(file))
    guard.deny("agent", AGENT)
    assert (guard.stats().denied, guard.stats().denied_by_file) == (1, 2)
    guard.close()


def test_calls_under_way_and_in_line(guard: Guard, broker: StubBroker) -> None:
    with ThreadPoolExecutor(2) as pool:
        with broker.held():
            calls = [pool.submit(guard.check, bearer(jti=f"{number}")) for number in range(2)]
            while not guard.stats().waiting and not all(call.done() for call in calls):
                threading.Event().wait(0.001)
            assert (guard.stats().in_flight, guard.stats().waiting) == (1, 1)
        assert all(isinstance(call.result(20), Allowed) for call in calls)
    assert (guard.stats().in_flight, guard.stats().waiting) == (0, 0)


def test_any_loop_and_any_thread_may_ask(guard: Guard) -> None:
    """While others decide, and in the loop itself: figures only grow."""
    stop = threading.Event()
    seen: list[Stats] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(guard.stats())

    async def main() -> None:
        for number in range(200):
            await guard.acheck(bearer(jti=f"{number % 20}"))
            guard.stats()
        await guard.aclose()

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    asyncio.run(main())
    stop.set()
    for watcher in watchers:
        watcher.join()
    for each in (seen[0::2], seen[1::2]):
        assert all(stats.cached + stats.lookups <= 200 for stats in each)
    assert (guard.stats().lookups, guard.stats().cached, guard.stats().valid) == (20, 180, 20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_counts_for_itself(guard: Guard, clock: MovableClock) -> None:
    guard.check(bearer())
    clock.move(9)
    assert in_child(lambda: guard.stats() == FRESH)
    assert guard.stats().valid == 1


def in_child(work: Callable[[], bool]) -> bool:
    from tests.link.test_fork import in_child as run

    return run(work)
