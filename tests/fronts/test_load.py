"""Floods, slow and failing brokers through the fronts (threats X, P4, P5, B-05, B-19).

No test measures time. What depends on it goes by the movable clock, or is seen while a gate at the broker is shut.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard import Guard
from tests.core.test_pins import pem, thumbprint
from tests.fronts.expect import expect
from tests.fronts.test_table import answers, bearer, get
from tests.kit import drivers
from tests.kit.clock import MovableClock
from tests.kit.drivers import Answer, Request
from tests.kit.fronts import WHOLE, Front
from tests.kit.stub import Answer as Said
from tests.kit.stub import StubBroker, invalid, valid
from tests.kit.tokens import KEY, claims, compact, header, sign, token

Make = Callable[..., Front]
ONE_EACH = ("asgi", "wsgi")
PLACES = 32
BURST, RATE = 100, 50


def agent(number: int) -> Request:
    """A request with a good token of its own."""
    return get(bearer(token(jti=f"agent-{number}")))


def stranger(number: int) -> Request:
    """A request with a token that is well-formed and that no broker has signed."""
    return get(bearer(token(jti=f"stranger-{number}", sub=f"spiffe://agentwrit.local/agent/o/t/{number:016x}")))


def until(condition: Callable[[], Any]) -> None:
    """Wait for other threads to get there."""
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it never came to it")


class Open:
    """A guard's stand-in for the driver that would close it after each request."""

    def close(self) -> None:
        pass


def _wsgi(front: Front, request: Request) -> Answer:
    return drivers.wsgi(front.app, Open(), request)  # type: ignore[arg-type]


@contextlib.contextmanager
def served(front: Front) -> Iterator[Callable[[Request], Answer]]:
    """One request after another, in one event loop if the front has one."""
    if front.send is drivers.wsgi:
        yield lambda request: _wsgi(front, request)
        return
    loop = asyncio.new_event_loop()
    try:
        yield lambda request: loop.run_until_complete(drivers.asgi_request(front.app, request))
    finally:
        loop.run_until_complete(front.guard.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@contextlib.contextmanager
def all_at_once(front: Front, requests: Sequence[Request]) -> Iterator[list[tuple[Request, Answer]]]:
    """Each in a thread or task of its own; the list fills as they are answered, and is full after the block."""
    found: list[tuple[Request, Answer]] = []

    async def task(request: Request) -> None:
        found.append((request, await drivers.asgi_request(front.app, request)))

    async def main() -> None:
        try:
            await asyncio.gather(*map(task, requests))
        finally:
            await front.guard.aclose()

    if front.send is drivers.wsgi:
        work: list[Callable[[], None]] = [
            lambda request=request: found.append((request, _wsgi(front, request)))  # type: ignore[misc]
            for request in requests
        ]
    else:
        work = [lambda: asyncio.run(main())]
    usual = threading.stack_size(512 * 1024)
    try:
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(usual)
    yield found
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert len(found) == len(requests)


def statuses(found: Sequence[tuple[Request, Answer]], among: Sequence[Request] | None = None) -> dict[int, int]:
    chosen = [answer.status for request, answer in found if among is None or request in among]
    return {status: chosen.count(status) for status in sorted(set(chosen))}


def turned_away(answer: Answer) -> None:
    """A 503 that says when to come back, and asks for no other credentials."""
    assert answer.status == 503
    assert 1 <= int(answer.header("retry-after") or 0) <= 30
    assert answer.header("www-authenticate") is None
    assert answer.header("cache-control") == "no-store"


class InFlight:
    """Counts the calls that are being answered; `answer` is what is said."""

    def __init__(self, answer: Callable[[bytes], Said] = valid) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, body: bytes) -> Said:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._answer(body)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def front_of(make_front: Make) -> Iterator[Make]:
    """As `make_front`. Whatever a test does, nothing is left of it: no place, call, or thread."""
    fronts: list[Front] = []
    threads = set(threading.enumerate())

    def make(name: str, **options: Any) -> Front:
        fronts.append(make_front(name, **options))
        return fronts[-1]

    yield make
    for front in fronts:
        guard: Guard = front.guard
        until(lambda guard=guard: guard._link._places.taken == 0)
        assert guard._link._places.waiting == 0
        assert not guard._link._calls
        guard.close()
    until(lambda: not [t for t in threading.enumerate() if t not in threads and t.name.startswith("agentwrit")])


# --- the broker is slow


@pytest.mark.parametrize("name", WHOLE)
def test_x_03_a_slow_broker_has_32_calls_and_the_others_are_turned_away(
    front_of: Make, broker: StubBroker, name: str
) -> None:
    """Those who found no place have their answer while the broker still thinks about the first."""
    front = front_of(name, guard_timeout=60)
    requests = [agent(number) for number in range(200)]
    broker.answer = in_flight = InFlight()
    with broker.held(), all_at_once(front, requests) as found:
        until(lambda: len(found) == len(requests) - PLACES and broker.calls == PLACES)
        for _, answer in found:
            turned_away(answer)
        broker.gate.set()
    assert statuses(found) == {200: PLACES, 503: len(requests) - PLACES}
    assert broker.calls == PLACES
    assert in_flight.most <= PLACES
    assert len(front.ran) == PLACES


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_03_who_was_turned_away_may_come_again(front_of: Make, broker: StubBroker, name: str) -> None:
    front = front_of(name, guard_timeout=60, guard_max_in_flight=2, guard_queue_timeout=0.05)
    requests = [agent(number) for number in range(20)]
    with broker.held(), all_at_once(front, requests) as found:
        until(lambda: len(found) == 18 and broker.calls == 2)
        broker.gate.set()
    for request in requests:
        expect(front, broker, request, 200, calls=0 if (request, 200) in _outcomes(found) else 1)


def _outcomes(found: Sequence[tuple[Request, Answer]]) -> list[tuple[Request, int]]:
    return [(request, answer.status) for request, answer in found]


# --- everybody comes at once


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_03a_after_a_restart_a_thousand_agents_get_in_at_once(front_of: Make, broker: StubBroker, name: str) -> None:
    """The clock stands still, so the budget gets nothing but what they give back; they wait as long as it moves."""
    front = front_of(name, guard_timeout=60, guard_queue_timeout=3)
    broker.answer = in_flight = InFlight()
    with all_at_once(front, [agent(number) for number in range(1000)]) as found:
        pass
    assert statuses(found) == {200: 1000}
    assert broker.calls == 1000
    assert in_flight.most <= PLACES


@pytest.mark.parametrize("name", ONE_EACH)
def test_p4_of_a_thousand_with_one_token_one_asks(front_of: Make, broker: StubBroker, name: str) -> None:
    front = front_of(name, guard_timeout=60)
    request = agent(1)
    with broker.held(), all_at_once(front, [request] * 300) as found:
        until(lambda: broker.calls == 1)
        broker.gate.set()
    assert statuses(found) == {200: 300}
    # A thread may read the clocks and be held up until the call is over: the identity is there by then.
    assert broker.calls == 1


# --- strangers


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_02_strangers_cost_the_broker_no_more_than_the_budget(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = front_of(name, guard_queue_timeout=0)
    broker.answer = invalid
    dice, start = random.Random(2), clock.monotonic
    with served(front) as ask:
        for number in range(1500):
            clock.move(dice.random() / 64)
            answer = ask(stranger(number))
            if answer.status != 401:
                turned_away(answer)
            assert broker.calls <= BURST + RATE * (clock.monotonic - start)
    assert broker.calls >= BURST + RATE * (clock.monotonic - start) - 10
    assert front.ran == []


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_02_strangers_at_once_cost_no_more_than_burst_and_promise(
    front_of: Make, broker: StubBroker, name: str
) -> None:
    front = front_of(name, guard_timeout=60, guard_queue_timeout=0.1, guard_unknown_token_burst=20)
    broker.answer = in_flight = InFlight(invalid)
    with all_at_once(front, [stranger(number) for number in range(300)]) as found:
        pass
    assert set(statuses(found)) == {401, 503}
    assert 20 <= broker.calls <= 20 + RATE * 0.1
    assert statuses(found)[401] == broker.calls
    assert in_flight.most <= PLACES


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_02_forged_tokens_cost_nothing_with_a_pinned_key(
    front_of: Make, broker: StubBroker, tmp_path: Path, name: str
) -> None:
    pinned = tmp_path / "broker.pem"
    pinned.write_bytes(pem(KEY))
    front = front_of(name, guard_pinned_keys=[str(pinned)])
    named, forger = compact(header(kid=thumbprint(KEY))), Ed25519PrivateKey.generate()
    with served(front) as ask:
        for number in range(1000):
            forged = sign(named, compact(claims(jti=f"forged-{number}")), forger)
            assert ask(get(bearer(forged))).status == 401
        assert broker.calls == 0
        assert ask(get(bearer(sign(named, compact(claims()))))).status == 200


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_01_malformed_tokens_cost_nothing(front_of: Make, broker: StubBroker, name: str) -> None:
    front = front_of(name)
    dice, good = random.Random(1), token()
    with served(front) as ask:
        for _ in range(2000):
            assert ask(get(bearer(malformed(dice, good)))).status in (400, 401)
    assert broker.calls == 0
    assert front.ran == []
    with served(front) as ask:
        assert ask(get(bearer(good))).status == 200


def malformed(dice: random.Random, good: str) -> str:
    parts = good.split(".")
    which = dice.randrange(6)
    if which == 0:
        return good[: dice.randrange(1, len(good) - 90)]
    if which == 1:
        return ".".join(parts + parts[: dice.randrange(1, 3)])
    if which == 2:
        return ".".join(dice.choice("!~#[]{}") + part for part in parts)
    if which == 3:
        return "".join(dice.choice("abc.DEF_-123") for _ in range(dice.randrange(1, 300)))
    if which == 4:
        return ".".join(parts[:2])
    return f"{parts[0]}.{parts[1][: dice.randrange(1, len(parts[1]) - 8)]}.{parts[2]}"


# --- agents in a flood


@pytest.mark.parametrize("name", ONE_EACH)
def test_p5_known_agents_get_in_through_a_flood(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str
) -> None:
    agents = [agent(number) for number in range(100)]

    def said(body: bytes) -> Said:
        return invalid(body) if any(mark in body for mark in marks) else valid(body)

    strangers = [stranger(number) for number in range(200)]
    marks = [request.headers[0][1].removeprefix(b"Bearer ") for request in strangers]
    broker.answer = said
    front = front_of(name, guard_timeout=60, guard_queue_timeout=3, guard_cache_size=100)
    with served(front) as ask:
        assert {ask(request).status for request in agents} == {200}
    asked = broker.calls
    both = [*agents, *strangers]
    random.Random(5).shuffle(both)
    with all_at_once(front, both) as found:
        pass
    assert statuses(found, agents) == {200: 100}
    assert set(statuses(found, strangers)) <= {401, 503}
    # Past their TTL they are asked about again: what the strangers have used up does not count for them.
    clock.move(5)
    spent = broker.calls
    assert spent > asked
    with all_at_once(front, both) as found:
        pass
    assert statuses(found, agents) == {200: 100}
    assert broker.calls - spent <= 100 + BURST + RATE * (5 + 3)


@pytest.mark.parametrize("name", ONE_EACH)
def test_x_05_a_flood_leaves_no_more_than_the_stores_hold(front_of: Make, broker: StubBroker, name: str) -> None:
    front = front_of(name, guard_cache_size=50, guard_unknown_token_burst=1_000_000)
    broker.answer = lambda body: (invalid if body[-4] % 2 else valid)(body)
    with served(front) as ask:
        for number in range(400):
            ask(stranger(number))
    assert broker.calls == 400
    assert max(front.guard._cache.sizes()) <= 50


# --- the broker fails


@pytest.mark.parametrize("name", WHOLE)
def test_b_19_after_five_failures_the_broker_is_left_alone_and_known_agents_go_on(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = front_of(name, guard_cache_ttl=60)
    expect(front, broker, agent(0), 200, calls=1)
    broker.answer = answers(500)
    for number in range(1, 6):
        expect(front, broker, agent(number), 503, calls=1)
    for number in range(1, 20):
        expect(front, broker, agent(number), 503, calls=0)
        expect(front, broker, agent(0), 200, calls=0)
    clock.move(2)
    expect(front, broker, agent(1), 503, calls=1)  # the probe
    expect(front, broker, agent(2), 503, calls=0)
    broker.answer = valid
    expect(front, broker, agent(2), 503, calls=0)
    clock.move(4)
    expect(front, broker, agent(2), 200, calls=1)
    expect(front, broker, agent(3), 200, calls=1)


@pytest.mark.parametrize("name", ONE_EACH)
def test_b_19_one_request_finds_out_and_the_others_do_not_wait(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = front_of(name, guard_timeout=60)
    broker.answer = answers(500)
    with served(front) as ask:
        for number in range(5):
            turned_away(ask(agent(number)))
    broker.answer = valid
    clock.move(30)
    with broker.held(), all_at_once(front, [agent(number) for number in range(50)]) as found:
        until(lambda: len(found) == 49 and broker.calls == 6)
        for _, answer in found:
            turned_away(answer)
        broker.gate.set()
    assert statuses(found) == {200: 1, 503: 49}
    assert broker.calls == 6
    expect(front, broker, agent(99), 200, calls=1)


@pytest.mark.parametrize("name", ONE_EACH)
def test_b_19_a_broker_that_is_up_and_down_every_second(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = front_of(name, guard_cache_ttl=60)
    asked: dict[int, int] = {}
    with served(front) as ask:
        assert ask(agent(0)).status == 200
        for step in range(1, 400):
            clock.move(0.1)
            second = int(clock.monotonic)
            broker.answer = answers(500) if second % 2 else valid
            before = broker.calls
            answer = ask(agent(step))
            if second % 2 or answer.status == 503:
                turned_away(answer)
            else:
                assert answer.status == 200
            if second % 2:
                asked[second] = asked.get(second, 0) + broker.calls - before
            assert ask(agent(0)).status == 200
        assert max(asked.values()) == 5
        assert sum(asked.values()) < 5 * len(asked)
        broker.answer = valid
        clock.move(30)
        assert ask(agent(1000)).status == 200


@pytest.mark.parametrize("name", ONE_EACH)
def test_b_19_one_error_in_a_hundred_opens_nothing(front_of: Make, broker: StubBroker, name: str) -> None:
    front = front_of(name)
    broker.answer = lambda body: answers(500)(body) if broker.calls % 100 == 50 else valid(body)
    with served(front) as ask:
        found = [ask(agent(number)).status for number in range(300)]
    assert [number for number, status in enumerate(found, 1) if status != 200] == [50, 150, 250]
    assert broker.calls == 300


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("1", 1), ("3600", 30), ("abc", 2)])
def test_b_05_a_429_is_obeyed_for_everybody(
    front_of: Make, broker: StubBroker, clock: MovableClock, name: str, said: str, seconds: int
) -> None:
    front = front_of(name, guard_cache_ttl=60)
    expect(front, broker, agent(0), 200, calls=1)
    broker.answer = answers(429, **{"Retry-After": said})
    refused = expect(front, broker, agent(1), 503, calls=1)
    assert refused.header("retry-after") == str(seconds)
    broker.answer = valid
    if said == "abc":
        # As after failures: by chance, from 1 s to 2 s.
        expect(front, broker, agent(2), 503, calls=0)
        clock.move(2)
    else:
        clock.move(seconds - 0.01)
        refused = expect(front, broker, agent(2), 503, calls=0)
        assert refused.header("retry-after") == "1"
        expect(front, broker, agent(0), 200, calls=0)
        clock.move(0.01)
    expect(front, broker, agent(2), 200, calls=1)


@pytest.mark.parametrize("name", ONE_EACH)
def test_b_03_retries_are_paid_for(front_of: Make, broker: StubBroker, name: str) -> None:
    """A broker that takes requests and breaks off is not asked twice as often as it may be."""
    front = front_of(
        name, guard_queue_timeout=0, guard_unknown_token_burst=9, guard_unknown_token_rate=0.01,
        guard_breaker_failures=1_000_000,
    )  # fmt: skip

    def breaks_off(_: bytes) -> Said:
        raise ConnectionAbortedError

    broker.answer = breaks_off
    with served(front) as ask:
        for number in range(20):
            turned_away(ask(agent(number)))
    assert broker.calls == 9


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("code", [400, 413])
def test_b_06_a_request_that_the_broker_finds_fault_with_opens_nothing(
    front_of: Make, broker: StubBroker, name: str, code: int
) -> None:
    front = front_of(name)
    broker.answer = answers(code)
    with served(front) as ask:
        for number in range(10):
            turned_away(ask(agent(number)))
        broker.answer = valid
        assert ask(agent(10)).status == 200
    assert broker.calls == 11
