from __future__ import annotations

import pytest

from agentwrit_guard.client import AgentWritApp, Operator
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.errors import AgentWritError, AuthenticationError, ProblemResponseError, RateLimitError
from tests.kit.clock import Time


def test_operator_registers_an_app_that_works(broker: DevBroker) -> None:
    with Operator(broker.url, broker.admin_secret) as operator:
        client_id, client_secret = credentials = operator.create_app("an-app", ["read:data:*"], token_ttl=60)
        operator.create_app("other-app", ("read:data:1",))
        with AgentWritApp(broker.url, client_id, client_secret) as app:
            agent = app.create_agent("o", "t", ["read:data:1"])
            operator.revoke("agent", agent.agent_id)
            assert not app.validate(agent.access_token).valid
    assert broker.calls["/v1/admin/auth"] == 1
    assert client_secret not in repr(credentials)
    assert broker.admin_secret not in repr(operator)
    with pytest.raises(AgentWritError, match="is closed"):
        operator.revoke("task", "t")


def test_name_in_use(broker: DevBroker) -> None:
    with Operator(broker.url, broker.admin_secret) as operator:
        operator.create_app("an-app", ["read:data:*"])
        with pytest.raises(ProblemResponseError, match="500 internal_error"):
            operator.create_app("an-app", ["read:data:*"])


def test_wrong_secret_and_too_many() -> None:
    with DevBroker(clock=lambda: 1_800_000_000.0) as broker, Operator(broker.url, "wrong") as operator:
        for _ in range(10):
            with pytest.raises(AuthenticationError, match="invalid credentials"):
                operator.revoke("task", "t")
        with pytest.raises(RateLimitError) as caught:
            operator.revoke("task", "t")
    assert caught.value.retry_after == 1.0
    assert not broker.calls["/v1/revoke"]


def test_login_that_has_ended_is_made_anew() -> None:
    time = Time()
    with (
        DevBroker(clock=time) as broker,
        Operator(broker.url, broker.admin_secret, clock=lambda: 0.0) as operator,
    ):
        operator.revoke("task", "t")
        time.now += 3600
        operator.revoke("task", "t")
    assert (broker.calls["/v1/admin/auth"], broker.calls["/v1/revoke"]) == (2, 3)
