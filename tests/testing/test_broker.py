"""The twin as a fixture: what it is found by, and tokens that are real."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from agentwrit_guard import AgentWritApp, Allowed, Denied, Guard, Principal, all_of
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.errors import AuthorizationError
from agentwrit_guard.testing import AgentToken
from tests.testing.suite import Suite

SCOPE = ["read:customers:7291"]
WIDE = ["read:customers:*"]


def check(token: str, **requirement: Any) -> Allowed | Denied:
    return Guard.from_env().check([b"Bearer " + token.encode()], all_of(*SCOPE, **requirement))


def principal(token: str) -> Principal:
    decision = check(token)
    assert isinstance(decision, Allowed)
    return decision.principal


def test_a_token_is_real(agentwrit_broker: DevBroker, agent_token: AgentToken) -> None:
    agent = principal(agent_token(SCOPE, orch_id="orch-1", task_id="task-1"))
    assert (agent.source, agent.scopes, agent.orch_id, agent.task_id) == ("broker", tuple(SCOPE), "orch-1", "task-1")
    assert agent.agent_id.startswith("spiffe://agentwrit.local/agent/orch-1/task-1/")
    assert agent.claims.exp - agent.claims.iat == 300
    assert agentwrit_broker.calls["/v1/token/validate"] == 1
    agentwrit_broker.revoke("agent", agent.agent_id)
    assert isinstance(check(agent_token(SCOPE)), Allowed)


def test_each_token_is_another_agents(agent_token: AgentToken) -> None:
    assert principal(agent_token(SCOPE)).agent_id != principal(agent_token(SCOPE)).agent_id


def test_a_delegated_token_has_its_chain(agent_token: AgentToken) -> None:
    root = agent_token(WIDE, task_id="root")
    middle = agent_token(WIDE, delegated_from=root, task_id="middle", ttl=200)
    leaf = principal(agent_token(SCOPE, ttl=100, delegated_from=SimpleNamespace(access_token=middle)))
    assert [record.agent for record in leaf.chain] == [principal(root).agent_id, principal(middle).agent_id]
    assert [record.scope for record in leaf.chain] == [tuple(WIDE), tuple(WIDE)]
    assert (leaf.task_id, leaf.claims.exp - leaf.claims.iat) == ("root", 100)
    assert isinstance(check(middle, max_depth=1), Allowed)
    assert isinstance(check(middle, delegated=False), Denied)


def test_an_agent_of_the_app_can_be_the_delegator(agentwrit_app: AgentWritApp, agent_token: AgentToken) -> None:
    clerk = agentwrit_app.create_agent("orch", "task", SCOPE)
    assert principal(agent_token(SCOPE, delegated_from=clerk)).chain[0].agent == clerk.agent_id


@pytest.mark.parametrize(
    "arguments, why",
    [
        ({"scope": ["write:customers:7291"], "delegated_from": True}, "exceeds delegator"),
        ({"scope": WIDE, "delegated_from": "x.y.z"}, "verification failed"),
        ({"scope": WIDE, "delegated_from": 7}, "must be a token"),
        ({"scope": ["customers"]}, "action:resource:identifier"),
        ({"scope": [1]}, "action:resource:identifier"),
        ({"scope": []}, "list"),
        ({"scope": "read:customers:1"}, "list"),
        ({"scope": SCOPE, "ttl": 0}, "ttl"),
        ({"scope": SCOPE, "orch_id": "a b"}, "registration failed"),
    ],
)
def test_what_a_broker_would_refuse(agent_token: AgentToken, arguments: dict[str, Any], why: str) -> None:
    root = agent_token(WIDE)
    if arguments.get("delegated_from") is True:
        arguments = {**arguments, "delegated_from": root}
    with pytest.raises(ValueError, match=why) as caught:
        agent_token(**arguments)
    assert root not in str(caught.value)


def test_the_environment_names_broker_and_app(agentwrit_broker: DevBroker, agentwrit_app: AgentWritApp) -> None:
    assert os.environ["AGENTWRIT_BROKER_URL"] == agentwrit_broker.url == Guard.from_env().settings.broker_url
    assert os.environ["AGENTWRIT_CLIENT_ID"] == agentwrit_app.client_id
    with AgentWritApp(
        agentwrit_broker.url, os.environ["AGENTWRIT_CLIENT_ID"], os.environ["AGENTWRIT_CLIENT_SECRET"]
    ) as same:
        assert same.create_agent("orch", "task", SCOPE).scope == SCOPE


def test_rates_are_not_limited(agentwrit_broker: DevBroker, agentwrit_app: AgentWritApp) -> None:
    for _ in range(6):
        with AgentWritApp(agentwrit_broker.url, agentwrit_app.client_id, os.environ["AGENTWRIT_CLIENT_SECRET"]) as app:
            app.create_agent("orch", "task", SCOPE)


def test_an_app_factory_finds_it_and_leaves_no_connection(suite: Suite) -> None:
    """Warnings are errors there: a socket that nobody closed would be one."""
    suite.write(
        test_it="""
            import os
            import pytest
            from flask import Flask
            from agentwrit_guard.contrib.flask import FlaskGuard, requires_scope

            @pytest.fixture
            def app(agentwrit_broker):
                app = Flask("customers")
                FlaskGuard(app)

                @app.get("/customers/<customer_id>")
                @requires_scope("read:customers:{customer_id}")
                def read(customer_id):
                    return customer_id

                return app

            def test_it(app, agent_token):
                headers = {"Authorization": f"Bearer {agent_token(['read:customers:1'])}"}
                statuses = [app.test_client().get(f"/customers/{n}", headers=headers).status_code for n in (1, 2)]
                assert statuses == [200, 403]

            def test_afterwards():
                assert "AGENTWRIT_BROKER_URL" not in os.environ
        """
    )
    outcome = suite.run()
    assert outcome.counts == {"passed": 2}, outcome.output


class TestAnotherCeiling:
    @pytest.fixture
    def agentwrit_scopes(self) -> list[str]:
        return ["refund:orders:*"]

    def test_is_the_apps(self, agentwrit_app: AgentWritApp) -> None:
        assert agentwrit_app.create_agent("orch", "task", ["refund:orders:1"]).scope == ["refund:orders:1"]
        with pytest.raises(AuthorizationError):
            agentwrit_app.create_agent("orch", "task", SCOPE)


def test_the_ceiling_without_a_word(agentwrit_scopes: list[str], agentwrit_app: AgentWritApp) -> None:
    assert agentwrit_scopes == ["read:customers:*", "write:customers:*"]
    assert agentwrit_app.create_agent("orch", "task", agentwrit_scopes).scope == agentwrit_scopes
