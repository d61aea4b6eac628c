"""The audit log: its chain, its events, its pages (contract section 5)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.kit import SCOPE, Client
from tests.kit.clock import Time

_RECORDED = Path(__file__).parent.parent / "vectors" / "data" / "wire.json"
_ORDER = (
    *("id", "timestamp", "event_type", "agent_id", "task_id", "orch_id", "detail", "resource", "outcome"),
    *("deleg_depth", "deleg_chain_hash", "bytes_transferred", "hash", "prev_hash"),
)
_NUMBERS = {"deleg_depth", "bytes_transferred"}
_OPTIONAL = {*_NUMBERS, "agent_id", "task_id", "orch_id", "resource", "deleg_chain_hash"}


def page(client: Client, query: str = "limit=1000") -> dict[str, Any]:
    content: dict[str, Any] = client.get(f"/v1/audit/events?{query}", client.admin).json()
    return content


def hash_of(event: dict[str, Any]) -> str:
    hashed = [str(event.get(name, 0 if name in _NUMBERS else "")) for name in _ORDER[:-2]]
    return hashlib.sha256("|".join([event["prev_hash"], *hashed]).encode()).hexdigest()


def app_token(client: Client, *, secret: str = "", scopes: list[str] = SCOPE) -> str:
    app = client.broker.app(scopes=scopes)
    login = {"client_id": app.client_id, "client_secret": secret or app.client_secret}
    token: str = client.post("/v1/app/auth", login).json().get("access_token", "")
    return token


def launch(client: Client, scope: list[str]) -> None:
    client.post("/v1/app/launch-tokens", {"agent_name": "a", "allowed_scope": scope}, app_token(client))


def changed_app(client: Client, method: str, **body: Any) -> None:
    app = client.broker.app(scopes=SCOPE)
    headers = {"Authorization": f"Bearer {client.admin}"}
    client.http.request(method, f"/v1/admin/apps/{app.app_id}", json=body, headers=headers)


def delegation(client: Client, scope: list[str]) -> None:
    agent = client.agent()
    client.delegate(agent.token, agent.agent_id, scope)


def test_formula_is_that_of_the_recorded_events() -> None:
    recorded = {
        exchange["name"]: exchange["response"]["body"]
        for exchange in json.loads(_RECORDED.read_text(encoding="utf-8"))["transcripts"]
    }
    events = [event for name in ("audit.ok", "audit.filter") for event in json.loads(recorded[name])["events"]]
    assert len(events) == 7
    assert [event["hash"] for event in events] == [hash_of(event) for event in events]


ACTIONS: list[tuple[str, str, Callable[[Client], object]]] = [
    ("admin_auth", "success", lambda client: client.admin),
    ("admin_auth_failed", "denied", lambda client: client.post("/v1/admin/auth", {"secret": "wrong"})),
    ("agent_registered", "success", lambda client: client.agent()),
    ("app_auth_failed", "denied", lambda client: app_token(client, secret="wrong")),
    ("app_authenticated", "success", app_token),
    ("app_registered", "success", lambda client: client.broker.app(scopes=SCOPE)),
    ("app_updated", "success", lambda client: changed_app(client, "PUT", token_ttl=60)),
    ("app_deregistered", "success", lambda client: changed_app(client, "DELETE")),
    ("delegation_attenuation_violation", "denied", lambda client: delegation(client, ["write:data:1"])),
    ("delegation_created", "success", lambda client: delegation(client, SCOPE)),
    ("launch_token_denied", "denied", lambda client: client.register("0" * 64)),
    ("launch_token_issued", "success", lambda client: client.launch()),
    (
        "registration_policy_violation",
        "denied",
        lambda client: client.register(client.launch(), requested_scope=["a:b:c"]),
    ),
    ("scope_ceiling_exceeded", "denied", lambda client: launch(client, ["a:b:c"])),
    ("scope_violation", "denied", lambda client: client.post("/v1/revoke", {}, client.agent().token)),
    ("token_auth_failed", "denied", lambda client: client.post("/v1/token/renew", None, "x")),
    ("token_issued", "success", lambda client: client.agent()),
    ("token_released", "success", lambda client: client.post("/v1/token/release", None, client.agent().token)),
    ("token_renewed", "success", lambda client: client.post("/v1/token/renew", None, client.agent().token)),
    ("token_revoked", "success", lambda client: client.broker.revoke("task", "t")),
]


@pytest.mark.parametrize(("event_type", "outcome", "act"), ACTIONS, ids=[action[0] for action in ACTIONS])
def test_actions_leave_events(client: Client, event_type: str, outcome: str, act: Callable[[Client], object]) -> None:
    act(client)
    found = page(client, f"event_type={event_type}")
    assert found["total"] == 1
    (event,) = found["events"]
    assert event["outcome"] == outcome
    assert list(event) == [name for name in _ORDER if name not in _OPTIONAL or event.get(name)]
    assert re.fullmatch(r"evt-\d{6}", event["id"])
    assert event["timestamp"] == "2027-01-15T08:00:00.25Z"


def test_details_are_the_brokers(client: Client) -> None:
    app = client.broker.app(scopes=["a:b:c", "a:b:d"], name="data-app", token_ttl=900)
    a, b = client.agent("task-a"), client.agent("task-b")
    client.delegate(a.token, b.agent_id, ["read:data:1", "read:data:2"])
    client.post("/v1/admin/auth", {"secret": "wrong"})

    def only(event_type: str) -> dict[str, Any]:
        (event,) = page(client, f"event_type={event_type}")["events"]
        assert isinstance(event, dict)
        return event

    registered = f"app=data-app client_id={app.client_id} scopes=[a:b:c a:b:d] token_ttl=900"
    assert only("app_registered")["detail"] == registered
    assert only("admin_auth")["detail"] == "admin authenticated as admin"
    assert only("admin_auth_failed")["detail"] == "failed admin authentication attempt"
    delegated = only("delegation_created")
    scope = "scope=[read:data:1 read:data:2]"
    assert delegated["detail"] == f"delegation from {a.agent_id} to {b.agent_id} {scope} depth=1"
    assert (delegated["agent_id"], delegated["task_id"], delegated["orch_id"]) == (b.agent_id, "task-a", "orch")
    assert delegated["deleg_depth"] == 1


def test_chain_recomputes_over_awkward_details_and_a_restart(client: Client, clock: Time) -> None:
    client.broker.app(scopes=["read:data:a|b&<c>", 'read:data:"q"\\\u2028', "read:data:\n\0\x7f", "read:data:é\u202e"])
    client.launch(["read:data:|", "no scope at all"])
    client.broker.revoke("task", "a|b|c")
    clock.now += 1.5
    delegation(client, SCOPE)
    client.broker.restart()
    client.post("/v1/revoke", {"level": "chain", "target": "\ud800 & \U0001f600"}, client.admin)
    events = page(client)["events"]
    assert len(events) > 8
    previous = "0" * 64
    for number, event in enumerate(events, start=1):
        assert event["id"] == f"evt-{number:06d}"
        assert event["prev_hash"] == previous
        assert event["hash"] == hash_of(event)
        previous = event["hash"]


def test_pages_and_filters(client: Client, clock: Time) -> None:
    client.agent()
    clock.now += 100
    for n in range(3):
        client.broker.revoke("token", f"jti-{n}")
    revoked = page(client, "event_type=token_revoked&limit=2&offset=1")
    assert list(revoked) == ["events", "total", "offset", "limit"]
    assert (revoked["total"], revoked["offset"], revoked["limit"]) == (3, 1, 2)
    assert [event["detail"][-1] for event in revoked["events"]] == ["1", "2"]
    assert page(client, "event_type=nothing") == {"events": [], "total": 0, "offset": 0, "limit": 100}
    assert page(client, "event_type=TOKEN_REVOKED")["total"] == 0
    assert page(client, "offset=1000")["events"] == []
    assert page(client, "since=2027-01-15T08:01:00Z")["total"] == 3
    assert page(client, "since=2027-01-15T10:01:00%2B02:00")["total"] == 3
    assert page(client, "since=2028-01-01T00:00:00Z&limit=1")["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "limit=many&offset=some&since=yesterday",
        "limit=-1&offset=-1&since=2027-02-30T00:00:00Z",
        "limit=0&since=2027-01-15",
        "limit=1e3&offset=1.0&since=0000-01-01T00:00:00Z",
        "limit=%D9%A1&offset=%20&since=2027-01-15T08:00:00",
        "limit=&offset=&since=&event_type=",
        "limit=99999999999999999999&offset=" + "9" * 5000,
        "outcome=denied&agent_id=x&page=2",
        "%ff=%ff&&&=",
    ],
)
def test_queries_that_make_no_sense_are_ignored(client: Client, query: str) -> None:
    client.agent()
    assert page(client, query) == page(client, "")


def test_page_is_capped_and_echoed_as_asked_for(client: Client) -> None:
    for n in range(1005):
        client.broker.revoke("token", str(n))
    whole = page(client, "limit=5000")
    assert (len(whole["events"]), whole["limit"], whole["total"]) == (1000, 5000, 1006)
    assert len(page(client, "")["events"]) == 100


def test_secrets_in_the_wrong_field_are_not_written_down(client: Client) -> None:
    token, app = client.agent().token, client.broker.app(scopes=SCOPE)
    client.post("/v1/app/auth", {"client_id": app.client_secret, "client_secret": app.client_id})
    client.post("/v1/revoke", {"level": "token", "target": token}, client.admin)
    client.delegate(token, token, ["write:data:1"])
    client.post("/v1/admin/launch-tokens", {"agent_name": token, "allowed_scope": [token]}, client.admin)
    said = client.get("/v1/audit/events?limit=1000", client.admin).text
    assert "level=token target=[token]" in said
    assert not [kept for kept in (token, app.client_secret) if kept in said]
