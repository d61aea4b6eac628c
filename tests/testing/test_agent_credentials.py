"""`DevBroker.agent` issues by the twin's own rules, and leaves the traces of the ceremony over HTTP."""

from __future__ import annotations

import dataclasses

import pytest

from agentwrit_guard import AgentWritApp
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.devbroker.audit import Event

SCOPE = ["read:data:*"]
CEREMONY = ("launch_token_issued", "agent_registered", "token_issued", "delegation_created")


def test_it_does_what_the_ceremony_does(agentwrit_broker: DevBroker) -> None:
    """Both ways on one twin: the same events with the same details, and agents of the registry."""
    log = agentwrit_broker.state.audit
    credentials = agentwrit_broker.app(scopes=SCOPE)
    with AgentWritApp(agentwrit_broker.url, credentials.client_id, credentials.client_secret) as app:
        root = app.create_agent("orch", "task", SCOPE, label="orch-task")
        heir = app.create_agent("orch", "heir", ["read:data:1"], max_ttl=60, label="orch-heir")
        root.delegate(heir.agent_id, ["read:data:1"], ttl=60)
    spoken = _events(log.find("", None), root.agent_id, heir.agent_id)
    before = len(log)
    first = agentwrit_broker.agent(scope=SCOPE)
    second = agentwrit_broker.agent(scope=["read:data:1"], task_id="heir", ttl=60, delegated_from=first.access_token)
    direct = _events(log.find("", None)[before:], first.agent_id, second.agent_id)
    assert direct == [event for event in spoken if event["event_type"] in CEREMONY]
    assert {root.agent_id, heir.agent_id, first.agent_id, second.agent_id} == agentwrit_broker.state.agents
    assert agentwrit_broker.calls["/v1/register"] == 2
    assert agentwrit_broker.state.verified(second.access_token).delegation_chain[0].agent == first.agent_id


def _events(found: list[Event], root: str, heir: str) -> list[dict[str, object]]:
    """Events without what every event has of its own."""
    own = ("id", "at", "timestamp", "hash", "prev_hash", "deleg_chain_hash")
    shown = []
    for event in found:
        fields = {key: value for key, value in dataclasses.asdict(event).items() if key not in own}
        named = {key: _named(value, root, heir) for key, value in fields.items()}
        shown.append(named)
    return shown


def _named(value: object, root: str, heir: str) -> object:
    return value.replace(root, "ROOT").replace(heir, "HEIR") if isinstance(value, str) else value


def test_it_needs_no_socket_and_shows_no_token() -> None:
    broker = DevBroker(audience="api", trust_domain="example.org")
    made = broker.agent(scope=SCOPE, ttl=60)
    claims = broker.state.verified(made.access_token)
    assert (claims.sub, claims.aud, claims.exp - claims.iat) == (made.agent_id, ("api",), 60)
    assert made.agent_id.startswith("spiffe://example.org/agent/orch/task/")
    assert made.access_token not in repr(made)


def test_the_rules_are_the_brokers() -> None:
    broker = DevBroker(max_ttl=100)
    token = broker.agent(scope=SCOPE, ttl=500).access_token
    assert broker.state.verified(token).exp - broker.state.verified(token).iat == 100
    for _ in range(5):
        token = broker.agent(scope=SCOPE, delegated_from=token).access_token
    with pytest.raises(ValueError, match="depth limit"):
        broker.agent(scope=SCOPE, delegated_from=token)
    broker.revoke("task", "task")
    with pytest.raises(ValueError, match="verification failed"):
        broker.agent(scope=SCOPE, delegated_from=token)
