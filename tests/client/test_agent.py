"""Agents of both kinds against the twin, and the order of events that no test can force there, by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agentwrit_guard.client import Agent, AsyncAgentWritApp
from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.errors import (
    AgentWritError,
    AuthenticationError,
    AuthorizationError,
    BrokerUnavailable,
    ProblemResponseError,
)
from tests.client.play import AGENT, Kind, done, entered, play, reply, token

pytestmark = pytest.mark.anyio

ARGUMENTS: Any = ("o", "t", ["read:data:*"])


async def test_renewal_changes_the_token(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=77))
        old = agent.access_token
        assert await done(agent.renew()) is None
        assert agent.access_token != old
        assert agent.bearer_header == {"Authorization": f"Bearer {agent.access_token}"}
        assert (agent.expires_in, agent.scope) == (77, ["read:data:*"])
        assert not (await done(app.validate(old))).valid
        assert (await done(app.validate(agent.access_token))).claims.exp == agent.expires_at


async def test_renewals_in_a_row_are_as_many(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        tokens = set()
        for _ in range(20):
            await done(agent.renew())
            tokens.add(agent.access_token)
    assert (len(tokens), broker.calls["/v1/token/renew"]) == (20, 20)


async def test_concurrent_renewals_are_one(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        with broker.slow(0.2):
            assert await kind.at_once(agent.renew, 8) == [None] * 8
        assert (await done(app.validate(agent.access_token))).valid
    assert broker.calls["/v1/token/renew"] < 8


async def test_agent_is_released_at_the_end_of_the_block(
    kind: Kind, broker: DevBroker, credentials: AppCredentials
) -> None:
    async with kind.open(broker, credentials) as app:
        async with entered(await done(app.create_agent(*ARGUMENTS))) as agent:
            assert (await done(app.validate(agent.access_token))).valid
        assert not (await done(app.validate(agent.access_token))).valid
        assert "released" in repr(agent)


async def test_released_agent(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        for _ in range(3):
            assert await done(agent.release()) is None
        before = dict(broker.calls)
        for call in (
            lambda: agent.bearer_header,
            agent.renew,
            lambda: agent.delegate(agent.agent_id, ["read:data:1"]),
        ):
            with pytest.raises(AgentWritError, match=f"agent {agent.agent_id} is released"):
                await done(call())
    assert broker.calls == before
    assert broker.calls["/v1/token/release"] == 1
    await done(agent.release())


@pytest.mark.parametrize("level", ["token", "agent", "task"])
async def test_release_of_a_revoked_agent(
    kind: Kind, broker: DevBroker, credentials: AppCredentials, level: str
) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        claims = (await done(app.validate(agent.access_token))).claims
        broker.revoke(level, {"token": claims.jti, "agent": claims.sub, "task": claims.task_id}[level])
        with pytest.raises(AuthenticationError):
            await done(agent.renew())
        assert await done(agent.release()) is None


async def test_failed_release_may_be_repeated(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        with broker.outage(), pytest.raises(BrokerUnavailable):
            await done(agent.release())
        assert agent.bearer_header
        await done(agent.release())
        assert not (await done(app.validate(agent.access_token))).valid


async def test_failed_release_is_said_unless_the_block_failed(
    kind: Kind, broker: DevBroker, credentials: AppCredentials
) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        with broker.fail(500):
            with pytest.raises(ProblemResponseError, match="500"):
                async with entered(agent):
                    pass
            with pytest.raises(ZeroDivisionError):
                async with entered(agent):
                    raise ZeroDivisionError


async def test_cancelled_renewal_keeps_the_new_token(broker: DevBroker, credentials: AppCredentials) -> None:
    async with AsyncAgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
        agent = await app.create_agent(*ARGUMENTS)
        with broker.slow(0.1):
            task = asyncio.create_task(agent.renew())
            other = asyncio.create_task(agent.renew())
            await asyncio.sleep(0)
            task.cancel()
            await other
        assert task.cancelled()
        assert (await app.validate(agent.access_token)).valid


async def test_delegation(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        root = await done(app.create_agent(*ARGUMENTS))
        middle = await done(app.create_agent("o", "u", ["read:data:1"]))
        leaf = await done(app.create_agent("o", "v", ["read:data:1"]))
        first = await done(root.delegate(middle.agent_id, ["read:data:1", "read:data:2"], ttl=33))
        second = await done(first.delegate(leaf.agent_id, ("read:data:2",)))
        result = await done(app.validate(second.access_token))
    assert (first.expires_in, second.expires_in) == (33, 60)
    assert first.bearer_header == {"Authorization": f"Bearer {first.access_token}"}
    assert [(record.agent, record.scope) for record in second.delegation_chain] == [
        (root.agent_id, ("read:data:*",)),
        (middle.agent_id, ("read:data:1", "read:data:2")),
    ]
    assert result.claims.delegation_chain == tuple(second.delegation_chain)
    assert (result.claims.sub, result.claims.task_id) == (leaf.agent_id, "t")
    assert len({first, second, first}) == 2


async def test_delegation_refused(kind: Kind, broker: DevBroker, credentials: AppCredentials) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        with pytest.raises(AuthorizationError, match="exceeds delegator scope"):
            await done(agent.delegate(agent.agent_id, ["write:data:1"]))
        with pytest.raises(ProblemResponseError, match="404 not_found"):
            await done(agent.delegate("spiffe://nobody", ["read:data:1"]))
        hop = await done(agent.delegate(agent.agent_id, ["read:data:1"]))
        for _ in range(4):
            hop = await done(hop.delegate(agent.agent_id, ["read:data:1"]))
        with pytest.raises(AuthorizationError, match="depth"):
            await done(hop.delegate(agent.agent_id, ["read:data:1"]))
        unbound = type(hop)(hop.access_token, hop.expires_in, hop.delegation_chain)
        assert unbound == hop
        with pytest.raises(AgentWritError, match="not delegated through an app"):
            await done(unbound.delegate(agent.agent_id, ["read:data:1"]))


def by_hand(access_token: str | None = None) -> Any:
    app: Any = SimpleNamespace(caller=SimpleNamespace(clock=lambda: 0.0))
    return Agent(app, AGENT, token() if access_token is None else access_token, 300, ["read:data:*"], "t", "o")


def test_release_that_is_given_up_did_not_happen() -> None:
    agent = by_hand()
    ending = agent._ending()
    next(ending)
    ending.close()
    assert agent.bearer_header


def test_renewal_for_another_agent_changes_nothing() -> None:
    agent = by_hand()
    with pytest.raises(BrokerUnavailable):
        play(agent._renewal(), reply(access_token=token("admin"), expires_in=300))
    assert agent.access_token == token()


def test_expiry_of_a_token_that_cannot_be_read() -> None:
    assert by_hand().expires_at == 1400
    with pytest.raises(AgentWritError, match="cannot be read"):
        _ = by_hand("opaque").expires_at
