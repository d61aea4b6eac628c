"""What decisions are told apart by comes from closed sets, whatever strangers send (threats L-03), and no token id
is written down (L-05). These fields are what the labels of metrics are made of: tests/contrib has those."""

from __future__ import annotations

import hashlib
import logging
import random
import typing
from collections.abc import Callable

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.core.bearer import _DETAILS
from agentwrit_guard.core.decisions import DecisionEvent, Phase, Reason
from agentwrit_guard.records import _EVENTS, NOTICES
from tests.fronts.test_table import CASES, bearer, get
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import StubBroker, invalid, valid
from tests.kit.tokens import NOW, token

REASONS = {reason.code for reason in Reason} | {"ok"}
CLOSED: dict[str, set[object]] = {
    "outcome": {"allowed", "denied"},
    "reason": set(REASONS),
    "phase": set(typing.get_args(Phase)),
    "front": {"asgi", "wsgi", "starlette", "fastapi", "flask"},
    "source": {"guard", "broker", "cache", "stale"},
    "status": {200, 400, 401, 403, 503},
    "version": {1},
}
EVENTS = {*_EVENTS.values(), *NOTICES, "refused", "hook_failed"}
ROWS = {case.values[1].id: case.values[1] for case in CASES}


def labels(event: DecisionEvent) -> tuple[object, ...]:
    return tuple(getattr(event, name) for name in CLOSED)


def check(events: list[DecisionEvent], caplog: pytest.LogCaptureFixture) -> None:
    assert events
    for event in events:
        assert {name: getattr(event, name) for name in CLOSED if getattr(event, name) not in CLOSED[name]} == {}
    named = {getattr(record, "event", None) for record in caplog.records if record.name == "agentwrit_guard.events"}
    assert named <= EVENTS
    assert {getattr(record, "reason", "ok") for record in caplog.records} <= REASONS


@pytest.mark.parametrize("name", ["asgi", "wsgi", "fastapi-dependency"])
def test_l_03_every_row_of_the_table_is_told_apart_by_closed_sets(
    broker: StubBroker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    events: list[DecisionEvent] = []
    for row in ROWS.values():
        options = {key.removeprefix("guard_"): value for key, value in row.options.items()}
        broker.answer = row.broker
        guard = Guard(options.pop("url", broker.url), clock=MovableClock().clock, on_decision=events.append, **options)
        FRONTS[name](guard).request(row.request)
        guard.close()
    check(events, caplog)
    assert {event.outcome for event in events} == {"allowed", "denied"}
    # As many different answers as there are reasons that a request can have, and no more.
    assert len({event.reason for event in events}) >= 12


@pytest.mark.parametrize("name", ["asgi", "fastapi", "flask"])
def test_l_03_strangers_make_no_series(
    make_front: Callable[..., Front], broker: StubBroker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """200 requests of which no two are alike; test_prometheus.py has the full figure."""
    events: list[DecisionEvent] = []
    front = make_front(name, guard_on_decision=events.append)
    draw = random.Random(name)
    for number in range(200):
        broker.answer = draw.choice([valid, valid, invalid, lambda _: (500, {}, b"")])
        noise = f"{number}-{draw.random()}"
        text = draw.choice([
            token(jti=noise, sub=f"spiffe://agentwrit.local/agent/o/t/{number}"), token(task_id=noise), noise,
            token(scope=[f"read:customers:{number}"]), token(aud=[noise]), token(iss=noise), token(exp=NOW + number),
        ])  # fmt: skip
        path = draw.choice(["/me", f"/customers/{number}", f"/{noise}", "/customers/*", f"/orders?id={noise}"])
        method = draw.choice(["GET", "GET", f"X{number}"])
        headers = draw.choice([[bearer(text)], [bearer(text)], [], [("Authorization", noise.encode())]])
        front.request(Request(path, method, [*headers, ("X-Request-ID", noise.encode())], query=f"q={noise}"))
    check(events, caplog)
    assert len(events) >= 120
    assert len({labels(event) for event in events}) <= 40


def test_l_03_the_sets_themselves_are_closed() -> None:
    assert {reason.status for reason in Reason} == CLOSED["status"] - {200} == set(_DETAILS)
    errors = {reason.error for reason in Reason}
    assert errors == {"invalid_request", "invalid_token", "insufficient_scope", None}
    assert len(CLOSED["outcome"]) * len(REASONS) * len(CLOSED["phase"]) <= 200


@pytest.mark.parametrize("name", FRONTS)
def test_l_05_a_token_id_is_shown_as_a_piece_of_its_hash(
    make_front: Callable[..., Front], broker: StubBroker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[DecisionEvent] = []
    front = make_front(name, guard_on_decision=events.append)
    jti = "f00d" * 8
    for path in ("/customers/7291", "/customers/8"):
        front.request(get(bearer(token(jti=jti)), path=path))
    let_in = [event for event in events if event.outcome == "allowed"]
    assert let_in
    assert {event.jti_hash for event in let_in} == {hashlib.sha256(jti.encode()).hexdigest()[:12]}
    # The agent is named in full.
    assert {event.agent_id for event in let_in} == {"spiffe://agentwrit.local/agent/orch-1/task-1/4addb01b452d86c3"}
    told = [repr(event) for event in events] + [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
    assert [text for text in told if jti in text or jti[:13] in text] == []
