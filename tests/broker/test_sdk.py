"""The official SDK, unchanged, against the twin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agentwrit import Agent, AgentWritApp
from agentwrit.errors import AuthenticationError, AuthorizationError, RateLimitError, TransportError

from agentwrit_guard.devbroker import DevBroker

SCOPE = ["read:data:*"]


@pytest.fixture
def broker() -> Iterator[DevBroker]:
    with DevBroker() as running:
        yield running


@pytest.fixture
def app(broker: DevBroker) -> Iterator[AgentWritApp]:
    credentials = broker.app(scopes=["read:data:*", "write:data:*"], name="sdk-app")
    session = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
    yield session
    session.close()


def test_life_of_an_agent(app: AgentWritApp) -> None:
    agent = app.create_agent("orch", "task", SCOPE, max_ttl=120)
    first = agent.access_token

    result = app.validate(first)
    assert result.valid
    assert result.claims is not None
    assert result.claims.sub == agent.agent_id
    assert result.claims.scope == SCOPE
    assert (result.claims.task_id, result.claims.orch_id) == ("task", "orch")
    assert agent.expires_in == 120

    agent.renew()
    assert agent.access_token != first
    assert not app.validate(first).valid
    assert app.validate(agent.access_token).valid

    last = agent.access_token
    agent.release()
    assert not app.validate(last).valid


def test_delegation_to_depth_five_and_no_further(app: AgentWritApp) -> None:
    agents = [app.create_agent("orch", f"task{n}", SCOPE) for n in range(7)]
    token = agents[0].access_token
    for depth, delegate in enumerate(agents[1:6], start=1):
        delegated = _holder(app, agents[depth - 1], token).delegate(delegate.agent_id, SCOPE)
        token = delegated.access_token
        assert [record.agent for record in delegated.delegation_chain] == [agent.agent_id for agent in agents[:depth]]
        assert app.validate(token).valid
    with pytest.raises(AuthorizationError, match="delegation depth limit exceeded"):
        _holder(app, agents[5], token).delegate(agents[6].agent_id, SCOPE)


def test_delegation_never_widens(app: AgentWritApp) -> None:
    agent, other = (app.create_agent("orch", name, SCOPE) for name in ("a", "b"))
    with pytest.raises(AuthorizationError, match="delegated scope exceeds delegator scope"):
        agent.delegate(other.agent_id, ["write:data:1"])


def test_scope_beyond_the_ceiling(app: AgentWritApp) -> None:
    with pytest.raises(AuthorizationError, match="requested scopes exceed app ceiling"):
        app.create_agent("orch", "task", ["delete:data:*"])


def test_wrong_secret_and_then_the_limit(broker: DevBroker) -> None:
    client_id = broker.app(scopes=SCOPE).client_id
    for _ in range(3):
        session = AgentWritApp(broker.url, client_id, "wrong")
        with pytest.raises(AuthenticationError):
            session.create_agent("orch", "task", SCOPE)
        session.close()
    session = AgentWritApp(broker.url, client_id, "wrong")
    with pytest.raises(RateLimitError):
        session.create_agent("orch", "task", SCOPE)
    session.close()


def test_outage_is_a_transport_error(broker: DevBroker, app: AgentWritApp) -> None:
    app.create_agent("orch", "task", SCOPE)
    with broker.outage(), pytest.raises(TransportError):
        app.health()
    assert app.health().version == "2.0.0"


def _holder(app: AgentWritApp, agent: Agent, token: str) -> Agent:
    """The SDK's agent that holds `token`: its own objects only ever hold their first one."""
    return Agent(app, agent.agent_id, token, 60, SCOPE, agent.task_id, agent.orch_id)
