"""Renewals, releases and delegations of one agent that meet, from threads, tasks, loops and forks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agentwrit_guard.client import Agent, AgentWritApp, AsyncAgentWritApp
from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.devbroker.tokens import Signer
from agentwrit_guard.errors import AgentWritError, AuthenticationError
from tests.client.play import Kind, done, entered, play, problem, reply, token

pytestmark = pytest.mark.anyio

ARGUMENTS: Any = ("o", "t", ["read:data:*"])
RENEW, RELEASE = "/v1/token/renew", "/v1/token/release"


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that the twin signs."""
    tokens: list[str] = []
    sign = Signer.sign

    def signing(self: Signer, claims: Any) -> str:
        tokens.append(sign(self, claims))
        return tokens[-1]

    monkeypatch.setattr(Signer, "sign", signing)
    return tokens


def alive(broker: DevBroker, issued: list[str]) -> list[str]:
    """Tokens of agents that the broker would still call valid."""
    found = []
    for text in issued:
        try:
            claims = broker.state.verified(text)
        except Exception:
            continue
        if claims.sub.startswith("spiffe:"):
            found.append(claims.jti)
    return found


async def arrival(broker: DevBroker, path: str, calls: int = 1) -> None:
    """Until the broker has got a request, which it counts before it looks at it."""
    while broker.calls[path] < calls:
        await asyncio.sleep(0.001)


async def test_no_token_outlives_a_release_that_meets_a_renewal(
    kind: Kind, broker: DevBroker, credentials: AppCredentials, issued: list[str]
) -> None:
    async with kind.open(broker, credentials) as app, entered(await done(app.create_agent(*ARGUMENTS))) as agent:
        with broker.slow(0.2):
            (renewal,) = await asyncio.gather(_started(kind, agent.renew))
            await arrival(broker, RENEW)
    assert renewal.done() or await renewal is None
    assert agent.released
    assert agent.ended
    assert alive(broker, issued) == []
    assert (broker.calls[RENEW], broker.calls[RELEASE]) == (1, 1)


async def _started(kind: Kind, call: Callable[[], Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(call() if kind.name == "async" else asyncio.to_thread(call))


async def test_cancelled_release_is_carried_through_although_the_app_closes(
    broker: DevBroker, credentials: AppCredentials, issued: list[str]
) -> None:
    entered_block = asyncio.Event()

    async def work() -> None:
        async with (
            AsyncAgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app,
            await app.create_agent(*ARGUMENTS),
        ):
            entered_block.set()

    with broker.slow(0):
        task = asyncio.create_task(work())
        await entered_block.wait()
        with broker.slow(0.2):
            await arrival(broker, RELEASE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert alive(broker, issued) == []
    assert broker.calls[RELEASE] == 1


def test_threads_that_renew_without_pause(broker: DevBroker, credentials: AppCredentials) -> None:
    errors: list[Exception] = []
    interval = sys.getswitchinterval()
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
        agent = app.create_agent(*ARGUMENTS)

        def renew() -> None:
            try:
                for _ in range(40):
                    agent.renew()
            except AgentWritError as error:
                errors.append(error)

        threads = [threading.Thread(target=renew) for _ in range(12)]
        # Threads that change places often show what a rare change hides.
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert errors == []
        assert app.validate(agent.access_token).valid


async def test_delegation_whose_token_is_renewed_on_the_way(
    kind: Kind, broker: DevBroker, credentials: AppCredentials
) -> None:
    async with kind.open(broker, credentials) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        other = await done(app.create_agent("o", "u", ["read:data:1"]))
        old = agent.access_token
        await done(agent.renew())
        fresh, agent.access_token = agent.access_token, old  # as the delegation has read it, before the renewal

        def renewed() -> None:
            agent.access_token = fresh

        with _after(agent, renewed):
            delegated = await done(agent.delegate(other.agent_id, ["read:data:1"]))
        assert (await done(app.validate(delegated.access_token))).valid
        broker.revoke("agent", agent.agent_id)
        with pytest.raises(AuthenticationError):
            await done(agent.delegate(other.agent_id, ["read:data:1"]))


@contextmanager
def _after(agent: Any, change: Callable[[], None]) -> Iterator[None]:
    """Whoever waits for the agent's turns to end finds this change made."""
    waiting = agent._waiting

    def changing() -> Any:
        change()
        return waiting()

    agent._waiting = changing
    yield
    del agent._waiting


def by_hand() -> Agent:
    class Nobody:
        clock = staticmethod(lambda: 0.0)

    class App:
        caller: Any = Nobody()

    app: Any = App()
    return Agent(app, token_sub(), token(), 300, ["read:data:*"], "t", "o")


def token_sub() -> str:
    return "spiffe://agentwrit.local/agent/o/t/0123456789abcdef"


def test_renewal_that_outlives_the_release_is_released_until_the_broker_says_so() -> None:
    agent, fresh = by_hand(), token(jti="new")
    renewal = agent._renewing()
    assert next(renewal).bearer == token()
    play(agent._releasing(), problem(401, "token verification failed"))
    assert agent.ended
    request = renewal.send(reply(access_token=fresh, expires_in=300))
    assert (request.path, request.bearer) == (RELEASE, fresh)
    with pytest.raises(StopIteration):
        renewal.send(problem(500))
    # It may be tried again, and what is tried is the newest token.
    assert agent.released
    assert not agent.ended
    (again,), _ = play(agent._releasing(), problem(401, "token verification failed"))
    assert again.bearer == fresh
    assert agent.ended


def test_agent_of_a_parent_process(
    broker: DevBroker, credentials: AppCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
        agent = app.create_agent(*ARGUMENTS)
        with monkeypatch.context() as fork:
            fork.setattr("os.getpid", lambda: -1)
            assert agent.bearer_header
            for call in (agent.renew, agent.release):
                with pytest.raises(AgentWritError, match="before a fork"):
                    call()
            agent.renew_if_due()  # not due
            with agent:
                pass
            assert not agent.released
        assert app.validate(agent.access_token).valid
        agent.release()


def test_async_agent_of_another_loop(broker: DevBroker, credentials: AppCredentials) -> None:
    app = AsyncAgentWritApp(broker.url, credentials.client_id, credentials.client_secret)

    async def create() -> Any:
        agent = await app.create_agent(*ARGUMENTS)
        await agent.renew()
        with pytest.raises(AgentWritError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, agent.renew())
        return agent

    agent = asyncio.run(create())
    asyncio.run(agent.renew())  # the loop of before has ended
    asyncio.run(agent.release())


def test_release_at_exit(broker: DevBroker, credentials: AppCredentials, issued: list[str]) -> None:
    """An interpreter that is ending starts no threads."""
    program = (
        "import atexit, sys; from agentwrit_guard import AgentWritApp\n"
        "app = AgentWritApp(*sys.argv[1:])\n"
        "agent = app.create_agent('o', 't', ['read:data:1'], auto_renew=True)\n"
        "atexit.register(agent.release)"
    )
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", program]
    ended = subprocess.run(
        [*command, broker.url, credentials.client_id, credentials.client_secret], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert alive(broker, issued) == []


async def test_login_wait_ends_with_the_app(broker: DevBroker) -> None:
    with DevBroker(clock=lambda: 1_800_000_000.0) as stopped:
        credentials = stopped.app(scopes=["read:data:*"])
        for _ in range(3):
            with AgentWritApp(stopped.url, credentials.client_id, credentials.client_secret) as app:
                await asyncio.to_thread(app.create_agent, *ARGUMENTS)
        waiting = AsyncAgentWritApp(stopped.url, credentials.client_id, credentials.client_secret, login_wait=600)
        task = asyncio.create_task(waiting.create_agent(*ARGUMENTS))
        while not waiting.caller.tasks:
            await asyncio.sleep(0.001)
        await waiting.aclose()
        with pytest.raises(AgentWritError, match="is closed"):
            await task
