"""What a guard tells its operator."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, Requirement, all_of
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.decisions import DecisionEvent, Reason
from tests.core.conftest import GuardMaker
from tests.core.kit import bearer
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker, json_answer
from tests.kit.tokens import AGENT, NOW, claims, delegated, record, token

ISSUED = token()


def tell(guard: Guard, decision: Allowed | Denied, **changes: str) -> None:
    request: dict[str, Any] = {
        "phase": "middleware",
        "front": "asgi",
        "method": "GET",
        "path": "/x",
        "request_id": "r",
        **changes,
    }
    guard.record(decision, **request)


EXPLAINED: list[Any] = [
    pytest.param({}, {"exp": NOW + 9000}, None, "max_token_lifetime 3600", "lifetime_exceeded", id="lifetime_exceeded"),
    pytest.param({}, {"nbf": NOW + 60}, None, "clocks", "refused", id="not_yet_valid"),
    pytest.param({"issuer": "https://i"}, {}, None, "AA_ISSUER", "refused", id="issuer"),
    pytest.param({"audience": "https://a"}, {}, None, "no aud", "refused", id="no audience"),
    pytest.param({"audience": "https://a"}, {"aud": ["https://b"]}, None, "lacks", "refused", id="another audience"),
    pytest.param({"trust_domain": "corp.example"}, {}, None, "trust_domain=corp.example", "refused", id="trust domain"),
    pytest.param({}, {"sub": "admin"}, None, "kind 'admin'", "refused", id="principal kind"),
    pytest.param({}, {"sub": "someone"}, None, "kind 'unknown'", "refused", id="no principal"),
    pytest.param({}, {"chain_hash": "0" * 64}, None, "hash without a chain", "chain_violation", id="chain"),
    pytest.param({}, {}, all_of("read:customers:{id}"), "charset", "refused", id="identifier"),
]


@pytest.mark.parametrize("settings, changes, requirement, words, event", EXPLAINED)
def test_a_refusal_that_a_setting_explains_names_it(
    make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture, settings: dict[str, Any],
    changes: dict[str, Any], requirement: Requirement | None, words: str, event: str,
) -> None:  # fmt: skip
    guard = make(stub.url, **settings)
    denied = guard.check(bearer(token(**changes)), requirement, {"id": "a\r\nb\x1b[31m"})
    assert isinstance(denied, Denied)
    tell(guard, denied)
    assert [(entry.levelno, entry.event) for entry in caplog.records] == [(logging.WARNING, event)]  # type: ignore[attr-defined]
    assert words in caplog.text
    assert len(caplog.records[0].getMessage().splitlines()) == 1
    assert "\x1b" not in caplog.text


def explained(guard: Guard, decision: Allowed | Denied, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    assert isinstance(decision, Denied)
    tell(guard, decision)
    return [entry.event for entry in caplog.records]  # type: ignore[attr-defined]


def test_the_other_explanations(make: GuardMaker, stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    guard = make(stub.url, chain_loops="deny")
    assert explained(guard, guard.check(bearer(ISSUED), query=b"access_token=x"), caplog) == ["refused"]
    assert explained(guard, guard.check(bearer(token(delegated(record(agent=AGENT))))), caplog) == ["chain_loop"]
    chain = token(delegated(record()))
    assert explained(guard, guard.check(bearer(chain), Requirement.authenticated(max_depth=0)), caplog) == ["refused"]
    assert "delegated 1 times" in caplog.text
    stub.answer = lambda _: json_answer({"valid": True, "claims": claims(jti="other")})
    assert explained(guard, guard.check(bearer(ISSUED)), caplog) == ["claims_mismatch"]
    stub.answer = lambda _: json_answer({}, 404)
    assert explained(guard, guard.check(bearer(ISSUED)), caplog) == ["broker_unavailable"]
    assert "404" in caplog.text


@pytest.mark.parametrize("entries", [[], bearer("x"), bearer(token(exp=NOW))])
def test_refusals_that_no_setting_explains_are_not_warned_of(
    guard: Guard, caplog: pytest.LogCaptureFixture, entries: list[bytes]
) -> None:
    assert explained(guard, guard.check(entries), caplog) == []


def test_what_a_broker_calls_another_audience_by_default(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    bare = refuse(Reason.AUDIENCE_MISMATCH, "r")
    assert explained(guard, bare, caplog) == ["refused"]
    assert "lacks" in caplog.text


def test_explanations_come_once_in_ten_seconds(
    guard: Guard, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    denied = guard.check(bearer(token(exp=NOW + 9000)))
    assert explained(guard, denied, caplog) == ["lifetime_exceeded"]
    clock.monotonic += 9.999
    assert explained(guard, denied, caplog) == []
    assert explained(guard, guard.check(bearer(token(sub="admin"))), caplog) == ["refused"]
    clock.monotonic += 0.001
    assert explained(guard, denied, caplog) == ["lifetime_exceeded"]


def test_one_record_a_decision(asking: Guard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentwrit_guard.decisions")
    assert asking.recording
    tell(asking, asking.check(bearer(token(delegated(record())))), phase="requirement")
    tell(asking, asking.check(bearer(ISSUED), all_of("write:a:1")))
    allowed, denied = (entry.decision for entry in caplog.records)  # type: ignore[attr-defined]
    assert allowed == DecisionEvent(
        "allowed", "ok", 200, "requirement", "asgi", "GET", "/x", "r", "broker", agent_id=AGENT, task_id="task-1",
        depth=1,
        jti_hash=hashlib.sha256(claims()["jti"].encode()).hexdigest()[:12],
    )  # fmt: skip
    assert (denied.outcome, denied.reason, denied.status) == ("denied", "insufficient_scope", 403)
    assert (denied.required, denied.missing) == (("write:a:1",), ("write:a:1",))
    assert claims()["jti"] not in caplog.text


@pytest.mark.parametrize("field", ["method", "path"])
@pytest.mark.parametrize("hostile", ["\x1b[31mX", "a\nb", "a\r\nFORGED allowed 200", "\x9b31m", "a\u2028b"])
def test_l_04_a_record_is_one_line_of_plain_text(
    guard: Guard, caplog: pytest.LogCaptureFixture, field: str, hostile: str
) -> None:
    caplog.set_level(logging.INFO, "agentwrit_guard.decisions")
    tell(guard, guard.check([]), **{field: hostile})
    message = caplog.records[0].getMessage()
    assert message.isprintable()
    assert len(message.splitlines()) == 1


def test_hooks_get_the_event_and_change_nothing(make: GuardMaker, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[DecisionEvent] = []

    def hook(event: DecisionEvent) -> None:
        seen.append(event)
        raise RuntimeError("canary")

    guard = make(on_decision=hook)
    assert guard.recording
    tell(guard, guard.check([]))
    assert [event.reason for event in seen] == [Reason.NO_CREDENTIALS.code]
    assert [entry.event for entry in caplog.records] == ["hook_failed"]  # type: ignore[attr-defined]
    assert "canary" not in caplog.text


def test_nobody_listens(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "agentwrit_guard.decisions")
    assert not guard.recording
    tell(guard, guard.check([]))
    assert caplog.records == []
