"""Apps of both kinds against the twin."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.errors import (
    AgentWritError,
    AuthenticationError,
    AuthorizationError,
    BrokerUnavailable,
    ProblemResponseError,
    RateLimitError,
)
from tests.client.play import Kind, done
from tests.kit.clock import Time

pytestmark = pytest.mark.anyio

ARGUMENTS: Any = ("orch-1", "task_1", ["read:data:*"])


async def test_agent_is_created(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        assert not broker.calls
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=120))
        result = await done(app.validate(agent.access_token))
    assert broker.calls == {
        "/v1/app/auth": 1,
        "/v1/app/launch-tokens": 1,
        "/v1/challenge": 1,
        "/v1/register": 1,
        "/v1/token/validate": 1,
    }
    assert result.valid is True
    assert result.error is None
    assert (result.claims.sub, result.claims.scope) == (agent.agent_id, ("read:data:*",))
    assert (result.claims.task_id, result.claims.orch_id) == (agent.task_id, agent.orch_id) == ("task_1", "orch-1")
    assert agent.scope == ["read:data:*"]
    assert (agent.expires_in, agent.expires_at) == (120, result.claims.exp)
    assert agent.bearer_header == {"Authorization": f"Bearer {agent.access_token}"}


async def test_key_of_the_caller(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    key = Ed25519PrivateKey.generate()
    async with kind.open(broker, credentials) as app:
        agents = [await done(app.create_agent(*ARGUMENTS, private_key=key, label="mine")) for _ in range(2)]
    assert agents[0].agent_id != agents[1].agent_id


async def test_app_and_admin_tokens_validate(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        await done(app.create_agent(*ARGUMENTS))
        result = await done(app.validate(app.caller._session.token()))
    assert (result.valid, result.claims.sub) == (True, f"app:{credentials.app_id}")
    assert (result.claims.task_id, result.claims.orch_id) == (None, None)


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "é" * 100, "\ud800", "x" * 9000])
async def test_tokens_that_are_none(kind: Kind, broker: DevBroker, credentials: AppCredentials, token: str) -> None:
    async with kind.open(broker, credentials) as app:
        result = await done(app.validate(token))
    assert (result.valid, result.claims) == (False, None)
    assert result.error
    assert broker.calls["/v1/token/validate"] == (0 if token == "" or len(token) > 8192 else 1)


async def test_health(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        status = await done(app.health())
    assert (status.status, status.version, status.db_connected) == ("ok", "2.0.0", True)
    assert broker.calls == {"/v1/health": 1}


async def test_concurrent_callers_share_one_login(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agents = await kind.at_once(lambda: app.create_agent(*ARGUMENTS), 12)
    assert len({agent.agent_id for agent in agents}) == 12
    assert (broker.calls["/v1/app/auth"], broker.calls["/v1/register"]) == (1, 12)


async def test_two_hundred_agents_at_once(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    """Each takes three requests, and one login serves them all: no more, so no 429 either."""
    async with kind.open(broker, credentials, timeout=60) as app:
        agents = await kind.at_once(lambda: app.create_agent(*ARGUMENTS), 200)
        assert len({agent.agent_id for agent in agents}) == 200
        assert broker.calls.total() == 601
        assert broker.calls == {
            "/v1/app/auth": 1,
            "/v1/app/launch-tokens": 200,
            "/v1/challenge": 200,
            "/v1/register": 200,
        }
        for agent in agents[::50]:
            assert (await done(app.validate(agent.access_token))).valid


async def test_login_is_renewed_before_its_end(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    time = Time(0.0)
    async with kind.open(broker, credentials, clock=time) as app:
        for time.now, logins in [(0.0, 1), (1769.0, 1), (1771.0, 2), (1772.0, 2)]:
            await done(app.create_agent(*ARGUMENTS))
            assert broker.calls["/v1/app/auth"] == logins


async def test_concurrent_callers_share_the_login_after_a_refusal(kind: Kind) -> None:
    time = Time()
    with DevBroker(clock=time) as broker:
        async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=lambda: 0.0) as app:
            await done(app.create_agent(*ARGUMENTS))
            time.now += 3600  # the login has ended, and only the broker knows
            agents = await kind.at_once(lambda: app.create_agent(*ARGUMENTS), 8)
    assert len({agent.agent_id for agent in agents}) == 8
    assert (broker.calls["/v1/app/auth"], broker.calls["/v1/register"]) == (2, 9)


async def test_one_refusal_is_answered_with_one_login(
    kind: Kind, broker: DevBroker, credentials: AppCredentials
) -> None:
    async with kind.open(broker, credentials) as app:
        broker.revoke("agent", f"app:{credentials.app_id}")  # holds for logins to come as well
        with pytest.raises(AuthenticationError, match="401"):
            await done(app.create_agent(*ARGUMENTS))
    assert broker.calls == {"/v1/app/auth": 2, "/v1/app/launch-tokens": 2}


async def test_wrong_secret(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    wrong = AppCredentials(credentials.client_id, "wrong", credentials.app_id)
    async with kind.open(broker, wrong) as app:
        with pytest.raises(AuthenticationError, match="Authentication failed") as caught:
            await done(app.create_agent(*ARGUMENTS))
    assert (caught.value.status_code, caught.value.problem.error_code) == (401, "unauthorized")
    assert broker.calls == {"/v1/app/auth": 1}


async def test_scope_over_the_ceiling(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        with pytest.raises(AuthorizationError, match="ceiling"):
            await done(app.create_agent("o", "t", ["write:data:8"]))
        await done(app.create_agent("o", "t", ("write:data:7",)))
    assert broker.calls["/v1/app/auth"] == 1


async def test_rate_limit(kind: Kind) -> None:
    with DevBroker(clock=lambda: 1_800_000_000.0) as broker:
        credentials = broker.app(scopes=["read:data:*"])
        for _ in range(3):
            async with kind.open(broker, credentials) as app:
                await done(app.create_agent(*ARGUMENTS))
        async with kind.open(broker, credentials) as app:
            with pytest.raises(RateLimitError, match="429") as caught:
                await done(app.create_agent(*ARGUMENTS))
    assert caught.value.retry_after == 60.0


async def test_broker_down(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        await done(app.create_agent(*ARGUMENTS))
        with broker.outage():
            for call in (app.health, lambda: app.validate("t"), lambda: app.create_agent(*ARGUMENTS)):
                with pytest.raises(BrokerUnavailable) as caught:
                    await done(call())
                assert caught.value.__cause__ is None
        await done(app.create_agent(*ARGUMENTS))


async def test_broker_failing(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        with broker.fail(503):
            for call in (app.health, lambda: app.create_agent(*ARGUMENTS)):
                with pytest.raises(ProblemResponseError, match="503") as caught:
                    await done(call())
                assert caught.value.status_code == 503
            with pytest.raises(BrokerUnavailable, match="503"):
                await done(app.validate("t"))


async def test_broker_too_slow(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials, timeout=0.25) as app:
        await done(app.health())  # connects, so that only the answer is late
        with broker.slow(30), pytest.raises(BrokerUnavailable) as caught:
            await done(app.create_agent(*ARGUMENTS))
    assert caught.value.fault == "timeout"


async def test_path_of_the_broker_is_wrong(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    app = kind.app(f"{broker.url}/wrong/", credentials.client_id, credentials.client_secret)
    try:
        with pytest.raises(ProblemResponseError, match=r"404 .*is the path of broker_url right"):
            await done(app.health())
    finally:
        await done(app.close() if kind.name == "sync" else app.aclose())


async def test_closed_app_refuses(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
    before = dict(broker.calls)
    for call in (app.health, lambda: app.create_agent(*ARGUMENTS), agent.renew, agent.release):
        with pytest.raises(AgentWritError, match="is closed"):
            await done(call())
    assert broker.calls == before
    await done(app.close() if kind.name == "sync" else app.aclose())


async def test_closed_before_the_first_call(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials):
        pass
    assert not broker.calls


async def test_nothing_shows_a_token_or_secret(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        delegated = await done(agent.delegate(agent.agent_id, ["read:data:1"]))
        with pytest.raises(AuthorizationError) as caught:
            await done(agent.delegate(agent.agent_id, ["write:data:1"]))
        shown = "".join(map(repr, (app, agent, delegated, caught.value, caught.value.problem)))
        secrets = [credentials.client_secret, app.caller._session.token(), agent.access_token, delegated.access_token]
    assert agent.agent_id in shown
    assert credentials.client_id in shown
    for secret in secrets:
        assert not any(part and part in shown for part in (secret, *secret.split(".")))
