"""One life of an agent, told to the official SDK and to both of our clients, by the twin or by a broker of your own.

    pytest tests/broker --broker-url URL --admin-secret SECRET

Each test registers an app of its own, because the broker limits how often one app logs in.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard.client import AppCredentials, Operator
from agentwrit_guard.devbroker import DevBroker
from tests.broker.clients import ASYNC, SDK, SYNC, Kind, done

pytestmark = pytest.mark.anyio

CEILING = ["read:data:*", "write:data:7"]
SCOPE = ["read:data:*"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def operator(request: pytest.FixtureRequest) -> Iterator[Operator]:
    url = request.config.getoption("--broker-url")
    if url:
        with Operator(url, request.config.getoption("--admin-secret")) as operator:
            yield operator
        return
    with DevBroker() as broker, Operator(broker.url, broker.admin_secret) as operator:
        yield operator


@pytest.fixture
def credentials(operator: Operator) -> AppCredentials:
    return operator.create_app(f"scenario-{secrets.token_hex(6)}", CEILING)


@pytest.fixture(params=[SDK, SYNC, ASYNC], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
async def app(kind: Kind, operator: Operator, credentials: AppCredentials) -> AsyncIterator[Any]:
    app = kind.open(operator.broker_url, credentials)
    yield app
    await kind.close(app)


@pytest.fixture
def is_valid(app: Any) -> Callable[[Any], Any]:
    async def ask(holder: Any) -> bool:
        valid: bool = (await done(app.validate(getattr(holder, "access_token", holder)))).valid
        return valid

    return ask


async def test_created_agent_is_what_was_asked_for(app: Any) -> None:
    agent = await done(app.create_agent("orch.1", "task_1-a", SCOPE, max_ttl=120, label="scenario"))
    claims = (await done(app.validate(agent.access_token))).claims
    assert agent.agent_id.split("/agent/")[1].split("/")[:2] == ["orch.1", "task_1-a"]
    assert agent.bearer_header == {"Authorization": f"Bearer {agent.access_token}"}
    assert (agent.expires_in, agent.scope, agent.orch_id, agent.task_id) == (120, SCOPE, "orch.1", "task_1-a")
    assert (claims.sub, list(claims.scope), claims.orch_id, claims.task_id) == (
        agent.agent_id,
        SCOPE,
        "orch.1",
        "task_1-a",
    )
    assert claims.exp - claims.iat == 120
    assert not claims.delegation_chain


async def test_renewal_keeps_the_agent_and_kills_the_token(app: Any, is_valid: Any) -> None:
    agent = await done(app.create_agent("o", "t", SCOPE, max_ttl=90))
    old, agent_id = agent.access_token, agent.agent_id
    await done(agent.renew())
    assert (agent.agent_id, agent.expires_in) == (agent_id, 90)
    assert not await is_valid(old)
    assert await is_valid(agent)


async def test_release_ends_the_token_and_may_be_repeated(app: Any, kind: Kind, is_valid: Any) -> None:
    agent = await done(app.create_agent("o", "t", SCOPE))
    await done(agent.release())
    await done(agent.release())
    assert not await is_valid(agent)
    for call in (agent.renew, lambda: agent.delegate(agent.agent_id, SCOPE)):
        with pytest.raises(kind.errors.AgentWritError, match="released"):
            await done(call())


async def test_delegation_to_depth_five_and_the_refused_sixth_hop(app: Any, kind: Kind, is_valid: Any) -> None:
    agents = [await done(app.create_agent("o", f"t{number}", SCOPE)) for number in range(7)]
    bearer = agents[0]
    scopes = [SCOPE, ["read:data:1", "read:data:2"], ["read:data:1"], ["read:data:1"], ["read:data:1"]]
    for depth, scope in enumerate(scopes, start=1):
        bearer = await kind.delegate(app, agents[depth - 1], bearer, agents[depth].agent_id, scope, ttl=50 + depth)
        claims = (await done(app.validate(bearer.access_token))).claims
        assert (claims.sub, list(claims.scope)) == (agents[depth].agent_id, scope)
        assert (claims.orch_id, claims.task_id) == ("o", "t0"), "a chain stays in the task of its root"
        assert bearer.expires_in == 50 + depth
        for chain in (bearer.delegation_chain, claims.delegation_chain):
            assert [record.agent for record in chain] == [agent.agent_id for agent in agents[:depth]]
            assert [list(record.scope) for record in chain] == [SCOPE, *scopes][:depth]
    with pytest.raises(kind.errors.AuthorizationError) as caught:
        await kind.delegate(app, agents[5], bearer, agents[6].agent_id, ["read:data:1"])
    assert (caught.value.status_code, caught.value.problem.error_code) == (403, "scope_violation")
    assert "depth" in caught.value.problem.detail
    assert await is_valid(bearer)


async def test_delegation_never_widens(app: Any, kind: Kind) -> None:
    agent, other = [await done(app.create_agent("o", task, ["read:data:1"])) for task in ("a", "b")]
    for scope in (["read:data:*"], ["read:data:2"], ["write:data:1"], ["read:data:1", "read:data:2"]):
        with pytest.raises(kind.errors.AuthorizationError) as caught:
            await done(agent.delegate(other.agent_id, scope))
        assert (caught.value.status_code, caught.value.problem.error_code) == (403, "scope_violation")


async def test_delegated_token_outlives_its_delegator(app: Any, is_valid: Any) -> None:
    agent, other = [await done(app.create_agent("o", task, SCOPE)) for task in ("a", "b")]
    delegated = await done(agent.delegate(other.agent_id, ["read:data:1"]))
    assert delegated.expires_in == 60
    await done(agent.release())
    assert await is_valid(delegated)


@pytest.mark.parametrize(
    ("level", "dead"), [("token", "A"), ("agent", "A"), ("chain", "AB"), ("task", "A AB")], ids=lambda value: value
)
async def test_reach_of_a_revocation(app: Any, operator: Operator, is_valid: Any, level: str, dead: str) -> None:
    task = f"task-{secrets.token_hex(6)}"
    agent = await done(app.create_agent("o", task, SCOPE))
    other = await done(app.create_agent("o", "other", SCOPE))
    delegated = await done(agent.delegate(other.agent_id, SCOPE))
    claims = (await done(app.validate(agent.access_token))).claims
    target = {"token": claims.jti, "agent": agent.agent_id, "chain": agent.agent_id, "task": task}[level]
    operator.revoke(level, target)
    found = {"A": agent, "AB": delegated, "B": other}
    assert [name for name, holder in found.items() if not await is_valid(holder)] == dead.split()


async def test_delegate_that_the_broker_does_not_know(app: Any, kind: Kind) -> None:
    agent = await done(app.create_agent("o", "t", SCOPE))
    with pytest.raises(kind.errors.ProblemResponseError) as caught:
        await done(agent.delegate("spiffe://agentwrit.local/agent/o/t/0000000000000000", SCOPE))
    assert (caught.value.status_code, caught.value.problem.error_code) == (404, "not_found")


async def test_scope_beyond_the_ceiling(app: Any, kind: Kind) -> None:
    with pytest.raises(kind.errors.AuthorizationError) as caught:
        await done(app.create_agent("o", "t", ["delete:data:1"]))
    assert (caught.value.status_code, caught.value.problem.error_code) == (403, "forbidden")


async def test_revoked_agent_cannot_renew(app: Any, kind: Kind, operator: Operator) -> None:
    agent = await done(app.create_agent("o", "t", SCOPE))
    operator.revoke("agent", agent.agent_id)
    with pytest.raises(kind.errors.AuthenticationError) as caught:
        await done(agent.renew())
    assert caught.value.problem.detail == "token verification failed"


async def test_wrong_secret_and_then_the_limit(kind: Kind, operator: Operator, credentials: AppCredentials) -> None:
    wrong = AppCredentials(credentials.client_id, "wrong")
    for error, status in [("AuthenticationError", 401)] * 3 + [("RateLimitError", 429)]:
        app = kind.open(operator.broker_url, wrong)
        with pytest.raises(getattr(kind.errors, error)) as caught:
            await done(app.create_agent("o", "t", SCOPE))
        assert caught.value.status_code == status
        await kind.close(app)


async def test_health(app: Any) -> None:
    health = await done(app.health())
    assert (health.status, health.version) == ("ok", "2.0.0")


async def test_what_is_no_token(app: Any) -> None:
    for text in ("garbage", "a.b.c"):
        result = await done(app.validate(text))
        assert (result.valid, result.claims) == (False, None)
        assert result.error == "token is invalid or expired"
