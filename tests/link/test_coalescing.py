"""Equal lookups share one call (threats C-14 to C-19): followers share the validation, each judges for itself."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentwrit_guard import Allowed, Clock, Denied, Guard, Requirement, all_of
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow, ask
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import claims, token

GOOD = token()
READ, WRITE = all_of("read:customers:7291"), all_of("write:customers:7291")
ALWAYS = Requirement.authenticated(max_age=0)
NOW = Instant(1000.0, 1.8e9)


def bearer(text: str = GOOD) -> list[bytes]:
    return [b"Bearer " + text.encode()]


@pytest.fixture
def guard(stub: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    made = Guard(stub.url, clock=clock.clock, timeout=20, queue_timeout=20)
    yield made
    made.close()


class Waiting:
    """Counts callers as they come to settle, so that a test knows when all of them wait."""

    def __init__(self, clock: MovableClock, expected: int) -> None:
        self._clock = clock
        self._left = expected
        self._lock = threading.Lock()
        self.all_there = threading.Event()

    def wall(self) -> float:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.all_there.set()
        return self._clock.wall

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self._clock.monotonic, wall=self.wall)


def test_c_14_a_thousand_threads_make_one_call(stub: StubBroker, clock: MovableClock) -> None:
    waiting = Waiting(clock, 2000)  # each decides, and comes to settle
    guard = Guard(stub.url, clock=waiting.clock, timeout=30)
    requirements = [READ if number % 2 else WRITE for number in range(1000)]
    threading.stack_size(256 * 1024)
    try:
        with stub.held(), ThreadPoolExecutor(1000) as pool:
            found = [pool.submit(guard.check, bearer(), requirement) for requirement in requirements]
            assert waiting.all_there.wait(60)
            stub.gate.set()
            decisions = [future.result(60) for future in found]
    finally:
        threading.stack_size(0)
        guard.close()
    assert stub.calls == 1
    for requirement, decision in zip(requirements, decisions, strict=True):
        assert isinstance(decision, Allowed if requirement is READ else Denied)
        assert isinstance(decision, Allowed) or decision.status == 403


@pytest.mark.anyio
async def test_c_14_a_thousand_tasks_make_one_call(guard: Guard, stub: StubBroker) -> None:
    with stub.held():
        tasks = [asyncio.create_task(guard.acheck(bearer(), READ if n % 2 else WRITE)) for n in range(1000)]
        await until(lambda: stub.calls == 1)
    decisions = await asyncio.gather(*tasks)
    await guard.aclose()
    assert stub.calls == 1
    assert [isinstance(decision, Allowed) for decision in decisions] == [False, True] * 500
    assert {decision.status for decision in decisions if isinstance(decision, Denied)} == {403}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get there."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to it")


def until_sync(condition: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it never came to it")


def test_c_14_a_thread_that_was_overtaken_joins_the_call(stub: StubBroker, clock: MovableClock) -> None:
    """It read the clock before the leader did, and came to the link after it: that is no stepped clock."""
    read, go = threading.Event(), threading.Event()
    reads = 0

    def wall() -> float:
        nonlocal reads
        if threading.current_thread().name == "overtaken":
            reads += 1
            if reads == 2:  # the first is for decide, the second for settle
                early = clock.wall
                read.set()
                assert go.wait(20)
                return early
        return clock.wall

    def monotonic() -> float:
        return clock.monotonic

    guard = Guard(stub.url, clock=Clock(monotonic=monotonic, wall=wall), timeout=20)
    found: list[Allowed | Denied] = []

    def check() -> None:
        found.append(guard.check(bearer()))

    overtaken, leader = threading.Thread(target=check, name="overtaken"), threading.Thread(target=check)
    with stub.held():
        overtaken.start()
        assert read.wait(20)
        clock.move(0.001)
        leader.start()
        until_sync(lambda: stub.calls == 1)
        go.set()
    leader.join(20)
    overtaken.join(20)
    guard.close()
    assert [isinstance(decision, Allowed) for decision in found] == [True, True]
    assert stub.calls == 1


@pytest.mark.anyio
async def test_c_15_a_cancelled_first_caller_harms_nobody(guard: Guard, stub: StubBroker) -> None:
    with stub.held():
        first = asyncio.create_task(guard.acheck(bearer()))
        await until(lambda: stub.calls == 1)
        others = [asyncio.create_task(guard.acheck(bearer())) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert all(isinstance(decision, Allowed) for decision in await asyncio.gather(*others))
    assert stub.calls == 1
    assert isinstance(guard.decide(bearer()), Allowed)
    await guard.aclose()


@pytest.mark.anyio
async def test_c_17_a_cancelled_follower_harms_nobody(guard: Guard, stub: StubBroker) -> None:
    with stub.held():
        first = asyncio.create_task(guard.acheck(bearer()))
        await until(lambda: stub.calls == 1)
        follower = asyncio.create_task(guard.acheck(bearer()))
        await asyncio.sleep(0)
        follower.cancel()
        with pytest.raises(asyncio.CancelledError):
            await follower
    assert isinstance(await first, Allowed)
    assert stub.calls == 1
    await guard.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [valid, invalid, lambda _: json_answer({}, 500)], ids=["valid", "invalid", "500"])
async def test_c_16_when_all_callers_have_gone_nobody_complains(
    guard: Guard, stub: StubBroker, answer: Callable[[bytes], Answer]
) -> None:
    before = asyncio.all_tasks()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    stub.answer = answer
    with stub.held():
        callers = [asyncio.create_task(guard.acheck(bearer())) for _ in range(3)]
        await until(lambda: stub.calls == 1)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    left = asyncio.all_tasks() - before
    await asyncio.wait(left)  # which takes no exception, as gather would
    await guard.aclose()
    del callers, left
    gc.collect()
    assert complaints == []


@pytest.mark.anyio
async def test_c_16_an_error_that_nobody_awaits_is_no_complaint(stub: StubBroker) -> None:
    before = asyncio.all_tasks()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    link = AsyncLink(LinkOptions(stub.url))

    def flow() -> Flow[BrokerReply]:
        yield BrokerRequest.post("/x", {"token": "x.e30"})
        raise BrokerUnavailable("status", "nobody will hear of it")

    with stub.held():
        caller = asyncio.create_task(link.share(b"k", flow, now=NOW, max_age=5))
        await until(lambda: stub.calls == 1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    left = asyncio.all_tasks() - before
    await asyncio.wait(left)  # which takes no exception, as gather would
    await link.aclose()
    del caller, left
    gc.collect()
    assert complaints == []


@pytest.mark.anyio
async def test_c_16_a_failure_is_shared_and_not_kept(guard: Guard, stub: StubBroker) -> None:
    stub.answer = lambda _: json_answer({}, 500)
    with stub.held():
        callers = [asyncio.create_task(guard.acheck(bearer())) for _ in range(20)]
        await until(lambda: stub.calls == 1)
    decisions = await asyncio.gather(*callers)
    assert {decision.status for decision in decisions if isinstance(decision, Denied)} == {503}
    assert (len(decisions), stub.calls) == (20, 1)
    stub.answer = valid
    assert isinstance(await guard.acheck(bearer()), Allowed)
    assert stub.calls == 2
    await guard.aclose()


def test_c_16_a_failure_is_shared_and_not_kept_sync(stub: StubBroker, clock: MovableClock) -> None:
    waiting = Waiting(clock, 40)
    guard = Guard(stub.url, clock=waiting.clock, timeout=20)
    stub.answer = lambda _: json_answer({}, 500)
    with stub.held(), ThreadPoolExecutor(20) as pool:
        found = [pool.submit(guard.check, bearer()) for _ in range(20)]
        assert waiting.all_there.wait(20)
        until_sync(lambda: stub.calls == 1)
        stub.gate.set()
        decisions = [future.result(20) for future in found]
    # A thread may read the clock and be held up until the shared call is over: it then asks for itself.
    assert stub.calls < 20
    assert {decision.status for decision in decisions if isinstance(decision, Denied)} == {503}
    stub.answer = valid
    asked = stub.calls
    assert isinstance(guard.check(bearer()), Allowed)
    assert stub.calls == asked + 1
    guard.close()


def test_c_16_each_request_after_a_failure_asks_again(stub: StubBroker, clock: MovableClock) -> None:
    stub.answer = lambda _: json_answer({}, 500)
    guard = Guard(stub.url, clock=clock.clock, breaker_failures=1000, unknown_token_burst=1000)
    for expected in range(1, 101):
        assert isinstance(guard.check(bearer()), Denied)
        assert stub.calls == expected
    guard.close()


def failing(number: int) -> Callable[[], Flow[None]]:
    def flow() -> Flow[None]:
        raise BrokerUnavailable("status", f"failure {number}")
        yield BrokerRequest.post("/x")

    return flow


def test_c_16_a_fault_of_a_shared_flow_reaches_its_caller() -> None:
    link = Link(LinkOptions("http://127.0.0.1:1"))
    for number in range(3):
        with pytest.raises(BrokerUnavailable, match=f"failure {number}"):
            link.share(b"k", failing(number), now=NOW, max_age=5)
    link.close()


@pytest.mark.anyio
async def test_c_16_a_fault_of_a_shared_flow_reaches_its_caller_async() -> None:
    link = AsyncLink(LinkOptions("http://127.0.0.1:1"))
    for number in range(3):
        with pytest.raises(BrokerUnavailable, match=f"failure {number}"):
            await link.share(b"k", failing(number), now=NOW, max_age=5)
    await link.aclose()


JOINS = [
    pytest.param(b"k", NOW, 5.0, True, id="young enough"),
    pytest.param(b"other", NOW, 5.0, False, id="another key"),
    pytest.param(b"k", NOW, 0.0, False, id="max_age 0 never joins"),
    pytest.param(b"k", Instant(NOW.monotonic - 1, NOW.wall - 1), 5.0, True, id="overtaken on the way"),
    pytest.param(b"k", Instant(NOW.monotonic - 1, NOW.wall - 1), 0.0, False, id="overtaken, and max_age 0"),
    pytest.param(b"k", Instant(NOW.monotonic + 4.9, NOW.wall + 4.9), 5.0, True, id="just young enough"),
    pytest.param(b"k", Instant(NOW.monotonic + 5, NOW.wall + 5), 5.0, False, id="as old as max_age"),
    pytest.param(b"k", Instant(NOW.monotonic, NOW.wall + 3600), 5.0, False, id="C-09 the wall clock jumped ahead"),
    pytest.param(b"k", Instant(NOW.monotonic + 1, NOW.wall - 1), 5.0, False, id="C-09 the wall clock ran backwards"),
]


@pytest.mark.parametrize("key, now, max_age, joins", JOINS)
@pytest.mark.anyio
async def test_who_joins_a_call_async(stub: StubBroker, key: bytes, now: Instant, max_age: float, joins: bool) -> None:
    link = AsyncLink(LinkOptions(stub.url, timeout=20))
    request = BrokerRequest.post("/x", {"token": "x.e30"})
    with stub.held():
        first = asyncio.create_task(link.share(b"k", lambda: ask(request), now=NOW, max_age=5))
        await until(lambda: stub.calls == 1)
        second = asyncio.create_task(link.share(key, lambda: ask(request), now=now, max_age=max_age))
        if not joins:
            await until(lambda: stub.calls == 2)
        else:
            await asyncio.sleep(0)
    replies = await asyncio.gather(first, second)
    await link.aclose()
    assert (replies[0] is replies[1]) is joins
    assert stub.calls == (1 if joins else 2)


@pytest.mark.parametrize("key, now, max_age, joins", JOINS)
def test_who_joins_a_call_sync(stub: StubBroker, key: bytes, now: Instant, max_age: float, joins: bool) -> None:
    link = Link(LinkOptions(stub.url, timeout=20))
    request = BrokerRequest.post("/x", {"token": "x.e30"})
    with stub.held(), ThreadPoolExecutor(2) as pool:
        first = pool.submit(link.share, b"k", lambda: ask(request), now=NOW, max_age=5)
        until_sync(lambda: stub.calls == 1)
        started = threading.Event()

        def start() -> Flow[BrokerReply]:
            started.set()
            return ask(request)

        second = pool.submit(link.share, key, start, now=now, max_age=max_age)
        if not joins:
            until_sync(lambda: stub.calls == 2)
        else:
            until_sync(lambda: second.running())
            assert not started.wait(0.05)
        stub.gate.set()
        assert (first.result(20) is second.result(20)) is joins
    link.close()
    assert stub.calls == (1 if joins else 2)


def test_a_call_past_its_deadline_is_joined_by_nobody(stub: StubBroker) -> None:
    link = Link(LinkOptions(stub.url, timeout=0.2))
    request = BrokerRequest.post("/x", {"token": "x.e30"})
    with stub.held(), pytest.raises(BrokerUnavailable):
        link.share(b"k", lambda: ask(request), now=NOW, max_age=5)
    assert link.share(b"k", lambda: ask(request), now=NOW, max_age=5).status == 200
    assert stub.calls == 2
    link.close()


@pytest.mark.anyio
async def test_c_05_max_age_0_asks_even_while_others_wait(guard: Guard, stub: StubBroker) -> None:
    with stub.held():
        first = asyncio.create_task(guard.acheck(bearer()))
        await until(lambda: stub.calls == 1)
        fresh = [asyncio.create_task(guard.acheck(bearer(), ALWAYS)) for _ in range(3)]
        await until(lambda: stub.calls == 4)
    assert all(isinstance(decision, Allowed) for decision in await asyncio.gather(first, *fresh))
    await guard.aclose()


@pytest.mark.anyio
async def test_closing_under_a_call_is_a_fault_and_no_cancellation(guard: Guard, stub: StubBroker) -> None:
    with stub.held():
        callers = [asyncio.create_task(guard.acheck(bearer())) for _ in range(3)]
        await until(lambda: stub.calls == 1)
        await guard.aclose()
        decisions = await asyncio.gather(*callers)
    assert [decision.status for decision in decisions if isinstance(decision, Denied)] == [503] * 3
    assert {decision.detail["fault"] for decision in decisions if isinstance(decision, Denied)} == {"closed"}
    assert isinstance(await guard.acheck(bearer()), Allowed)
    await guard.aclose()
    await guard.aclose()


@pytest.mark.anyio
async def test_a_caller_that_is_cancelled_while_the_guard_closes_stays_cancelled(
    guard: Guard, stub: StubBroker
) -> None:
    before = asyncio.all_tasks()
    with stub.held():
        caller = asyncio.create_task(guard.acheck(bearer()))
        await asyncio.sleep(0)
        [shared] = asyncio.all_tasks() - before - {caller}
        await until(lambda: stub.calls == 1)
        shared.add_done_callback(lambda _: caller.cancel())  # both in one round of the loop, as at its shutdown
        await guard.aclose()
        with pytest.raises(asyncio.CancelledError):
            await caller


def test_c_18_event_loops_one_after_another(guard: Guard, stub: StubBroker) -> None:
    async def once(text: str) -> Allowed | Denied:
        return await guard.acheck(bearer(text))

    for number in range(4):
        assert isinstance(asyncio.run(once(token(jti=f"j{number}"))), Allowed)
    assert stub.calls == 4


def test_c_18_event_loops_at_once(guard: Guard, stub: StubBroker) -> None:
    def thread(number: int) -> bool:
        async def main() -> bool:
            texts = [token(jti=f"{number}-{each}") for each in range(5)]
            found = await asyncio.gather(*(guard.acheck(bearer(text)) for text in texts))
            await guard.aclose()
            return all(isinstance(decision, Allowed) for decision in found)

        return asyncio.run(main())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(thread, range(8)))
    assert stub.calls == 40


def test_c_19_in_64_threads_each_gets_its_own_claims(guard: Guard, stub: StubBroker) -> None:
    together = threading.Barrier(64)

    def thread(number: int) -> bool:
        text = token(jti=f"jti-{number}", scope=[f"read:customers:{number}"])
        together.wait(20)
        for _ in range(5):
            allowed = guard.check(bearer(text), all_of("read:customers:{id}"), {"id": number})
            other = guard.check(bearer(text), all_of("read:customers:{id}"), {"id": number + 1})
            if not isinstance(allowed, Allowed) or allowed.principal.claims.jti != f"jti-{number}":
                return False
            if not isinstance(other, Denied) or other.status != 403:
                return False
        return True

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(thread, range(64)))
    assert stub.calls == 64


def test_the_stub_and_the_tokens_agree() -> None:
    assert token(claims()) == GOOD


@pytest.mark.anyio
async def test_x_03_no_more_calls_are_under_way_than_there_are_places(stub: StubBroker) -> None:
    guard = Guard(stub.url, clock=MovableClock().clock, max_in_flight=4, timeout=20, queue_timeout=20)
    with stub.held():
        asking = [asyncio.create_task(guard.acheck(bearer(token(jti=f"t{number}")))) for number in range(40)]
        await until(lambda: stub.calls == 4)
        await asyncio.sleep(0)
        assert stub.calls == 4
    decisions = await asyncio.gather(*asking)
    assert all(isinstance(decision, Allowed) for decision in decisions)
    assert stub.calls == 40
    await guard.aclose()
