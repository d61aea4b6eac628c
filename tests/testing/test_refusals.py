"""`assert_denied` passes for the guard's refusals, whoever carries them, and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from agentwrit_guard import Denied, Guard, all_of
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.requirements import Shortfall
from agentwrit_guard.testing import AsAgent, assert_denied

SCOPES = ("read:a:1", "read:b:1")
LACKING = refuse(Reason.INSUFFICIENT_SCOPE, "agentwrit", shortfall=Shortfall(SCOPES, SCOPES))


def _werkzeug(denied: Denied) -> TestResponse:
    plain = Response(denied.body, denied.status, dict(denied.headers))
    return TestResponse([denied.body], plain.status, plain.headers, request=None)


CARRIERS: dict[str, Callable[[Denied], Any]] = {
    "httpx": lambda denied: httpx.Response(denied.status, headers=dict(denied.headers), content=denied.body),
    "httpx2": lambda denied: httpx2.Response(denied.status, headers=dict(denied.headers), content=denied.body),
    "werkzeug": _werkzeug,
}


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_refusal_of_the_guard_is_one(reason: Reason, carry: Callable[[Denied], Any]) -> None:
    denied = refuse(reason, 'the "realm'.replace('"', ""))
    assert assert_denied(carry(denied), reason.status) == json.loads(denied.body)
    with pytest.raises(AssertionError, match="status"):
        assert_denied(carry(denied), {400: 401, 401: 403, 403: 401, 503: 401}[reason.status])


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
def test_missing_scopes_in_any_order(carry: Callable[[Denied], Any]) -> None:
    problem = assert_denied(carry(LACKING), 403, missing=["read:b:1", "read:a:1"])
    assert problem["missing_scopes"] == list(SCOPES)
    for wrong in (["read:a:1"], [], [*SCOPES, "read:c:1"]):
        with pytest.raises(AssertionError, match=r"missing are \['read:a:1', 'read:b:1'\]"):
            assert_denied(carry(LACKING), 403, missing=wrong)


def test_no_missing_scopes_where_none_are_named() -> None:
    unusable = CARRIERS["httpx"](refuse(Reason.UNUSABLE_IDENTIFIER, "agentwrit"))
    assert_denied(unusable, 403, missing=[])
    with pytest.raises(AssertionError, match="missing"):
        assert_denied(unusable, 403, missing=["read:a:1"])


def changed(name: str, value: str | None, reason: Reason | None = None) -> httpx.Response:
    denied = LACKING if reason is None else refuse(reason, "agentwrit")
    headers = dict(denied.headers)
    headers.pop(name, None)
    if value is not None:
        headers[name] = value
    return httpx.Response(denied.status, headers=headers, content=denied.body)


def bodied(body: bytes) -> httpx.Response:
    return httpx.Response(403, headers=dict(LACKING.headers), content=body)


OTHERS: dict[str, tuple[httpx.Response, str]] = {
    "the app's own 403": (httpx.Response(403, json={"detail": "not yours"}), "application/problem.json"),
    "plain JSON": (changed("content-type", "application/json"), "application/problem.json"),
    "cached": (changed("cache-control", None), "no-store"),
    "no challenge": (changed("www-authenticate", None), "challenge"),
    "another scheme": (changed("www-authenticate", 'Basic realm="a"'), "challenge"),
    "another error": (
        changed("www-authenticate", 'Bearer realm="a", error="invalid_token", error_description="b"'),
        "challenge",
    ),
    "no scopes": (
        changed("www-authenticate", 'Bearer realm="a", error="insufficient_scope", error_description="b"'),
        "required scopes",
    ),
    "no body": (bodied(b""), "HEAD"),
    "a list": (bodied(b"[]"), "urn:agentwrit-guard:error:"),
    "another problem": (bodied(b'{"type":"about:blank"}'), "urn:agentwrit-guard:error:"),
}


@pytest.mark.parametrize("response, why", OTHERS.values(), ids=OTHERS)
def test_what_is_not_the_guards(response: httpx.Response, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        assert_denied(response, 403)


@pytest.mark.parametrize(
    "name, value", [("retry-after", None), ("www-authenticate", 'Bearer realm="agentwrit"')], ids=["when", "challenge"]
)
def test_what_is_no_503_of_the_guard(name: str, value: str | None) -> None:
    with pytest.raises(AssertionError, match="Retry-After"):
        assert_denied(changed(name, value, Reason.BROKER_UNAVAILABLE), 503)


def test_a_401_is_one_with_an_error_or_without() -> None:
    wrong = 'Bearer realm="a", error="insufficient_scope", error_description="b"'
    for reason in (Reason.NO_CREDENTIALS, Reason.EXPIRED):
        with pytest.raises(AssertionError, match="challenge"):
            assert_denied(changed("www-authenticate", wrong, reason), 401)


def test_it_says_what_came_instead() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_denied(httpx.Response(200, text="let in " * 100), 403)
    said = str(caught.value)
    assert "status 403" in said
    assert "200 let in let in" in said
    assert len(said) < 400


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_status_that_no_guard_gives_is_a_mistake_in_the_test(status: int) -> None:
    with pytest.raises(ValueError, match="401"):
        assert_denied(httpx.Response(status), status)


def test_real_answers(as_agent: AsAgent) -> None:
    decision = Guard("http://127.0.0.1:9").check(
        [as_agent.headers()["Authorization"].encode()], all_of(*SCOPES, "read:c:1")
    )
    assert isinstance(decision, Denied)
    assert_denied(CARRIERS["httpx"](decision), 403, missing=[*SCOPES, "read:c:1"])
