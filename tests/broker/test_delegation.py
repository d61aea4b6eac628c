"""Delegated tokens: whose they are, how long they live, what they record (contract section 6)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import SCOPE, Client, Holder, claims_of, problem
from tests.broker.wire import dumps, payload_of, unb64url
from tests.kit.clock import Time

AWKWARD = ["read:data:a&b<c>", 'read:data:é\u2028"q"\\/', "read:data:\b\f\n\r\t\0\x1f\x7f", "read:data:a,b|c", *SCOPE]


def app_token(client: Client, scopes: list[str] = SCOPE) -> tuple[str, str]:
    app = client.broker.app(scopes=scopes)
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    return f"app:{app.app_id}", client.post("/v1/app/auth", login).json()["access_token"]


def check_records(broker: DevBroker, token: str) -> list[dict[str, Any]]:
    """Signatures and hash of the chain verify, the hash also over the text as it stands in the payload."""
    claims = payload_of(token)
    chain: list[dict[str, Any]] = claims["delegation_chain"]
    for record in chain:
        assert list(record) == ["agent", "scope", "delegated_at", "signature"]
        signed = f"{record['agent']}|{','.join(record['scope'])}|{record['delegated_at']}"
        broker.public_key.verify(bytes.fromhex(record["signature"]), signed.encode())
    text = dumps(chain)
    assert text in unb64url(token.split(".")[1]).decode()
    assert claims["chain_hash"] == hashlib.sha256(text.encode()).hexdigest()
    return chain


def test_token_belongs_to_the_root_task_and_outlives_its_parent(client: Client, clock: Time) -> None:
    a, b = client.agent("task-a", max_ttl=10), client.agent("task-b")
    token = client.delegated(a.token, b.agent_id, ["read:data:1"], ttl=600)
    claims = claims_of(token)
    assert claims["sub"] == b.agent_id
    assert (claims["task_id"], claims["scope"]) == ("task-a", ["read:data:1"])
    (record,) = check_records(client.broker, token)
    assert (record["agent"], record["scope"]) == (a.agent_id, SCOPE)
    clock.now += 20
    assert not client.valid(a.token)
    assert client.valid(token)


@pytest.mark.parametrize("end", ["renew", "release", "token", "agent"])
def test_token_stays_valid_when_its_parent_ends(client: Client, end: str) -> None:
    a, b = client.agent("task-a"), client.agent("task-b")
    token = client.delegated(a.token, b.agent_id)
    if end in ("renew", "release"):
        client.post(f"/v1/token/{end}", None, a.token)
    else:
        client.broker.revoke(end, a.claims["jti"] if end == "token" else a.agent_id)
    assert not client.valid(a.token)
    assert client.valid(token)


def test_chain_of_five_with_awkward_scopes(client: Client) -> None:
    agents = [client.agent(f"task-{n}", AWKWARD) for n in range(6)]
    token = agents[0].token
    for depth, agent in enumerate(agents[1:], start=1):
        reply = client.delegate(token, agent.agent_id, AWKWARD)
        token = reply.json()["access_token"]
        chain = check_records(client.broker, token)
        assert [record["agent"] for record in chain] == [holder.agent_id for holder in agents[:depth]]
        assert list(reply.json()) == ["access_token", "expires_in", "delegation_chain"]
        assert reply.json()["delegation_chain"] == chain
        raw = unb64url(token.split(".")[1]).decode()
        assert client.post("/v1/token/validate", {"token": token}).text == f'{{"valid":true,"claims":{raw}}}\n'
        assert rb"\u0026b\u003cc\u003e" in reply.content
        assert rb"\b\f\n\r\t\u0000\u001f" in reply.content
        assert b"\x7f" in reply.content
    refused = client.delegate(token, agents[0].agent_id, AWKWARD)
    assert problem(refused) == (403, "scope_violation", "delegation depth limit exceeded")


def test_apps_and_admins_delegate_too(client: Client) -> None:
    agent = client.agent()
    app, token = app_token(client)
    principals = [(app, token, "app:agents:*"), ("admin", client.admin, "admin:audit:*")]
    for principal, bearer, scope in principals:
        issued = client.delegated(bearer, agent.agent_id, [scope])
        claims = claims_of(issued)
        assert "task_id" not in claims
        assert "orch_id" not in claims
        (record,) = check_records(client.broker, issued)
        assert (record["agent"], record["scope"]) == (principal, claims_of(bearer)["scope"])
        assert client.valid(issued)


def test_anyone_in_the_registry_may_receive(client: Client) -> None:
    a, revoked, released = (client.agent(f"task-{n}") for n in range(3))
    client.broker.revoke("agent", revoked.agent_id)
    client.post("/v1/token/release", None, released.token)
    assert client.valid(client.delegated(a.token, a.agent_id))
    assert client.valid(client.delegated(a.token, released.agent_id))
    # Issued all the same, and dead from birth.
    assert not client.valid(client.delegated(a.token, revoked.agent_id))


@pytest.mark.parametrize("scope", [SCOPE, ["read:data:1", "read:data:1"], ["read:data:a:b", "read:data:**"]])
def test_scope_is_what_was_asked_for(client: Client, scope: list[str]) -> None:
    a = client.agent()
    assert claims_of(client.delegated(a.token, a.agent_id, scope))["scope"] == scope


@pytest.mark.parametrize(("ttl", "lifetime"), [(..., 60), (None, 60), (0, 60), (-5, 60), (1, 1), (2**63 - 1, 86400)])
def test_lifetime(client: Client, ttl: Any, lifetime: int) -> None:
    a = client.agent(max_ttl=60)
    reply = client.delegate(a.token, a.agent_id, SCOPE, **({} if ttl is ... else {"ttl": ttl})).json()
    claims = claims_of(reply["access_token"])
    assert reply["expires_in"] == claims["exp"] - claims["iat"] == lifetime


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (1_800_000_000.0, "2027-01-15T08:00:00Z"),
        (1_800_000_000.5, "2027-01-15T08:00:00.5Z"),
        (1_800_000_000.015625, "2027-01-15T08:00:00.015625Z"),
        (1_800_000_000.00000095367431640625, "2027-01-15T08:00:00.000000953Z"),
    ],
)
def test_times_have_nanoseconds_without_trailing_zeros(client: Client, clock: Time, now: float, text: str) -> None:
    clock.now = now
    a = client.agent()
    (record,) = check_records(client.broker, client.delegated(a.token, a.agent_id))
    assert record["delegated_at"] == text


@pytest.mark.parametrize("changes", [{"scope": None}, {"scope": []}, {"delegate_to": None}, {"delegate_to": ""}])
def test_missing_fields_are_a_500(client: Client, changes: dict[str, Any]) -> None:
    a = client.agent()
    body = {"delegate_to": a.agent_id, "scope": SCOPE, **changes}
    for sent in (body, {name: value for name, value in body.items() if name not in changes}):
        refused = client.post("/v1/delegate", sent, a.token)
        assert problem(refused) == (500, "internal_error", "delegation failed")


@pytest.mark.parametrize("to", ["bob", "admin", "spiffe://agentwrit.local/agent/orch/task/0011223344556677"])
def test_delegates_outside_the_registry(client: Client, to: str) -> None:
    refused = client.delegate(client.admin, to, ["admin:audit:*"])
    assert problem(refused) == (404, "not_found", "delegate agent not found")


@pytest.mark.parametrize("scope", ["write:data:1", "read:data", "read:data:", "", "*", "read:*:1", "Read:data:1"])
def test_scope_never_widens(client: Client, scope: str) -> None:
    a = client.agent()
    refused = client.delegate(a.token, a.agent_id, [*SCOPE, scope])
    assert problem(refused) == (403, "scope_violation", "delegated scope exceeds delegator scope")


def test_audience_and_issuer_are_handed_down(clock: Time) -> None:
    settings = {"audience": "https://api.example", "issuer": "https://broker.example", "trust_domain": "corp.example"}
    with DevBroker(clock=clock, **settings) as broker, Client(broker) as client:
        a: Holder = client.agent()
        claims = claims_of(client.delegated(a.token, a.agent_id))
        assert (claims["aud"], claims["iss"]) == (["https://api.example"], "https://broker.example")
        assert claims["sub"].startswith("spiffe://corp.example/agent/orch/task/")
