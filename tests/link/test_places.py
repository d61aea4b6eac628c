"""Places for calls: so many at once, one line for threads and tasks, and every place comes back (threats X-03).

Who is next in the line, and who stays in it, is shown by `tests/core/test_line.py` in a time of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow, ask, validate
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.link.errand import Errand
from agentwrit_guard.places import Place, Places
from agentwrit_guard.transport import LinkOptions
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.kit.tokens import token
from tests.link.raw import RawServer, says
from tests.link.test_fork import in_child

NOW = Instant(1000.0, 1.8e9)
REQUEST = BrokerRequest.post("/x", {"token": "x.e30"})


def never() -> float:
    return time.monotonic() + 60


def until(condition: Callable[[], Any]) -> None:
    """Wait for another thread to get there."""
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it never came to it")


async def auntil(condition: Callable[[], Any]) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to it")


def held(places: Places, *, ahead: bool = False) -> Place:
    place = Place(ahead=ahead)
    places.take(place, never())
    return place


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """`work` runs beside the block, and has to end with it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(20)
    assert not thread.is_alive()


# --- who waits, and for how long


def test_x_03_who_finds_no_place_leaves_after_patience() -> None:
    places = Places(1, 0.01)
    place = held(places)
    with pytest.raises(BrokerUnavailable) as caught:
        places.take(waiting := Place(), never())
    assert caught.value.fault == "queue"
    places.give(waiting)
    places.give(place)
    assert (places.taken, places.waiting) == (0, 0)


def test_x_03_who_finds_no_place_leaves_after_patience_async() -> None:
    async def main() -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            await places.atake(waiting, never())
        assert caught.value.fault == "queue"
        places.give(waiting)

    places, waiting = Places(1, 0.01), Place()
    place = held(places)
    asyncio.run(main())
    places.give(place)
    assert (places.taken, places.waiting) == (0, 0)


@pytest.mark.parametrize("patience", [None, 60.0])
def test_the_deadline_ends_the_wait_in_any_case(patience: float | None) -> None:
    async def main() -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            await places.atake(Place(), time.monotonic() + 0.02)
        assert caught.value.fault == "queue"

    places = Places(1, patience)
    held(places)
    with pytest.raises(BrokerUnavailable) as caught:
        places.take(Place(), time.monotonic() + 0.02)
    assert caught.value.fault == "queue"
    asyncio.run(main())


def test_without_patience_nobody_stands_in_line() -> None:
    places = Places(1, 0.0)
    held(places)
    with pytest.raises(BrokerUnavailable):
        places.take(Place(), never())


# --- the line


def test_threads_and_tasks_stand_in_one_line_in_the_order_they_came() -> None:
    places = Places(1)
    first = held(places)
    came: list[str] = []

    def thread(name: str) -> None:
        place = held(places)
        came.append(name)
        places.give(place)

    async def task(name: str) -> None:
        place = Place()
        await places.atake(place, never())
        came.append(name)
        places.give(place)

    threads = []
    for number in range(6):
        work = (lambda name: asyncio.run(task(name))) if number % 2 else thread
        threads.append(threading.Thread(target=work, args=(str(number),)))
        threads[-1].start()
        until(lambda expected=number + 1: places.waiting == expected)
    assert came == []
    places.give(first)
    for each in threads:
        each.join(20)
    assert came == list("012345")
    assert (places.taken, places.waiting) == (0, 0)


def test_p5_known_ones_overtake_strangers_in_threads_and_loops_alike() -> None:
    places = Places(1)
    first = held(places)
    came: list[str] = []

    def thread(name: str) -> None:
        place = held(places, ahead=name.isupper())
        came.append(name)
        places.give(place)

    async def task(name: str) -> None:
        place = Place(ahead=name.isupper())
        await places.atake(place, never())
        came.append(name)
        places.give(place)

    threads = []
    for number, name in enumerate("abCDeFgH"):
        work = (lambda name: asyncio.run(task(name))) if number % 2 else thread
        threads.append(threading.Thread(target=work, args=(name,)))
        threads[-1].start()
        until(lambda expected=number + 1: places.waiting == expected)
    assert came == []
    places.give(first)
    for each in threads:
        each.join(20)
    assert came == list("CDFHabeg")
    assert (places.taken, places.waiting) == (0, 0)


def test_p5_a_stranger_leaves_though_the_line_moves_if_it_moves_for_known_ones_only() -> None:
    places, left = Places(1, 0.05), threading.Event()

    def entered() -> Place:
        place = Place(ahead=True)
        place.wake = lambda: None
        places._enter(place)
        return place

    def known() -> None:
        """One of them is always in line as the place is given. In the end it would be the stranger's."""
        one = first
        for _ in range(300_000):
            other = entered()
            places.give(one)
            one = other
            if left.is_set():
                break
        places.give(one)

    first, stranger = entered(), Place()
    with in_thread(known):
        with pytest.raises(BrokerUnavailable) as caught:
            places.take(stranger, never())
        left.set()
    assert caught.value.fault == "queue"
    places.give(stranger)
    assert (places.taken, places.waiting) == (0, 0)


def test_giving_back_twice_gives_back_once() -> None:
    places = Places(2)
    one, other = held(places), held(places)
    for _ in range(3):
        places.give(one)
    assert places.taken == 1
    held(places)
    with pytest.raises(BrokerUnavailable):
        places.take(refused := Place(), time.monotonic())
    places.give(refused)
    places.give(other)
    assert places.taken == 1


def test_a_place_may_be_taken_again() -> None:
    places = Places(1)
    place = held(places)
    places.give(place)
    places.take(place, never())
    assert places.taken == 1


def test_never_more_places_than_there_are_whatever_happens_at_once() -> None:
    """Threads and tasks of two loops come, wait, are cancelled, run out of patience, and give twice."""
    places, inside, most = Places(3, 0.004), [0], [0]
    lock = threading.Lock()

    def enter(step: int) -> None:
        with lock:
            inside[0] += step
            most[0] = max(most[0], inside[0])

    def threads_work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(150):
            place = Place(ahead=dice.random() < 0.3)
            try:
                places.take(place, time.monotonic() + dice.random() / 100)
                enter(1)
                if dice.random() < 0.3:
                    time.sleep(dice.random() / 500)
                enter(-1)
            except BrokerUnavailable:
                pass
            finally:
                for _ in range(dice.choice((1, 2))):
                    places.give(place)

    async def task(dice: random.Random) -> None:
        place = Place(ahead=dice.random() < 0.3)
        try:
            await places.atake(place, time.monotonic() + dice.random() / 100)
            enter(1)
            try:
                await asyncio.sleep(dice.random() / 500)
            finally:
                enter(-1)
        except BrokerUnavailable:
            pass
        finally:
            places.give(place)

    async def main(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(30):
            tasks = [asyncio.create_task(task(dice)) for _ in range(8)]
            await asyncio.sleep(dice.random() / 200)
            for each in dice.sample(tasks, 4):
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(threads_work, seed) for seed in range(6)]
        found += [pool.submit(lambda seed=seed: asyncio.run(main(seed))) for seed in (7, 8)]
        for future in found:
            future.result(60)
    assert most[0] <= 3
    assert (places.taken, places.waiting) == (0, 0)


def test_thousands_who_leave_at_once_leave_nothing() -> None:
    async def leaving(number: int) -> None:
        """As the runners do: who is cancelled gives back."""
        place = Place(ahead=number % 2 == 0)
        try:
            await places.atake(place, never())
        finally:
            places.give(place)

    async def main() -> None:
        tasks = [asyncio.create_task(leaving(number)) for number in range(5000)]
        await auntil(lambda: places.waiting == 5000)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    places = Places(1)
    place = held(places)
    asyncio.run(main())
    assert places.waiting == 0
    places.give(place)
    assert places.taken == 0


@pytest.mark.parametrize("ahead", ["", "a", "ab"])
def test_a_place_that_comes_as_its_task_is_cancelled_goes_on_to_the_next(ahead: str) -> None:
    places = Places(1)

    async def one(came: list[str], name: str) -> None:
        place = Place(ahead=name in ahead)
        try:
            await places.atake(place, never())
            came.append(name)
        finally:
            places.give(place)

    async def main() -> list[str]:
        came: list[str] = []
        place = held(places)
        tasks = [asyncio.create_task(one(came, name)) for name in "ab"]
        await auntil(lambda: places.waiting == 2)
        places.give(place)  # handed to a, who has not run since
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return came

    assert asyncio.run(main()) == ["b"]
    assert places.taken == 0


def test_a_place_may_be_given_from_a_callback_of_another_loop() -> None:
    places = Places(1)
    place = held(places)
    came = threading.Event()

    async def waits() -> None:
        await places.atake(waiting, never())
        came.set()
        places.give(waiting)

    async def gives() -> None:
        asyncio.get_running_loop().call_soon(places.give, place)
        await auntil(came.is_set)

    waiting = Place()
    with in_thread(lambda: asyncio.run(waits())):
        until(lambda: places.waiting == 1)
        asyncio.run(gives())
    assert places.taken == 0


# --- what nobody gives back


def abandoned(coroutine: Any, stop_when: Callable[[], Any]) -> None:
    """Run it in a loop that is closed under it, without a word to anybody."""

    async def main() -> None:
        tasks.append(asyncio.get_running_loop().create_task(coroutine))
        await auntil(stop_when)

    tasks: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    tasks[0]._log_destroy_pending = False


def test_places_of_a_loop_that_was_closed_under_them_come_back() -> None:
    async def holds() -> None:
        await places.atake(kept, never())
        await asyncio.Event().wait()

    places, kept = Places(1, 0.01), Place()
    abandoned(holds(), lambda: places.taken)
    assert places.taken == 0
    held(places)


def test_who_is_refused_for_want_of_such_a_place_gets_it() -> None:
    async def holds() -> None:
        await places.atake(kept, never())
        await asyncio.Event().wait()

    places, kept = Places(1, 0.01), Place()
    abandoned(holds(), lambda: kept in places._held)
    places.take(Place(), never())


@pytest.mark.parametrize("ahead", [False, True])
def test_a_line_is_not_held_up_by_who_stood_in_it_in_a_loop_that_was_closed(ahead: bool) -> None:
    async def waits() -> None:
        await places.atake(Place(ahead=ahead), never())

    places = Places(1)
    place = held(places)
    abandoned(waits(), lambda: places.waiting == 1)
    came: list[Place] = []
    with in_thread(lambda: came.append(held(places))):
        until(lambda: places.waiting == 2)
        places.give(place)
    places.give(came[0])
    assert (places.taken, places.waiting) == (0, 0)


def test_a_finalizer_that_gives_back_in_the_middle_of_anything_locks_nobody_out() -> None:
    """As a garbage collection may do, in the thread that is just handing out."""
    places = Places(2, 0.01)
    place, lost = held(places), held(places)
    waiting = Place()
    waiting.wake = lambda: places.give(lost)

    def work() -> None:
        places._enter(waiting)
        places.give(place)

    with in_thread(work):
        pass
    assert places.taken == 1
    places.give(waiting)


def test_c_19_a_forked_child_has_all_places() -> None:
    link = Link(LinkOptions("http://127.0.0.1:1"), places := Places(1, 0.0))
    held(places)
    assert in_child(lambda: places.taken == 0 and bool(held(places)))
    assert places.taken == 1
    link.close()


# --- the runners


def both(url: str, count: int, patience: float | None = None, **options: Any) -> tuple[Link, AsyncLink, Places]:
    """Both runners, with one line before them."""
    places = Places(count, patience)
    made = LinkOptions(url, max_in_flight=count, **options)
    return Link(made, places), AsyncLink(made, places), places


def bearer(name: str) -> list[bytes]:
    return [b"Bearer " + token(jti=name).encode()]


def test_x_03_threads_and_loops_of_a_guard_share_its_places(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, max_in_flight=4, timeout=60, queue_timeout=60)

    async def loop(name: str) -> list[Allowed | Denied]:
        return await asyncio.gather(*(guard.acheck(bearer(f"{name}{number}")) for number in range(10)))

    with ThreadPoolExecutor(22) as pool:
        with stub.held():
            loops = [pool.submit(asyncio.run, loop(name)) for name in "ab"]
            threads = [pool.submit(guard.check, bearer(f"t{number}")) for number in range(20)]
            until(lambda: guard._link._places.waiting == 36 and stub.calls == 4)
        decisions = [thread.result(60) for thread in threads]
        for each in loops:
            decisions += each.result(60)
    guard.close()
    assert [type(decision) for decision in decisions] == [Allowed] * 40
    assert guard._link._places.taken == 0


def test_p5_a_known_token_goes_ahead_of_strangers_in_line(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, max_in_flight=1, timeout=60, queue_timeout=60)
    waiting = lambda: guard._link._places.waiting  # noqa: E731
    for name in ("known-t", "known-a"):
        assert isinstance(guard.check(bearer(name)), Allowed)
    clock.move(5)
    with ThreadPoolExecutor(8) as pool:
        with stub.held():
            found = [pool.submit(guard.check, bearer("first"))]
            until(lambda: stub.calls == 3)
            for number in range(4):
                found.append(pool.submit(guard.check, bearer(f"stranger-{number}")))
                until(lambda number=number: waiting() == number + 1)
            found.append(pool.submit(guard.check, bearer("known-t")))
            until(lambda: waiting() == 5)
            found.append(pool.submit(asyncio.run, guard.acheck(bearer("known-a"))))
            until(lambda: waiting() == 6)
        assert [type(each.result(60)) for each in found] == [Allowed] * 7
    guard.close()
    asked = [json.loads(body)["token"] for body in stub.bodies[3:]]
    order = ["known-t", "known-a", *(f"stranger-{number}" for number in range(4))]
    assert asked == [token(jti=name) for name in order]


def test_x_03_the_deadline_in_line_is_no_timeout_of_the_broker(stub: StubBroker) -> None:
    link, alink, places = both(stub.url, 1, timeout=0.1)
    place = held(places)

    async def main() -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            await alink.run(validate("x.e30"))
        assert caught.value.fault == "queue"
        await alink.aclose()

    with pytest.raises(BrokerUnavailable) as caught:
        link.run(validate("x.e30"))
    assert caught.value.fault == "queue"
    asyncio.run(main())
    assert stub.calls == 0
    places.give(place)
    assert (places.taken, places.waiting) == (0, 0)
    link.close()


def delayed(seconds: float, seen: list[int], places: Places) -> Flow[BrokerReply]:
    def leave() -> float:
        seen.append(places.taken)
        return seconds

    return (yield BrokerRequest("POST", "/x", b'{"token":"x.e30"}', leave=leave))


def test_who_has_to_wait_for_more_than_a_place_keeps_none_from_others(stub: StubBroker) -> None:
    link, alink, places = both(stub.url, 1, timeout=20)
    seen: list[int] = []
    with in_thread(lambda: link.run(delayed(0.5, seen, places))):
        until(lambda: seen)
        assert link.run(ask(REQUEST)).status == 200
        assert stub.calls == 1

    async def main() -> None:
        waiting = asyncio.create_task(alink.run(delayed(0.5, seen, places)))
        await auntil(lambda: len(seen) == 2)
        assert (await alink.run(ask(REQUEST))).status == 200
        assert not waiting.done()
        assert (await waiting).status == 200
        await alink.aclose()

    asyncio.run(main())
    assert stub.calls == 4
    assert seen == [1, 1]
    assert places.taken == 0
    link.close()


@pytest.mark.parametrize("kept", [3.0, "breaker"])
def test_what_may_not_leave_in_time_is_not_sent(stub: StubBroker, kept: float | str) -> None:
    link, alink, places = both(stub.url, 1, timeout=2.0)

    def flow() -> Flow[BrokerReply]:
        def leave() -> float:
            if isinstance(kept, str):
                raise BrokerUnavailable(kept, "no")
            return kept

        return (yield BrokerRequest("POST", "/x", b"{}", leave=leave))

    async def main() -> None:
        await alink.run(flow())

    for work in (lambda: link.run(flow()), lambda: asyncio.run(main())):
        with pytest.raises(BrokerUnavailable) as caught:
            work()
        assert caught.value.fault == (kept if isinstance(kept, str) else "budget")
    assert (stub.calls, places.taken) == (0, 0)
    link.close()


def test_a_cancelled_task_leaves_the_line(stub: StubBroker) -> None:
    _, alink, places = both(stub.url, 1, timeout=60)

    async def main() -> None:
        with stub.held():
            first = asyncio.create_task(alink.run(ask(REQUEST)))
            await auntil(lambda: stub.calls == 1)
            second = asyncio.create_task(alink.run(ask(REQUEST)))
            await auntil(lambda: places.waiting == 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert (places.taken, places.waiting) == (1, 0)
        assert (await first).status == 200
        await alink.aclose()

    asyncio.run(main())
    assert (stub.calls, places.taken) == (1, 0)


def test_a_cancelled_task_gives_its_place_back(stub: StubBroker) -> None:
    _, alink, places = both(stub.url, 1, timeout=60)

    async def main() -> None:
        with stub.held():
            first = asyncio.create_task(alink.run(ask(REQUEST)))
            await auntil(lambda: stub.calls == 1)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert places.taken == 0
        await alink.aclose()

    asyncio.run(main())


def test_closing_under_those_who_stand_in_line_empties_it(stub: StubBroker) -> None:
    _, alink, places = both(stub.url, 1, timeout=60)

    async def main() -> list[Any]:
        with stub.held():
            tasks = [
                asyncio.create_task(alink.share(b"%d" % number, lambda: ask(REQUEST), now=NOW, max_age=5))
                for number in range(20)
            ]
            await auntil(lambda: places.waiting == 19 and stub.calls == 1)
            await alink.aclose()
            assert (places.taken, places.waiting) == (0, 0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert {error.fault for error in asyncio.run(main())} == {"closed"}


def test_closing_under_threads_that_stand_in_line_opens_nothing_for_them(stub: StubBroker) -> None:
    link, _, places = both(stub.url, 1, timeout=60)
    place = held(places)
    faults: list[str] = []

    def work() -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            link.run(ask(REQUEST))
        faults.append(caught.value.fault)

    with in_thread(work):
        until(lambda: places.waiting == 1)
        link.close()
        places.give(place)
    assert faults == ["closed"]
    assert link._pool is None
    assert (stub.calls, places.taken) == (0, 0)


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_c_18_a_loop_closed_under_a_call_takes_no_place_along(stub: StubBroker, clock: MovableClock) -> None:
    guard = Guard(stub.url, clock=clock.clock, max_in_flight=1, timeout=60, queue_timeout=0.01)
    places = guard._link._places
    with stub.held():
        abandoned(guard._alink.run(ask(REQUEST)), lambda: stub.calls == 1)
    assert isinstance(guard.check(bearer("after")), Allowed)
    assert isinstance(asyncio.run(closing(guard, bearer("again"))), Allowed)
    assert places.taken == 0
    guard.close()
    gc.collect()


async def closing(guard: Guard, entry: list[bytes]) -> Allowed | Denied:
    try:
        return await guard.acheck(entry)
    finally:
        await guard.aclose()


FAULTS: dict[str, Callable[[], Any]] = {
    "reset": says,
    "hang": lambda: says(then_hang=True),
    "no JSON": lambda: says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
    "no HTTP": lambda: says(b"\x00" * 100),
}


@pytest.mark.parametrize("behaviour", FAULTS.values(), ids=FAULTS)
def test_p11_after_any_fault_all_places_are_back(behaviour: Callable[[], Any], clock: MovableClock) -> None:
    with RawServer(behaviour()) as server:
        guard = Guard(server.url, clock=clock.clock, timeout=0.2, max_in_flight=2)
        places = guard._link._places
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(guard.check, [bearer(f"t{number}") for number in range(6)]))
        for number in range(3):
            found.append(asyncio.run(closing(guard, bearer(f"a{number}"))))
        assert {decision.status for decision in found if isinstance(decision, Denied)} == {503}
        assert len(found) == 9
        until(lambda: places.taken == 0)
        assert places.waiting == 0
        guard.close()


def test_b_01_a_name_that_is_being_resolved_keeps_its_place_until_the_thread_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, asked = threading.Event(), threading.Semaphore(0)

    def slow(*_: object, **__: object) -> None:
        asked.release()
        release.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    link, _, places = both("http://broker.internal", 2, 0.01, timeout=0.2)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", slow)
        with ThreadPoolExecutor(2) as pool:
            callers = [pool.submit(link.run, validate("t")) for _ in range(2)]
            faults = [caller.exception(20) for caller in callers]
        assert [isinstance(each, BrokerUnavailable) and each.fault for each in faults] == ["timeout"] * 2
        assert places.taken == 2
        with pytest.raises(BrokerUnavailable) as caught:
            link.run(validate("t"))
        assert caught.value.fault == "queue"
        release.set()
        until(lambda: places.taken == 0)
    link.close()


# --- a leader that goes away


@contextlib.contextmanager
def interrupting(when: Callable[[], Any]) -> Iterator[None]:
    """KeyboardInterrupt in this thread, as soon as `when()` is true."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def watch() -> None:
        until(when)
        signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    main = threading.current_thread()
    before = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        watcher.join(20)
        signal.signal(signal.SIGUSR1, before)


def test_c_15_followers_hear_of_a_leader_that_was_interrupted(stub: StubBroker) -> None:
    link, _, places = both(stub.url, 4, timeout=60)
    faults: list[str] = []

    def share() -> None:
        link.share(b"k", lambda: ask(REQUEST), now=NOW, max_age=5)

    def follow() -> None:
        until(lambda: stub.calls == 1)
        with pytest.raises(BrokerUnavailable) as caught:
            share()
        faults.append(caught.value.fault)

    followers = [threading.Thread(target=follow) for _ in range(3)]
    for follower in followers:
        follower.start()
    pending = lambda: next(iter(link._calls.values())).pending  # noqa: E731
    with stub.held():
        with interrupting(lambda: stub.calls == 1 and len(pending()._condition._waiters) == 3):
            share()
        for follower in followers:
            follower.join(20)
        assert faults == ["closed"] * 3
        assert not link._calls
        assert places.taken == 1  # the broker still has it
    until(lambda: places.taken == 0)
    share()
    assert stub.calls == 2
    link.close()


def test_a_caller_interrupted_in_line_leaves_it(stub: StubBroker) -> None:
    link, _, places = both(stub.url, 1, timeout=60)
    place = held(places)
    with interrupting(lambda: places.waiting == 1):
        link.run(ask(REQUEST))
    assert (places.taken, places.waiting) == (1, 0)
    places.give(place)
    assert link.run(ask(REQUEST)).status == 200
    assert places.taken == 0
    link.close()


class Stop(BaseException):
    """As what ends a worker from within."""


@pytest.mark.parametrize("error", [Stop, ZeroDivisionError])
def test_c_16_a_leader_whose_flow_breaks_leaves_nothing(stub: StubBroker, error: type[BaseException]) -> None:
    link, _, places = both(stub.url, 1)

    def broken() -> Flow[None]:
        yield REQUEST
        raise error

    for _ in range(3):
        with pytest.raises(error):
            link.share(b"k", broken, now=NOW, max_age=5)
    assert not link._calls
    assert places.taken == 0
    assert stub.calls == 3
    link.close()


def test_c_16_a_call_that_could_not_begin_is_joined_by_nobody(stub: StubBroker) -> None:
    link, _, _ = both(stub.url, 1, timeout=60)

    def fails() -> Flow[BrokerReply]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        link.share(b"k", fails, now=NOW, max_age=5)
    assert link.share(b"k", lambda: ask(REQUEST), now=NOW, max_age=5).status == 200
    link.close()


# --- work that is done once


def test_a_pool_that_can_start_no_more_threads_sends_nothing_twice(
    stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so with the work in its queue: a thread that it has already comes to it later."""
    link, _, places = both(stub.url, 3, timeout=60)
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("agentwrit-link") and not thread.name.endswith("_0"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with stub.held(), ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(link.run, ask(REQUEST)) for _ in range(3)]
        until(lambda: stub.calls == 3)
        stub.gate.set()
        assert [caller.result(20).status for caller in callers] == [200] * 3
    assert link._pool is not None
    until(link._pool._work_queue.empty)
    assert link.run(ask(REQUEST)).status == 200
    assert stub.calls == 4
    assert places.taken == 0
    link.close()


def test_an_errand_is_run_once_and_tells_what_came_of_it() -> None:
    ran: list[int] = []
    errand = Errand(lambda: ran.append(1))
    errand.run()
    errand.run()
    assert ran == [1]
    assert errand.outcome.result(0) is None

    failing = Errand(lambda: 1 // 0)
    failing.run()
    with pytest.raises(ZeroDivisionError):
        failing.outcome.result(0)
