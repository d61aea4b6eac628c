"""Hooks: what they are told, and that nothing that they do changes a decision (threats L-01, L-03)."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from agentwrit_guard import Guard, all_of
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.core.witness import OUTCOMES, ValidationEvent
from agentwrit_guard.errors import ConfigurationError
from tests.fronts.test_table import CASES, get
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import AGENT, NOW, OTHER, claims, token

ROWS = {case.values[1].id: case.values[1] for case in CASES}


def bearer(text: str) -> list[tuple[str, bytes]]:
    return [("Authorization", b"Bearer " + text.encode())]


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def guard(broker: StubBroker, clock: MovableClock) -> Iterator[Guard]:
    made = Guard(broker.url, clock=clock.clock, timeout=20, queue_timeout=20)
    yield made
    made.close()


# What hooks are told.


def test_several_hooks_are_told_until_they_are_ended(broker: StubBroker, clock: MovableClock) -> None:
    told: dict[str, list[Any]] = {"own": [], "first": [], "second": [], "validations": []}
    guard = Guard(broker.url, clock=clock.clock, on_decision=told["own"].append)
    first = guard.watch(told["first"].append)
    second = guard.watch(told["second"].append, told["validations"].append)
    front = FRONTS["asgi"](guard)
    front.request(get(*bearer(token())))
    first()
    front.request(get(*bearer(token(jti="b"))))
    second()
    second()
    front.request(get(*bearer(token(jti="c"))))
    assert {name: len(events) for name, events in told.items()} == {
        "own": 3, "first": 1, "second": 2, "validations": 2
    }  # fmt: skip
    assert told["own"][:2] == told["second"]
    guard.close()


def test_a_function_that_is_added_twice_is_told_twice_and_ended_once(guard: Guard) -> None:
    told: list[ValidationEvent] = []
    end = guard.watch(on_validation=told.append)
    guard.watch(on_validation=told.append)
    guard.check([b"Bearer " + token().encode()])
    end()
    guard.check([b"Bearer " + token(jti="b").encode()])
    assert len(told) == 3


def test_a_guard_that_nobody_listened_to_records_from_then_on(guard: Guard) -> None:
    assert not guard.recording
    end = guard.watch(lambda event: None)
    assert guard.recording
    end()
    assert not guard.recording


@pytest.mark.parametrize("name", ["on_decision", "on_validation"])
@pytest.mark.parametrize("hook", ["text", 7, asyncio.sleep], ids=["text", "number", "coroutine function"])
def test_a_hook_is_a_plain_function(guard: Guard, name: str, hook: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a plain function"):
        guard.watch(**{name: hook})
    assert not guard.recording


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_one_validation_is_one_event_however_many_wait(guard: Guard, broker: StubBroker, way: str) -> None:
    told: list[ValidationEvent] = []
    guard.watch(on_validation=told.append)
    entries, number = [b"Bearer " + token().encode()], 20

    async def main() -> None:
        tasks = [asyncio.create_task(guard.acheck(entries)) for _ in range(number)]
        while not broker.calls:
            await asyncio.sleep(0.001)
        broker.gate.set()
        await asyncio.gather(*tasks)
        await guard.aclose()

    broker.gate.clear()
    if way == "tasks":
        asyncio.run(main())
    else:
        with ThreadPoolExecutor(number) as pool:
            checks = [pool.submit(guard.check, entries) for _ in range(number)]
            while not broker.calls:
                threading.Event().wait(0.001)
            broker.gate.set()
            assert {check.result(20).source for check in checks} <= {"broker", "cache"}
    assert [event.outcome for event in told] == ["valid"] * broker.calls
    assert broker.calls == 1


def mismatched(_: bytes) -> Answer:
    return json_answer({"valid": True, "claims": claims(sub=OTHER)})


FAULTS: list[tuple[Callable[[bytes], Answer], str, str | None]] = [
    (valid, "valid", None),
    (invalid, "invalid", None),
    (mismatched, "unavailable", "mismatch"),
    (lambda _: (500, {}, b""), "unavailable", "status"),
    (lambda _: (302, {"Location": "/x"}, b""), "unavailable", "redirect"),
    (lambda _: (200, {"Content-Type": "text/html"}, b"<"), "unavailable", "content_type"),
    (lambda _: (200, {"Content-Type": "application/json"}, b"{"), "unavailable", "body"),
    (lambda _: (200, {"Content-Type": "application/json"}, b" " * 70_000), "unavailable", "too_large"),
    (lambda _: (200, {"Content-Encoding": "gzip"}, b""), "unavailable", "encoding"),
]


@pytest.mark.parametrize("answer, outcome, fault", FAULTS, ids=[f"{row[1]} {row[2]}" for row in FAULTS])
@pytest.mark.parametrize("way", ["check", "acheck"])
def test_l_03_what_a_validation_came_to_is_of_a_closed_set(
    guard: Guard, broker: StubBroker, way: str, answer: Any, outcome: str, fault: str | None
) -> None:
    told: list[ValidationEvent] = []
    guard.watch(on_validation=told.append)
    broker.answer = answer

    async def once() -> None:
        await guard.acheck([b"Bearer " + token().encode()])
        await guard.aclose()

    if way == "check":
        guard.check([b"Bearer " + token().encode()])
    else:
        asyncio.run(once())
    assert [(event.outcome, event.fault, event.version) for event in told] == [(outcome, fault, 1)]
    assert outcome in OUTCOMES


def test_the_brokers_clock_over_a_real_connection(
    guard: Guard, broker: StubBroker, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[ValidationEvent] = []
    guard.watch(on_validation=told.append)

    def late(body: bytes) -> Answer:
        status, headers, text = valid(body)
        return status, {**headers, "Date": formatdate(clock.wall - 30, usegmt=True)}, text

    broker.answer = late
    assert FRONTS["asgi"](guard).request(get(*bearer(token()))).status == 200
    assert told[0].clock_skew == guard.stats().clock_skew == -29.5
    assert [(record.event, record.levelname) for record in caplog.records] == [("clock_skew", "WARNING")]


# What they can do to a decision: nothing.


class Misbehaviour:
    """Every way of a hook to misbehave, one after another."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.calls = 0
        self.frozen = 0

    def __call__(self, event: DecisionEvent | ValidationEvent) -> Any:
        self.calls += 1
        self._mutate(event)
        # It asks the guard, also of the token that was judged just now, and with one that brings a new validation.
        if getattr(event, "outcome", "") != "unavailable":
            self.guard.check([b"Bearer " + token().encode()])
        self.guard.check([b"Bearer " + token(jti=f"hook-{self.calls}").encode()])
        self.guard.stats()
        for error in (RuntimeError("x"), RecursionError(), MemoryError(), StopIteration(), asyncio.TimeoutError()):
            if self.calls % 5 == len(str(error)) % 5:
                raise error
        return "allowed"

    def _mutate(self, event: Any) -> None:
        for field in dataclasses.fields(event):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(event, field.name, "allowed")
            self.frozen += 1


def answers(front_name: str, broker: StubBroker, *, hooked: bool) -> list[tuple[int, bytes, tuple[str, ...]]]:
    """What every row of the table of decisions is answered."""
    given = []
    for row in ROWS.values():
        options = {key.removeprefix("guard_"): value for key, value in row.options.items()}
        broker.answer = row.broker
        guard = Guard(options.pop("url", broker.url), clock=MovableClock().clock, **options)
        if hooked:
            hook = Misbehaviour(guard)
            guard.watch(hook, hook)
        front = FRONTS[front_name](guard)
        answer = front.request(row.request)
        if hooked:
            assert hook.frozen == 0 or hook.calls
        given.append((answer.status, answer.body, tuple(front.ran)))
        guard.close()
    return given


@pytest.mark.parametrize("name", ["asgi", "wsgi", "fastapi", "flask"])
def test_hooks_that_raise_mutate_and_ask_change_no_answer(broker: StubBroker, name: str) -> None:
    plain, hooked = answers(name, broker, hooked=False), answers(name, broker, hooked=True)
    assert plain == hooked
    assert {status for status, _, _ in plain} >= {200, 400, 401, 403, 503}


@pytest.mark.parametrize("error", [RuntimeError, ValueError, RecursionError, MemoryError, ConfigurationError])
def test_a_hook_that_raises_is_named_and_the_others_are_told(
    guard: Guard, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    told: list[object] = []

    def raising(_: object) -> None:
        raise error(token())

    guard.watch(raising, raising)
    guard.watch(told.append, told.append)
    assert FRONTS["asgi"](guard).request(get(*bearer(token()))).status == 200
    assert [type(event) for event in told] == [ValidationEvent, DecisionEvent]
    assert [(record.event, record.getMessage()) for record in caplog.records] == [
        ("hook_failed", f"validation hook failed: {error.__name__}"),
        ("hook_failed", f"decision hook failed: {error.__name__}"),
    ]


def test_a_hook_that_asks_the_guard_is_not_told_of_that(broker: StubBroker, clock: MovableClock) -> None:
    """With a TTL of 0 each of its questions is a validation, and it would ask for ever."""
    guard = Guard(broker.url, clock=clock.clock, cache_ttl=0)
    told: list[ValidationEvent] = []

    def asking(event: ValidationEvent) -> None:
        told.append(event)
        assert guard.check([b"Bearer " + token().encode()]).source == "broker"

    guard.watch(on_validation=asking)
    assert guard.check([b"Bearer " + token().encode()]).source == "broker"
    assert (len(told), broker.calls) == (1, 2)
    guard.check([b"Bearer " + token().encode()])
    assert (len(told), broker.calls) == (2, 4)
    guard.close()


def test_a_hook_that_waits_for_itself_ends_at_the_deadline(broker: StubBroker, clock: MovableClock) -> None:
    """It asks for the very token whose validation it is told of, while that has come to nothing."""
    guard = Guard(broker.url, clock=clock.clock, timeout=0.2)
    asked: list[int] = []
    guard.watch(on_validation=lambda _: asked.append(guard.check([b"Bearer " + token().encode()]).status))
    broker.answer = lambda _: (500, {}, b"")
    refused = guard.check([b"Bearer " + token().encode()])
    assert (refused.status, refused.reason.code, asked) == (503, "broker_unavailable", [503])
    guard.close()


def test_a_hook_that_blocks_holds_up_its_request_and_decides_nothing(guard: Guard) -> None:
    """As `Guard.watch` says: others go on, and what it held up ends as it would have."""
    there, go = threading.Event(), threading.Event()

    def blocking(_: object) -> None:
        there.set()
        assert go.wait(20)

    end = guard.watch(on_validation=blocking)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(guard.check, [b"Bearer " + token().encode()])
        assert there.wait(20)
        # The identity is in place, the broker's place is free, and its token is recalled meanwhile.
        assert guard.check([b"Bearer " + token().encode()]).source == "cache"
        assert (guard.stats().in_flight, guard.stats().waiting) == (0, 0)
        end()
        assert guard.check([b"Bearer " + token(jti="b").encode()]).source == "broker"
        go.set()
        assert held.result(20).source == "broker"


def test_l_01_events_hold_no_token_and_no_token_id(guard: Guard, broker: StubBroker) -> None:
    told: list[object] = []
    guard.watch(told.append, told.append)
    front, jti = FRONTS["starlette"](guard), "f00d" * 8
    texts = [token(jti=jti), token(jti=jti, exp=NOW - 1), token(jti=jti)[:-4] + "AAAA"]
    for text in texts:
        for broker.answer in (valid, invalid, mismatched):
            front.request(Request("/customers/8", headers=bearer(text)))
    assert len(told) > 5
    shown = f"{told!r} {guard.stats()!r}"
    assert jti not in shown
    for text in texts:
        assert not any(piece in shown for piece in text.split("."))
    # Events of validations name nobody.
    assert AGENT not in repr([event for event in told if isinstance(event, ValidationEvent)])


def test_l_03_a_requirement_that_asks_anew_makes_no_new_kind_of_event(guard: Guard) -> None:
    told: list[ValidationEvent] = []
    guard.watch(on_validation=told.append)
    for _ in range(3):
        guard.check([b"Bearer " + token().encode()], all_of("read:customers:7291", max_age=0))
    assert {dataclasses.replace(event, seconds=0.0) for event in told} == {
        ValidationEvent("valid", None, 0.0, NOW + 1, False, None)
    }
