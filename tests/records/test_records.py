"""What operators see: one record a decision, explanations that name the fix, hooks, and never a token."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.core.decisions import DecisionEvent
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE
from tests.kit.stub import Answer, StubBroker, json_answer, valid
from tests.kit.tokens import AGENT, NOW, OTHER, claims, delegated, record, token


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


def bearer(text: str) -> list[tuple[str, bytes]]:
    return [("Authorization", b"Bearer " + text.encode())]


def decisions(caplog: pytest.LogCaptureFixture) -> list[DecisionEvent]:
    return [entry.decision for entry in caplog.records if entry.name == "agentwrit_guard.decisions"]


@pytest.mark.parametrize("name", WHOLE)
def test_each_decision_is_one_record(broker: StubBroker, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.INFO, "agentwrit_guard.decisions")
    front = FRONTS[name](Guard(broker.url, clock=MovableClock().clock))
    headers = [*bearer(token()), ("X-Request-ID", b"req-1")]
    front.request(Request("/customers/7291", headers=headers))
    front.request(Request("/customers/8", headers=headers))
    front.request(Request("/health"))
    front.request(Request("/me", headers=[("X-Request-ID", b"req-2")]))
    events = decisions(caplog)
    phases = [(event.phase, event.outcome, event.reason, event.source) for event in events]
    inner = [] if name in ("asgi", "wsgi") else [("requirement", "allowed", "ok", "broker")]
    assert phases == [
        ("middleware", "allowed", "ok", "broker"),
        *inner,
        ("middleware", "allowed", "ok", "cache"),
        ("requirement", "denied", "insufficient_scope", events[-2].source),
        ("middleware", "denied", "no_credentials", "guard"),
    ]
    first, refused = events[0], events[-2]
    assert (first.agent_id, first.task_id, first.status, first.method) == (AGENT, "task-1", 200, "GET")
    assert (first.path, first.request_id, first.version, first.depth) == ("/customers/7291", "req-1", 1, 0)
    assert first.jti_hash is not None
    assert len(first.jti_hash) == 12
    assert first.jti_hash not in claims()["jti"]
    assert (refused.required, refused.missing) == (("read:customers:8",), ("read:customers:8",))
    assert events[-1].request_id == "req-2"


EXPLAINED: list[tuple[str, dict[str, Any], Request, Callable[[bytes], Answer], list[str]]] = [
    ("aud missing", {"audience": "api"}, Request(headers=bearer(token())), valid, ["AA_AUDIENCE", "audience="]),
    ("aud other", {"audience": "api"}, Request(headers=bearer(token(aud=["x"]))), valid, ["audience="]),
    ("issuer", {"issuer": "me"}, Request(headers=bearer(token())), valid, ["AA_ISSUER", "issuer="]),
    ("domain", {"trust_domain": "corp"}, Request(headers=bearer(token())), valid, ["trust_domain=corp"]),
    ("kind", {}, Request(headers=bearer(token(sub="admin"))), valid, ["admin", "principal_kinds"]),
    ("lifetime", {}, Request(headers=bearer(token(exp=NOW + 7200))), valid, ["7200", "max_token_lifetime 3600"]),
    ("early", {}, Request(headers=bearer(token(nbf=NOW + 60))), valid, ["clocks"]),
    ("chain", {}, Request(headers=bearer(token(delegated(record(scope=("a:b:c",)))))), valid, ["widens"]),
    ("loop", {"chain_loops": "deny"}, Request(headers=bearer(token(delegated(record(AGENT))))), valid, ["chain_loops"]),
    ("charset", {}, Request("/customers/a%20b", headers=bearer(token())), valid, ["'a b'", "charset"]),
    ("query", {}, Request(headers=bearer(token()), query="access_token=x"), valid, ["query", "header only"]),
    ("down", {"broker_url": "http://127.0.0.1:9"}, Request(headers=bearer(token())), valid, ["broker_url", "connect"]),
    ("answer", {}, Request(headers=bearer(token())), lambda _: (404, {}, b""), ["404", "broker_url"]),
    ("mismatch", {}, Request(headers=bearer(token())),
     lambda _: json_answer({"valid": True, "claims": claims(sub=OTHER)}), ["another token"]),
]  # fmt: skip


@pytest.mark.parametrize("case", EXPLAINED, ids=[case[0] for case in EXPLAINED])
def test_a_refusal_that_a_setting_explains_says_how_to_mend_it(
    broker: StubBroker, caplog: pytest.LogCaptureFixture, case: Any
) -> None:
    _, settings, request, answer, words = case
    broker.answer = answer
    guard = Guard(**{"broker_url": broker.url, "clock": MovableClock().clock, **settings})
    answered = FRONTS["starlette"](guard).request(request)
    assert answered.status >= 400
    (warning,) = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
    text = warning.getMessage()
    assert warning.name == "agentwrit_guard.events"
    assert "\n" not in text
    for word in words:
        assert word in text
        assert word not in answered.body.decode() or word in ("query", "connect")


def test_explanations_are_paced_by_reason(broker: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    clock = MovableClock()
    front = FRONTS["asgi"](Guard(broker.url, audience="api", clock=clock.clock))
    for _ in range(5):
        front.request(Request(headers=bearer(token())))
    front.request(Request(headers=bearer(token(exp=NOW + 7200))))
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "WARNING"]
    clock.move(10)
    front.request(Request(headers=bearer(token())))
    assert len(caplog.records) == 3


def test_ordinary_refusals_are_not_warned_of(broker: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    front = FRONTS["asgi"](Guard(broker.url, clock=MovableClock().clock))
    for request in (Request(), Request(headers=bearer("junk")), Request("/customers/8", headers=bearer(token()))):
        assert front.request(request).status >= 400
    assert caplog.records == []


def test_a_chain_loop_is_an_event(broker: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    front = FRONTS["asgi"](Guard(broker.url, clock=MovableClock().clock))
    assert front.request(Request(headers=bearer(token(delegated(record(AGENT)))))).status == 200
    assert [entry.event for entry in caplog.records] == ["chain_loop"]


def test_a_hook_gets_every_decision_and_can_change_none(broker: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[DecisionEvent] = []

    def hook(event: DecisionEvent) -> None:
        seen.append(event)
        raise RuntimeError(token())

    front = FRONTS["asgi"](Guard(broker.url, clock=MovableClock().clock, on_decision=hook))
    assert front.request(Request(headers=bearer(token()))).status == 200
    assert front.request(Request()).status == 401
    assert [event.outcome for event in seen] == ["allowed", "denied"]
    assert [entry.getMessage() for entry in caplog.records] == ["decision hook failed: RuntimeError"] * 2
    with pytest.raises(AttributeError):
        seen[0].outcome = "allowed"


@pytest.mark.parametrize("name", WHOLE)
def test_l_01_l_04_no_log_shows_a_token_or_breaks_a_line(broker: StubBroker, name: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        front = FRONTS[name](Guard(broker.url, audience=None, clock=MovableClock().clock))
        tokens = [token(), token(sub="admin"), token(exp=NOW + 7200), token(jti="e" * 32), token()[:-4] + "AAAA"]
        for number, text in enumerate(tokens):
            broker.answer = valid if number != 3 else lambda _: (500, {}, b"")
            for path in ("/me", "/customers/8", "/customers/x%0d%0aINJECTED%1b[31m"):
                front.request(Request(path, headers=bearer(text)))
        lines = stream.getvalue().splitlines()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert lines
    assert not [line for line in lines if line.startswith("INJECTED") or "\x1b" in line]
    for text in tokens:
        signature = text.rsplit(".", 1)[1]
        assert not [line for line in lines for start in range(0, 70, 8) if signature[start : start + 16] in line]
