"""Shadow mode through the fronts: refusals are recorded and not acted on, the agent is not passed on (threats 1).

The wait of a request for its decision is far longer here than any broker of a test takes, unless a test is about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.contrib.flask import FlaskGuard
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.errors import ConfigurationError
from tests.fronts.connection import GONE, App, Server, body, run
from tests.fronts.expect import expect
from tests.fronts.test_load import Open, all_at_once, until
from tests.fronts.test_table import answers, bearer, get
from tests.kit import drivers
from tests.kit.clock import MovableClock
from tests.kit.drivers import Answer, Request
from tests.kit.fronts import FRONTS, WHOLE, Front
from tests.kit.stub import StubBroker, invalid
from tests.kit.tokens import AGENT, NOW, token

Make = Callable[..., Front]
LAST_DAY = "2027-01-31"
END = 1_801_440_000
"""Seconds since the epoch at which that day ends in UTC."""
PLAIN = ("asgi", "wsgi")
RULED = tuple(name for name in FRONTS if name not in PLAIN)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how long a request waits."""

    def wait(seconds: float) -> None:
        monkeypatch.setattr("agentwrit_guard.asgiverdict.SHADOW_WAIT", seconds)
        monkeypatch.setattr("agentwrit_guard.environ.SHADOW_WAIT", seconds)

    wait(20.0)
    return wait


@pytest.fixture
def events() -> list[DecisionEvent]:
    return []


@pytest.fixture
def shadow(make_front: Make, events: list[DecisionEvent], patience: Callable[[float], None]) -> Make:
    """A front whose guard is in shadow mode."""
    return functools.partial(
        make_front, guard_enforce=False, guard_until=LAST_DAY, guard_on_decision=events.append, guard_timeout=60
    )


def refusals(events: list[DecisionEvent]) -> list[tuple[str, bool]]:
    return [(event.reason, event.enforced) for event in events if event.outcome == "denied"]


async def soon(condition: Callable[[], Any]) -> None:
    """As `until`, in an event loop."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to it")


def passed(answer: Answer, agent: str | None = None) -> None:
    """The handler's own answer, with what it saw of its agent."""
    assert (answer.status, json.loads(answer.body)) == (200, agent)
    assert answer.header("www-authenticate") is None


# --- every refusal, on every front

REFUSED: list[tuple[str, Request, dict[str, Any], Any, int]] = [
    ("no_credentials", get(), {}, None, 0),
    ("malformed_credentials", get(("Authorization", b"Bearer")), {}, None, 0),
    ("malformed_credentials", get(bearer("x, Bearer y")), {}, None, 0),
    ("credentials_in_query", get(bearer(), query="access_token=x"), {}, None, 0),
    ("malformed_token", get(bearer("garbage")), {}, None, 0),
    ("expired", get(bearer(token(exp=NOW + 1))), {}, None, 0),
    ("lifetime_exceeded", get(bearer(token(exp=NOW + 3601))), {}, None, 0),
    ("rejected_by_broker", get(bearer()), {}, invalid, 1),
    ("broker_unavailable", get(bearer()), {}, answers(500), 1),
    ("broker_unavailable", get(bearer()), {"guard_url": "http://127.0.0.1:9"}, None, 0),
]


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("reason, request_, options, said, calls", REFUSED, ids=lambda value: str(value)[:24])
def test_every_refusal_is_recorded_and_lets_the_request_through_without_an_agent(
    shadow: Make,
    broker: StubBroker,
    events: list[DecisionEvent],
    name: str,
    reason: str,
    request_: Request,
    options: dict[str, Any],
    said: Any,
    calls: int,
) -> None:
    broker.answer = said or broker.answer
    front = shadow(name, **options)
    before = broker.calls
    passed(front.request(request_))
    assert front.ran == ["/me"]
    assert set(refusals(events)) == {(reason, False)}
    assert [event for event in events if event.outcome == "allowed"] == []
    assert broker.calls - before >= calls
    assert all(event.agent_id is None for event in events)


@pytest.mark.parametrize("name", FRONTS)
def test_a_denied_agent_is_let_through_without_its_name(
    shadow: Make, broker: StubBroker, events: list[DecisionEvent], name: str
) -> None:
    front = shadow(name)
    passed(front.request(get(bearer())), AGENT)
    front.guard.deny("agent", AGENT)
    events.clear()
    passed(front.request(get(bearer())))
    assert set(refusals(events)) == {("deny_list", False)}
    assert broker.calls == 1


@pytest.mark.parametrize("name", RULED)
@pytest.mark.parametrize("known", [True, False])
def test_a_missing_scope_is_recorded_with_its_agent(
    shadow: Make, broker: StubBroker, events: list[DecisionEvent], name: str, known: bool
) -> None:
    front = shadow(name)
    if known:
        expect(front, broker, get(bearer(), path="/customers/7291"), 200, calls=1)
    events.clear()
    answer = front.request(get(bearer(), path="/customers/8"))
    assert (answer.status, len(front.ran)) == (200, 1 + known)
    assert set(refusals(events)) == {("insufficient_scope", False)}
    refused = next(event for event in events if event.outcome == "denied")
    assert (refused.phase, refused.status, refused.agent_id) == ("requirement", 403, AGENT)
    assert (refused.required, refused.missing) == (("read:customers:8",), ("read:customers:8",))
    if name not in ("fastapi", "fastapi-alone"):
        # FastAPI's handler of that path says its parameter.
        assert json.loads(answer.body) is None


@pytest.mark.parametrize("name", FRONTS)
def test_who_would_have_been_allowed_has_its_agent_as_ever(
    shadow: Make, broker: StubBroker, events: list[DecisionEvent], name: str
) -> None:
    front = shadow(name)
    for calls in (1, 0):
        before = broker.calls
        passed(front.request(get(bearer())), AGENT)
        assert broker.calls - before == calls
    assert events
    assert all(event.outcome == "allowed" and event.enforced for event in events)


@pytest.mark.parametrize("name", WHOLE)
def test_require_in_a_handler_enforces_always(shadow: Make, broker: StubBroker, name: str) -> None:
    front = shadow(name)
    holder = bearer(token(scope=["read:orders:7"]))
    expect(front, broker, get(holder, path="/orders", query="id=7"), 200, calls=1)
    expect(front, broker, get(holder, path="/orders", query="id=8"), 403, scope="read:orders:8")


@pytest.mark.parametrize("name", [name for name in FRONTS if name not in ("wsgi", "flask", "flask-alone")])
def test_a_websocket_is_accepted(shadow: Make, events: list[DecisionEvent], name: str) -> None:
    front = shadow(name)
    assert front.request(get(path="/ws", websocket=True)).status == 101
    assert front.ran == ["/ws"]
    assert set(refusals(events)) == {("no_credentials", False)}


# --- the day


@pytest.mark.parametrize("name", FRONTS)
def test_it_ends_with_the_last_second_of_its_day(
    shadow: Make, broker: StubBroker, clock: MovableClock, events: list[DecisionEvent], name: str
) -> None:
    front = shadow(name)
    clock.wall = END - 0.001
    passed(front.request(get()))
    clock.wall = END
    events.clear()
    expect(front, broker, get(), 401, error="unauthorized")
    assert refusals(events) == [("no_credentials", True)]


@pytest.mark.parametrize("name", RULED)
def test_after_its_day_scopes_are_enforced(shadow: Make, broker: StubBroker, clock: MovableClock, name: str) -> None:
    front = shadow(name)
    late = bearer(token(iat=END - 10, nbf=END - 10, exp=END + 300))
    clock.wall = END - 1
    assert front.request(get(late, path="/customers/8")).status == 200
    clock.wall = END
    expect(front, broker, get(late, path="/customers/8"), 403, scope="read:customers:8")


# --- what it may cost


def one_after_another(front: Front, broker: StubBroker, events: list[DecisionEvent], request: Request) -> list[Answer]:
    """The answer to a request while the broker is held, and that to another one after its answer was recorded."""

    def goes_on() -> bool:
        assert not broker.gate.is_set()
        assert all(event.outcome != "allowed" for event in events)
        broker.gate.set()
        return True

    if front.send is drivers.wsgi:
        found = [drivers.wsgi(front.app, Open(), request)]  # type: ignore[arg-type]
        goes_on()
        until(lambda: events)
        return [*found, drivers.wsgi(front.app, front.guard, request)]

    async def main() -> list[Answer]:
        try:
            found = [await drivers.asgi_request(front.app, request)]
            goes_on()
            await soon(lambda: events)
            return [*found, await drivers.asgi_request(front.app, request)]
        finally:
            await front.guard.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("said, reason, agent", [(None, "ok", AGENT), (invalid, "rejected_by_broker", None)])
def test_a_slow_broker_is_not_waited_for_and_its_answer_recorded_late(
    shadow: Make,
    broker: StubBroker,
    events: list[DecisionEvent],
    patience: Callable[[float], None],
    name: str,
    said: Any,
    reason: str,
    agent: str | None,
) -> None:
    """The answer comes while the broker still thinks."""
    broker.answer = said or broker.answer
    front = shadow(name)
    patience(0.05)
    with broker.held():
        first, second = one_after_another(front, broker, events, get(bearer()))
    passed(first)
    passed(second, agent)
    assert (events[0].reason, events[0].enforced) == (reason, False)
    assert (events[0].method, events[0].path) == ("GET", "/me")
    assert front.ran == ["/me", "/me"]


@pytest.mark.parametrize("name, path, waits", [
    ("asgi", "/me", [0.05]),
    ("wsgi", "/me", [0.05]),
    ("starlette", "/customers/7291", [0.05, 0.02]),
    ("starlette", "/any", [0.05, 0.02]),
    ("flask", "/customers/7291", [0.05, 0.02]),
    ("fastapi", "/customers/7291", [0.05, 0.02, 0.0]),
    ("fastapi", "/me", [0.05, 0.02]),
    ("starlette-alone", "/customers/7291", [0.05]),
    ("flask-alone", "/customers/7291", [0.05]),
    ("fastapi-alone", "/customers/7291", [0.05, 0.0]),
    ("fastapi-dependency", "/customers/7291", [0.05]),
])  # fmt: skip
def test_all_decisions_of_a_request_share_one_wait(
    shadow: Make,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    patience: Callable[[float], None],
    name: str,
    path: str,
    waits: list[float],
) -> None:
    given: list[float] = []

    def waited(_: Guard, lookup: Any, seconds: float, late: Any) -> None:
        given.append(seconds)
        clock.move(0.03)

    async def awaited(_: Guard, lookup: Any, seconds: float, late: Any) -> None:
        waited(_, lookup, seconds, late)

    monkeypatch.setattr(Guard, "settle_aside", waited)
    monkeypatch.setattr(Guard, "asettle_aside", awaited)
    patience(0.05)
    front = shadow(name)
    assert front.request(get(bearer(), path=path)).status == 200
    assert len(front.ran) == 1
    assert given == pytest.approx(waits)


@pytest.mark.parametrize("name", PLAIN)
def test_known_agents_and_what_needs_no_broker_do_not_go_aside(
    shadow: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    front = shadow(name)
    passed(front.request(get(bearer())), AGENT)
    monkeypatch.setattr(Guard, "settle_aside", None)
    monkeypatch.setattr(Guard, "asettle_aside", None)
    passed(front.request(get(bearer())), AGENT)
    passed(front.request(get()))
    passed(front.request(get(bearer("x"))))


@pytest.mark.parametrize("name", FRONTS)
def test_where_too_much_is_under_way_nothing_more_is_begun(
    shadow: Make,
    broker: StubBroker,
    events: list[DecisionEvent],
    monkeypatch: pytest.MonkeyPatch,
    patience: Callable[[float], None],
    name: str,
) -> None:
    monkeypatch.setattr("agentwrit_guard.aside.MOST", 0)
    front = shadow(name)
    passed(front.request(get(bearer())))
    assert set(refusals(events)) == {("broker_busy", False)}
    assert broker.calls == 0


@pytest.mark.parametrize("name", PLAIN)
def test_of_many_requests_at_a_slow_broker_64_are_decided_and_the_others_found_busy(
    shadow: Make, broker: StubBroker, events: list[DecisionEvent], patience: Callable[[float], None], name: str
) -> None:
    front = shadow(name, guard_max_in_flight=100)
    requests = [get(bearer(token(jti=f"agent-{number}"))) for number in range(80)]
    with broker.held(), all_at_once(front, requests) as found:
        # Those that found room wait as long as they may.
        until(lambda: len(found) == 16 and broker.calls == 64)
        assert refusals(events) == [("broker_busy", False)] * 16
        for _, answer in found:
            passed(answer)
        broker.gate.set()
    assert [json.loads(answer.body) for _, answer in found].count(AGENT) == 64


def test_a_client_that_leaves_during_the_wait_runs_nothing(
    broker: StubBroker, clock: MovableClock, events: list[DecisionEvent]
) -> None:
    guard = Guard(broker.url, clock=clock.clock, enforce=False, until=LAST_DAY, on_decision=events.append, timeout=60)
    app, server = App(), Server(body(), GONE)

    async def play() -> None:
        with broker.held():
            await GuardMiddleware(app, guard)(server.scope, server.receive, server.send)
            assert (app.runs, server.sent, events) == (0, [], [])
            broker.gate.set()
            await soon(lambda: events)

    run(guard, play)
    assert (events[0].outcome, events[0].enforced) == ("allowed", False)
    guard.close()


def test_a_request_that_is_cancelled_during_the_wait_is_recorded_all_the_same(
    broker: StubBroker, clock: MovableClock, events: list[DecisionEvent], patience: Callable[[float], None]
) -> None:
    guard = Guard(broker.url, clock=clock.clock, enforce=False, until=LAST_DAY, on_decision=events.append, timeout=60)
    app, server = App(), Server(body())
    broker.answer = invalid

    async def play() -> None:
        with broker.held():
            served = asyncio.ensure_future(GuardMiddleware(app, guard)(server.scope, server.receive, server.send))
            await soon(lambda: broker.calls)
            served.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await served
            assert (served.cancelled(), events) == (True, [])
        await soon(lambda: events)

    run(guard, play)
    assert app.runs == 0
    assert refusals(events) == [("rejected_by_broker", False)]


# --- settings, and how loud it is


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if getattr(entry, "event", None) == "shadow_mode"]


def flask_guard(config: dict[str, Any], **keywords: Any) -> Guard:
    from flask import Flask

    app = Flask("shadowed")
    app.config.update(config)
    FlaskGuard(app, **keywords)
    guard: Guard = app.extensions["agentwrit_guard"]
    return guard


SPELLINGS: list[Callable[[], Guard]] = [
    lambda: Guard("http://127.0.0.1:9", enforce=False, until=LAST_DAY, clock=MovableClock().clock),
    lambda: Guard.from_env(broker_url="http://127.0.0.1:9", enforce=False, until=LAST_DAY, clock=MovableClock().clock),
    lambda: flask_guard({"AGENTWRIT_BROKER_URL": "http://127.0.0.1:9"}, enforce=False, until="9999-12-31"),
    lambda: flask_guard(
        {"AGENTWRIT_BROKER_URL": "http://127.0.0.1:9", "AGENTWRIT_ENFORCE": False, "AGENTWRIT_UNTIL": "9999-12-31"}
    ),
    lambda: flask_guard(
        {"AGENTWRIT_BROKER_URL": "http://127.0.0.1:9", "AGENTWRIT_ENFORCE": "off", "AGENTWRIT_UNTIL": "9999-12-31"}
    ),
]


@pytest.mark.parametrize("make", SPELLINGS)
def test_every_spelling_warns_at_every_start(caplog: pytest.LogCaptureFixture, make: Callable[[], Guard]) -> None:
    for number in (1, 2):
        guard = make()
        assert not guard.enforces()
        assert len(warnings_of(caplog)) == number
        guard.close()
    assert "in shadow mode: requests that it refuses go through, to the end of " in warnings_of(caplog)[0]
    assert {entry.levelno for entry in caplog.records} == {logging.WARNING}


def test_the_environment_spells_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in {"BROKER_URL": "http://127.0.0.1:9", "ENFORCE": "false", "UNTIL": LAST_DAY}.items():
        monkeypatch.setenv(f"AGENTWRIT_{name}", value)
    clock = MovableClock()
    guard = Guard.from_env(clock=clock.clock)
    assert (guard.settings.enforce, guard.settings.until, guard.enforces()) == (False, LAST_DAY, False)
    [said] = warnings_of(caplog)
    assert "to the end of 2027-01-31 (UTC)" in said
    clock.wall = END
    assert guard.enforces()
    assert Guard.from_env(clock=clock.clock).enforces()
    assert "is enforced again since the end of 2027-01-31 (UTC)" in warnings_of(caplog)[1]
    monkeypatch.setenv("AGENTWRIT_ENFORCE", "true")
    with pytest.raises(ConfigurationError, match="until"):
        Guard.from_env()


def test_a_guard_that_enforces_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert Guard("http://127.0.0.1:9").enforces()
    assert warnings_of(caplog) == []


def _declares() -> Iterator[Any]:
    from agentwrit_guard.contrib import fastapi, flask, starlette

    for module in (fastapi, flask, starlette):
        for name in ("requires_scope", "requires_any_scope"):
            yield pytest.param(getattr(module, name), id=f"{module.__name__.rpartition('.')[2]}.{name}")


@pytest.mark.parametrize("declare", list(_declares()))
def test_every_rule_in_shadow_mode_warns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, declare: Any
) -> None:
    monkeypatch.setattr(time, "time", lambda: END - 1.0)
    declare("read:data:{id}")
    assert warnings_of(caplog) == []
    declare("read:data:{id}", enforce=False, until=LAST_DAY)
    [said] = warnings_of(caplog)
    assert "read:data:{id}" in said
    assert "to the end of 2027-01-31 (UTC)" in said
    monkeypatch.setattr(time, "time", lambda: float(END))
    declare("read:data:{id}", enforce=False, until=LAST_DAY)
    assert "is enforced again" in warnings_of(caplog)[1]
    with pytest.raises(ConfigurationError, match="until"):
        declare("read:data:{id}", enforce=False)
    with pytest.raises(ConfigurationError, match="until"):
        declare("read:data:{id}", until=LAST_DAY)


@pytest.mark.parametrize("text", ["", " ", "2", "nope"])
def test_a_variable_that_was_not_filled_in_opens_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AGENTWRIT_BROKER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AGENTWRIT_UNTIL", "9999-12-31")
    monkeypatch.setenv("AGENTWRIT_ENFORCE", text)
    with pytest.raises(ConfigurationError, match="AGENTWRIT_ENFORCE"):
        Guard.from_env()
