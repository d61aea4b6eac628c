"""Health and metrics (contract section 5)."""

from __future__ import annotations

from tests.broker.kit import SCOPE, Client
from tests.kit.clock import Time

ALWAYS = {
    "agentwrit_active_agents",
    "agentwrit_audit_events_loaded",
    "agentwrit_audit_write_duration_seconds",
    "agentwrit_clock_skew_total",
    "agentwrit_launch_tokens_created_total",
}
ON_FIRST_USE = {
    "agentwrit_admin_auth_total",
    "agentwrit_audit_events_total",
    "agentwrit_registrations_total",
    "agentwrit_tokens_issued_total",
    "agentwrit_tokens_revoked_total",
}


def lines(client: Client) -> list[str]:
    return client.get("/v1/metrics").text.splitlines()


def families(client: Client) -> list[str]:
    return [line.split()[2] for line in lines(client) if line.startswith("# TYPE ")]


def test_labelled_families_appear_on_first_use(client: Client) -> None:
    assert families(client) == sorted(ALWAYS)
    client.broker.revoke("token", client.agent().claims["jti"])
    assert families(client) == sorted(ALWAYS | ON_FIRST_USE)


def test_counts(client: Client) -> None:
    agent = client.agent()
    app = client.broker.app(scopes=SCOPE)
    client.post("/v1/app/auth", {"client_id": app.client_id, "client_secret": app.client_secret})
    client.delegate(agent.token, agent.agent_id)
    client.post("/v1/token/renew", None, agent.token)
    client.post("/v1/admin/auth", {"secret": "wrong"})
    client.register(client.launch(), task_id="..")
    client.broker.revoke("chain", "x")
    events = client.get("/v1/health").json()["audit_events_count"]
    assert {
        "agentwrit_active_agents 1",
        'agentwrit_admin_auth_total{status="success"} 1',
        'agentwrit_admin_auth_total{status="failure"} 1',
        'agentwrit_audit_events_total{event_type="launch_token_issued"} 2',
        f"agentwrit_audit_write_duration_seconds_count {events}",
        "agentwrit_launch_tokens_created_total 2",
        'agentwrit_registrations_total{status="success"} 1',
        'agentwrit_registrations_total{status="failure"} 1',
        *(f'agentwrit_tokens_issued_total{{kind="{kind}"}} 1' for kind in ("admin", "agent", "app", "delegated")),
        'agentwrit_tokens_issued_total{kind="renewed"} 1',
        # By the renewal.
        'agentwrit_tokens_revoked_total{level="token"} 1',
        'agentwrit_tokens_revoked_total{level="chain"} 1',
    } <= set(lines(client))


def test_restart_begins_to_count_anew(client: Client, clock: Time) -> None:
    client.agent()
    before = client.get("/v1/health").json()["audit_events_count"]
    clock.now += 10
    client.broker.restart()
    assert families(client) == sorted(ALWAYS)
    assert f"agentwrit_audit_events_loaded {before}" in lines(client)
    assert {"agentwrit_active_agents 0", "agentwrit_audit_write_duration_seconds_count 0"} <= set(lines(client))
    assert client.get("/v1/health").json()["audit_events_count"] == before
    clock.now += 61.5
    health = client.get("/v1/health")
    assert list(health.json()) == ["status", "version", "uptime", "db_connected", "audit_events_count"]
    assert health.json()["uptime"] == 61
