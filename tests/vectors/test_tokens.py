"""Recorded tokens of the real broker, clock frozen: the strict answer on every front, over the recorded reply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, all_of
from agentwrit_guard.core.scopes import Scope
from agentwrit_guard.errors import ConfigurationError
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS
from tests.kit.stub import StubBroker
from tests.vectors.folder import load

RECORDED = load("tokens.json")
META = RECORDED["meta"]
TOKENS = {case["name"]: case for case in RECORDED["tokens"]}


@pytest.fixture(scope="module")
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


def _guard(broker: StubBroker, case: dict[str, Any], **settings: Any) -> Guard:
    said = case["broker"]
    body = said["body"].encode()
    broker.answer = lambda _: (said["status"], {"Content-Type": "application/json"}, body)
    return Guard(
        broker.url,
        issuer=META["issuer"],
        audience=META["audience"],
        trust_domain=META["trust_domain"],
        max_token_lifetime=3600,
        clock=MovableClock(META["freeze_at"]).clock,
        **settings,
    )


def _bearer(case: dict[str, Any]) -> bytes:
    return b"Bearer " + case["token"].encode()


@pytest.mark.parametrize("front", ["asgi", "wsgi", "starlette", "fastapi", "flask", "fastapi-dependency"])
@pytest.mark.parametrize("name", TOKENS)
def test_the_strict_answer_on_every_front(broker: StubBroker, front: str, name: str) -> None:
    case = TOKENS[name]
    answer = case["strict_guard"]["answer"]
    settings = {"chain_loops": "deny"} if answer == "policy" else {}
    made = FRONTS[front](_guard(broker, case, **settings))
    status = made.request(Request("/me", headers=[("Authorization", _bearer(case))])).status
    # A line feed cannot stand in a header: those are malformed credentials (threats J-14), refused all the same.
    refusal = 400 if "\n" in case["token"] else 401
    assert status == (200 if answer == "accept" else refusal)
    assert len(made.ran) == (answer == "accept")


@pytest.mark.parametrize("name", [name for name in TOKENS if TOKENS[name]["strict_guard"]["answer"] != "refuse"])
def test_accepted_tokens_are_good_for_what_their_scopes_cover(broker: StubBroker, name: str) -> None:
    case = TOKENS[name]
    guard = _guard(broker, case)
    try:
        covered = guard.check([_bearer(case)], all_of(_covered_scope(case["claims"]["scope"])))
        beyond = guard.check([_bearer(case)], all_of("read:nobody-holds-this:1"))
    finally:
        guard.close()
    assert isinstance(covered, Allowed)
    assert isinstance(beyond, Denied)
    assert beyond.status == 403


def _covered_scope(held: list[str]) -> str:
    """A scope of an API that the held ones cover: the first that can be required at all."""
    for text in held:
        scope = Scope.parse(text)
        assert scope is not None
        candidate = f"{scope.action}:{scope.resource}:{'some-id' if scope.identifier == '*' else scope.identifier}"
        try:
            all_of(candidate)
        except ConfigurationError:
            continue
        return candidate
    raise AssertionError("no scope of this token can be required")


@pytest.mark.parametrize("name", [name for name in TOKENS if "no broker call" in TOKENS[name]["strict_guard"]["why"]])
def test_what_is_wrong_by_its_own_text_costs_no_call(broker: StubBroker, name: str) -> None:
    guard = _guard(broker, TOKENS[name])
    before = broker.calls
    decision = guard.check([_bearer(TOKENS[name])])
    guard.close()
    assert isinstance(decision, Denied)
    assert broker.calls == before
