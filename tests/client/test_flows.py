"""The conversations, played by hand: what is sent, in which order, how often, and what an answer is worth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentwrit_guard.client import flows
from agentwrit_guard.client.values import AppCredentials, HealthStatus, Login, Minted, Order, ValidateResult
from agentwrit_guard.core.claims import DelegationRecord
from agentwrit_guard.core.wire import BrokerReply
from agentwrit_guard.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnavailable,
    ConfigurationError,
    ProblemResponseError,
    RateLimitError,
)
from agentwrit_guard.keys import AgentKey
from tests.client.play import AGENT, OTHER, RECORD, play, problem, reply, token

NONCE = "0a" * 32
HEALTH: dict[str, object] = {"status": "ok", "version": "2", "uptime": 1, "db_connected": True, "audit_events_count": 0}
LOST = BrokerUnavailable("reset", "broke off", retryable=True)


def order(**changes: Any) -> Order:
    given = {"orch_id": "o", "task_id": "t", "requested_scope": ["read:data:*"], "private_key": None, "max_ttl": 300}
    return Order.checked(**{**given, "label": None, **changes})


def launched() -> BrokerReply:
    return reply(201, launch_token="launch", expires_at="-", policy={})


def body(request: Any) -> Any:
    return json.loads(request.body)


def test_login() -> None:
    (request,), login = play(
        flows.app_auth("id", "secret"), reply(access_token="a.b.c", expires_in=900, token_type="Bearer", scopes=[])
    )
    assert (request.method, request.path, request.bearer) == ("POST", "/v1/app/auth", None)
    assert body(request) == {"client_id": "id", "client_secret": "secret"}
    assert login == Login("a.b.c", 900)


def test_agent_is_four_requests_from_top_to_bottom() -> None:
    ordered = order(max_ttl=60, label="the name")
    minted_token = token(scope=["read:data:*", "read:data:7"])
    requests, minted = play(
        flows.create_agent(ordered, "app-token"),
        launched(),
        reply(nonce=NONCE, expires_in=30),
        reply(agent_id=AGENT, access_token=minted_token, expires_in=60),
    )
    assert [(r.method, r.path, r.bearer) for r in requests] == [
        ("POST", "/v1/app/launch-tokens", "app-token"),
        ("GET", "/v1/challenge", None),
        ("POST", "/v1/register", None),
    ]
    assert body(requests[0]) == {"agent_name": "the name", "allowed_scope": ["read:data:*"], "max_ttl": 60}
    assert requests[1].body is None
    assert body(requests[2]) == {
        "launch_token": "launch",
        "nonce": NONCE,
        "public_key": ordered.key.public_key,
        "signature": ordered.key.sign_nonce(NONCE),
        "orch_id": "o",
        "task_id": "t",
        "requested_scope": ["read:data:*"],
    }
    assert minted == Minted(AGENT, minted_token, 60, ["read:data:*", "read:data:7"], "t", "o")


def test_agent_is_named_after_its_ids() -> None:
    assert order().name == "o/t"


@pytest.mark.parametrize("nonce", ["", "zz" * 32, "0a" * 31, "0a" * 32 + "\n"])
def test_challenge_that_is_none(nonce: str) -> None:
    with pytest.raises(BrokerUnavailable, match="/v1/challenge has no nonce"):
        play(flows.create_agent(order(), "t"), launched(), reply(nonce=nonce), reply())


def test_only_the_login_of_the_app_is_worth_another() -> None:
    with pytest.raises(flows.LoginRefused):
        play(flows.create_agent(order(), "t"), problem(401))
    with pytest.raises(AuthenticationError) as caught:
        play(flows.create_agent(order(), "t"), launched(), reply(nonce=NONCE), problem(401))
    assert not isinstance(caught.value, flows.LoginRefused)


@pytest.mark.parametrize(
    ("flow", "before"),
    [
        (lambda: flows.app_auth("i", "s"), ()),
        (lambda: flows.admin_auth("s"), ()),
        (lambda: flows.create_agent(order(), "t"), ()),
        (lambda: flows.create_agent(order(), "t"), (launched(), reply(nonce=NONCE))),
        (lambda: flows.renew(AGENT, "t"), ()),
        (lambda: flows.release("t"), ()),
        (lambda: flows.delegate("t", OTHER, ["read:data:1"], None), ()),
        (lambda: flows.create_app("app", ["read:data:1"], None, "t"), ()),
        (lambda: flows.revoke("agent", AGENT, "t"), ()),
    ],
    ids=["login", "admin", "launch", "register", "renew", "release", "delegate", "create-app", "revoke"],
)
def test_what_changes_something_is_sent_once(flow: Any, before: tuple[BrokerReply, ...]) -> None:
    with pytest.raises(BrokerUnavailable, match="broke off"):
        play(flow(), *before, LOST)


def test_what_changes_nothing_is_sent_again() -> None:
    assert [r.path for r in play(flows.health(), LOST, reply(**HEALTH))[0]] == ["/v1/health"] * 2
    assert [r.path for r in play(flows.validate("t"), LOST, reply(valid=False))[0]] == ["/v1/token/validate"] * 2
    requests, _ = play(
        flows.create_agent(order(), "t"),
        launched(),
        LOST,
        reply(nonce=NONCE),
        reply(agent_id=AGENT, access_token=token(), expires_in=1),
    )
    assert [r.path for r in requests[1:3]] == ["/v1/challenge"] * 2
    with pytest.raises(BrokerUnavailable):
        play(flows.health(), BrokerUnavailable("connect", "refused"))


def test_renewal() -> None:
    fresh = token(jti="new")
    (request,), issued = play(flows.renew(AGENT, "old"), reply(access_token=fresh, expires_in=300))
    assert (request.path, request.bearer, request.body) == ("/v1/token/renew", "old", None)
    assert (issued.access_token, issued.expires_in, issued.claims.jti) == (fresh, 300, "new")


@pytest.mark.parametrize(
    "answer",
    [BrokerReply(204, {}, b""), problem(401, "token verification failed"), problem(401, "token has been revoked")],
    ids=["done", "ended", "revoked"],
)
def test_release_reaches_its_goal(answer: BrokerReply) -> None:
    (request,), nothing = play(flows.release("t"), answer)
    assert (request.path, request.bearer, request.body, nothing) == ("/v1/token/release", "t", None, None)


def test_release_of_a_token_that_lives_on() -> None:
    with pytest.raises(AuthenticationError, match="audience mismatch"):
        play(flows.release("t"), problem(401, "token audience mismatch"))
    with pytest.raises(AuthorizationError):
        play(flows.release("t"), problem(403))


@pytest.mark.parametrize(("ttl", "sent"), [(None, {}), (5, {"ttl": 5})])
def test_delegation(ttl: int | None, sent: dict[str, int]) -> None:
    child = token(OTHER, delegation_chain=[RECORD], chain_hash="00")
    answer = reply(access_token=child, expires_in=60, delegation_chain=[RECORD])
    (request,), delegated = play(flows.delegate("t", OTHER, ["read:data:7"], ttl), answer)
    assert (request.path, request.bearer) == ("/v1/delegate", "t")
    assert body(request) == {"delegate_to": OTHER, "scope": ["read:data:7"], **sent}
    record = DelegationRecord(AGENT, ("read:data:*",), "2026-11-23T05:49:28.5Z", "ab")
    assert delegated == (child, 60, [record])


@pytest.mark.parametrize("chain", [None, {}, [], [RECORD, RECORD]])
def test_delegation_with_another_chain_than_its_token(chain: object) -> None:
    child = token(OTHER, delegation_chain=[RECORD], chain_hash="00")
    with pytest.raises(BrokerUnavailable, match="/v1/delegate"):
        play(
            flows.delegate("t", OTHER, ["read:data:7"], None),
            reply(access_token=child, expires_in=60, delegation_chain=chain),
        )


def test_delegation_without_a_chain() -> None:
    with pytest.raises(BrokerUnavailable, match="delegation_chain"):
        play(
            flows.delegate("t", OTHER, ["read:data:7"], None),
            reply(access_token=token(OTHER), expires_in=60, delegation_chain=[]),
        )


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"access_token": token()},
        {"access_token": token(), "expires_in": "300"},
        {"access_token": token(), "expires_in": True},
        {"access_token": token(), "expires_in": 0},
        {"access_token": 7, "expires_in": 300},
        {"access_token": "", "expires_in": 300},
        {"access_token": "not.a.token", "expires_in": 300},
        {"access_token": token() + "\n", "expires_in": 300},
        {"access_token": "a" * 8193, "expires_in": 300},
        {"access_token": token(OTHER), "expires_in": 300},
        {"access_token": token(exp="soon"), "expires_in": 300},
    ],
)
def test_half_an_answer_is_none(members: dict[str, object]) -> None:
    with pytest.raises(BrokerUnavailable, match="/v1/token/renew") as caught:
        play(flows.renew(AGENT, "t"), reply(**members))
    assert caught.value.fault in ("body", "mismatch")


@pytest.mark.parametrize(
    ("headers", "content", "fault"),
    [
        ({"content-type": "text/html"}, b"{}", "content_type"),
        ({"content-type": "application/json"}, b"", "body"),
        ({"content-type": "application/json"}, b"[]", "body"),
        ({"content-type": "application/json"}, b'{"a":1,"a":2}', "body"),
        ({"content-type": "application/json"}, b'{"a":\xff}', "body"),
        ({"content-type": "application/json"}, b"[" * 5000, "body"),
    ],
)
def test_success_that_is_not_json(headers: dict[str, str], content: bytes, fault: str) -> None:
    with pytest.raises(BrokerUnavailable) as caught:
        play(flows.renew(AGENT, "t"), BrokerReply(200, headers, content))
    assert caught.value.fault == fault


@pytest.mark.parametrize("name", HEALTH)
@pytest.mark.parametrize("value", [None, -1, 1.5, [], ""])
def test_health_is_strict(name: str, value: object) -> None:
    assert play(flows.health(), reply(**HEALTH))[1] == HealthStatus("ok", "2", 1, True, 0)
    with pytest.raises(BrokerUnavailable, match=name):
        play(flows.health(), reply(**{**HEALTH, name: value}))


def test_validation() -> None:
    claims = {"iss": "", "sub": "admin", "exp": 9, "nbf": 1, "iat": 1, "jti": "j", "scope": ["admin:revoke:*"]}
    (request,), result = play(flows.validate("a.b.c"), reply(valid=True, claims=claims))
    assert (request.path, body(request), request.bearer) == ("/v1/token/validate", {"token": "a.b.c"}, None)
    assert result.valid is True
    assert (result.claims.sub, result.claims.task_id, result.claims.orch_id) == ("admin", None, None)
    assert play(flows.validate("a.b.c"), reply(valid=False, error="x"))[1] == ValidateResult(
        False, None, "token is invalid or expired"
    )


@pytest.mark.parametrize(("text", "error"), [("", "token is empty"), ("a" * 8193, "token is over 8192 characters")])
def test_validation_that_needs_no_call(text: str, error: str) -> None:
    assert play(flows.validate(text)) == ([], ValidateResult(False, None, error))


def test_validation_of_what_is_no_text() -> None:
    with pytest.raises(ConfigurationError, match="token must be a string, not NoneType"):
        play(flows.validate(None))


@pytest.mark.parametrize(
    "answer",
    [
        reply(valid=1, claims={}),
        reply(valid="true", claims={}),
        reply(valid=True),
        reply(valid=True, claims=[]),
        reply(valid=True, claims={"sub": "admin"}),
        reply(201, valid=False),
        problem(401),
        problem(404),
        problem(503),
        BrokerReply(307, {"location": "/"}, b""),
    ],
)
def test_validation_without_a_word_on_the_token(answer: BrokerReply) -> None:
    with pytest.raises(BrokerUnavailable):
        play(flows.validate("t"), answer)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProblemResponseError),
        (401, AuthenticationError),
        (403, AuthorizationError),
        (404, ProblemResponseError),
        (429, RateLimitError),
        (500, ProblemResponseError),
    ],
)
def test_refusal_is_the_error_of_its_status(status: int, kind: type[ProblemResponseError]) -> None:
    with pytest.raises(ProblemResponseError, match=f"{status} some_code: why") as caught:
        play(flows.app_auth("i", "s"), problem(status, "why"))
    assert type(caught.value) is kind
    found = caught.value.problem
    assert (caught.value.status_code, found.status, found.detail, found.request_id) == (status, status, "why", "r1")
    assert (found.instance, found.hint, found.title) == ("/v1/x", None, "T")


@pytest.mark.parametrize(("header", "seconds"), [("60", 60.0), (None, None), ("soon", None), ("-1", None)])
def test_rate_limit_says_when(header: str | None, seconds: float | None) -> None:
    headers = {} if header is None else {"retry-after": header}
    with pytest.raises(RateLimitError) as caught:
        play(flows.app_auth("i", "s"), problem(429, **headers))
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "content", "text"),
    [
        (404, b"404 page not found\n", "404 Not Found: .*/v1/app/auth .*without a reason; is the path of broker_url"),
        (502, b"<html>", "502 Bad Gateway: "),
        (599, b"\xff", "599 Unknown Status: "),
        (401, b"[]", "401 Unauthorized: "),
        (400, b'{"detail": 7, "title": null, "status": "400"}', "400 Bad Request: "),
        (400, b'{"detail": "a\\nb\\u202ec"}', "400 Bad Request: a\ufffdb\ufffdc$"),
    ],
)
def test_refusal_without_a_problem_body(status: int, content: bytes, text: str) -> None:
    with pytest.raises(ProblemResponseError, match=text) as caught:
        play(flows.app_auth("i", "s"), BrokerReply(status, {"content-type": "text/plain"}, content))
    assert caught.value.__cause__ is None
    assert (caught.value.problem.type, caught.value.problem.status) == ("about:blank", None)


def test_long_reasons_are_cut() -> None:
    with pytest.raises(ProblemResponseError) as caught:
        play(flows.app_auth("i", "s"), problem(400, "x" * 5000))
    assert len(caught.value.problem.detail) == 1000


def test_redirect_is_no_answer() -> None:
    with pytest.raises(BrokerUnavailable, match="redirect 307") as caught:
        play(flows.app_auth("i", "s"), BrokerReply(307, {"location": "/elsewhere"}, b""))
    assert (caught.value.fault, caught.value.status) == ("redirect", 307)


def test_operator() -> None:
    (request,), _ = play(flows.admin_auth("s"), reply(access_token="a.b.c", expires_in=300))
    assert (request.path, body(request)) == ("/v1/admin/auth", {"secret": "s"})
    (request,), app = play(
        flows.create_app("app", ["read:data:1"], 60, "t"), reply(201, client_id="i", client_secret="s")
    )
    assert (request.path, request.bearer) == ("/v1/admin/apps", "t")
    assert body(request) == {"name": "app", "scopes": ["read:data:1"], "token_ttl": 60}
    assert app == AppCredentials("i", "s")
    (request,), _ = play(flows.revoke("task", "t1", "t"), reply(revoked=True, level="task", target="t1", count=1))
    assert (request.path, body(request)) == ("/v1/revoke", {"level": "task", "target": "t1"})
    for answer in (reply(revoked=False), reply()):
        with pytest.raises(BrokerUnavailable, match="revoked"):
            play(flows.revoke("task", "t1", "t"), answer)


def test_no_repr_shows_a_secret() -> None:
    hidden = token(OTHER, delegation_chain=[RECORD], chain_hash="00")
    answer = reply(agent_id=OTHER, access_token=hidden, expires_in=60, delegation_chain=[RECORD])
    values = [
        Login(hidden, 5),
        AppCredentials("id", hidden),
        play(flows.renew(OTHER, "t"), answer)[1],
        play(flows.delegate("t", OTHER, ["read:data:7"], None), answer)[1],
        play(flows.create_agent(order(), "t"), launched(), reply(nonce=NONCE), answer)[1],
    ]
    assert all(hidden not in repr(value) and hidden[:20] not in repr(value) for value in values)
    key = AgentKey.generate()
    assert key.public_key not in repr(key)
