"""What `fake_principal` makes, and what it refuses to make."""

from __future__ import annotations

from typing import Any

import pytest

from agentwrit_guard import Principal
from agentwrit_guard.core.bearer import Token
from agentwrit_guard.core.chain import chain_violation, has_loop
from agentwrit_guard.core.claims import parse_claims
from agentwrit_guard.core.jws import parse_jws
from agentwrit_guard.testing import StoppedClock, fake_principal
from agentwrit_guard.testing.tokens import fake_token


def test_a_plain_one(agentwrit_clock: StoppedClock) -> None:
    agent = fake_principal(["read:customers:1"])
    assert isinstance(agent, Principal)
    assert agent.agent_id.startswith("spiffe://agentwrit.local/agent/orch/task/")
    assert (agent.task_id, agent.orch_id, agent.chain) == ("task", "orch", ())
    assert agent.can("read:customers:1")
    assert not agent.can("read:customers:2")
    assert agent.validated_at == agentwrit_clock.now
    assert agent.expires_at == int(agentwrit_clock.now + 3600)
    assert agent.agent_id != fake_principal().agent_id


def test_one_to_order() -> None:
    agent = fake_principal(
        agent_id="spiffe://example.org/agent/a/b/c", task_id="t", orch_id="o", issuer="me", audience=["api"]
    )
    assert (agent.agent_id, agent.task_id, agent.orch_id) == ("spiffe://example.org/agent/a/b/c", "t", "o")
    assert (agent.claims.iss, agent.claims.aud, agent.scopes) == ("me", ("api",), ())
    assert fake_principal(agent_id="app:billing").agent_id == "app:billing"


@pytest.mark.parametrize("expires_in", [0, -100])
def test_an_expired_one(expires_in: float, agentwrit_clock: StoppedClock) -> None:
    claims = fake_principal(expires_in=expires_in).claims
    assert claims.nbf == claims.iat < claims.exp <= agentwrit_clock.now


def test_a_delegated_one() -> None:
    root = fake_principal(["read:customers:*"], task_id="root")
    middle = fake_principal(["read:customers:*"], delegated_by=root, task_id="middle")
    leaf = fake_principal(["read:customers:1"], delegated_by=middle, task_id="leaf")
    assert [record.agent for record in leaf.chain] == [root.agent_id, middle.agent_id]
    assert {record.scope for record in leaf.chain} == {("read:customers:*",)}
    assert (leaf.task_id, "/leaf/" in leaf.agent_id) == ("root", True)


@pytest.mark.parametrize("hops", range(6))
def test_its_token_is_sound_in_every_way_but_the_signature(hops: int) -> None:
    agent = fake_principal(["read:a:*"])
    for _ in range(hops):
        agent = fake_principal(["read:a:*"], delegated_by=agent)
    jws = parse_jws(fake_token(agent))
    assert jws is not None
    assert parse_claims(jws.payload) == agent.claims
    assert chain_violation(agent.claims, jws.payload_text, domain="agentwrit.local") is None
    assert not has_loop(agent.claims)
    assert repr(Token(fake_token(agent))) == "Token(redacted)"


@pytest.mark.parametrize(
    "arguments, why",
    [
        ({"scope": "read:a:1"}, "list"),
        ({"scope": ["read"]}, "action:resource:identifier"),
        ({"agent_id": "ann"}, "no broker"),
        ({"agent_id": ""}, "no broker"),
        ({"orch_id": "a b"}, "no broker"),
        ({"scope": ["read:a:2"], "delegated_by": ["read:a:1"]}, "not held"),
    ],
)
def test_what_no_broker_would_issue(arguments: dict[str, Any], why: str) -> None:
    if "delegated_by" in arguments:
        arguments = {**arguments, "delegated_by": fake_principal(arguments["delegated_by"])}
    with pytest.raises(ValueError, match=why):
        fake_principal(**arguments)


def test_a_sixth_hop() -> None:
    agent = fake_principal(["read:a:*"])
    for _ in range(5):
        agent = fake_principal(["read:a:*"], delegated_by=agent)
    with pytest.raises(ValueError, match="5 times"):
        fake_principal(["read:a:*"], delegated_by=agent)
