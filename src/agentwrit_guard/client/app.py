"""Apps: log in once, create agents, ask about tokens. Every call is a flow that both kinds run."""

from __future__ import annotations

import abc
import functools
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.client import checks, flows
from agentwrit_guard.client.agent import Agent, AsyncAgent
from agentwrit_guard.client.callers import AsyncCaller, C, Caller
from agentwrit_guard.client.options import from_environment, link_options
from agentwrit_guard.client.session import Session
from agentwrit_guard.client.values import HealthStatus, Order, ValidateResult
from agentwrit_guard.transport import LinkOptions

A = TypeVar("A", bound="App[Any]")


class App(abc.ABC, Generic[C]):
    """What both apps are made of. `caller` runs their flows and those of their agents."""

    caller: C

    def __init__(
        self,
        broker_url: str,
        client_id: str,
        client_secret: str,
        *,
        timeout: float = 10.0,
        user_agent: str | None = None,
        login_wait: float = 0.0,
        allow_http: bool = False,
        ca_file: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet. ConfigurationError names an argument that cannot be used."""
        self.client_id: str = checks.text("client_id", client_id)
        secret = client_secret = checks.secret("client_secret", client_secret)
        options = link_options(
            broker_url,
            timeout=timeout,
            allow_http=allow_http,
            user_agent=user_agent,
            ca_file=ca_file,
            client_cert=client_cert,
            client_key=client_key,
        )
        session = Session(lambda: flows.app_auth(client_id, secret), checks.clock(clock))
        self.caller = self._opened(options, session, checks.login_wait(login_wait))

    @classmethod
    def from_env(cls: type[A], **options: Any) -> A:
        """An app from AGENTWRIT_BROKER_URL, AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET as they are now.

        The names that say how the broker is reached count too (AGENTWRIT_ALLOW_HTTP, AGENTWRIT_CA_FILE,
        AGENTWRIT_CLIENT_CERT, AGENTWRIT_CLIENT_KEY). `options` are the constructor's and win. ConfigurationError
        names what is missing.
        """
        return cls(**from_environment(os.environ, options))

    @property
    def broker_url(self) -> str:
        """The broker's URL, without a trailing slash."""
        return self.caller.base_url

    @abc.abstractmethod
    def _opened(self, options: LinkOptions, session: Session, login_wait: float) -> C: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.client_id} at {self.caller.base_url}>"


class AgentWritApp(App[Caller]):
    """An app of the broker, by its client id and secret. Threads may share it, and should.

    It logs in on first use, keeps the login until shortly before its end, and makes one for all concurrent callers.
    The broker lets a client id log in three times at once and then ten times a minute, counted over all processes
    and over wrong secrets as well. Beyond that a call that needs a login raises RateLimitError with `retry_after` in
    seconds; with a `login_wait` it waits first, as long as the broker says and a random bit more, and raises only
    if that would take more than `login_wait` seconds. Keep one app a process.

    `timeout` is for a whole call, in seconds, that wait apart; a login that has to be repeated may take as much again.
    Answers of the broker that refuse are ProblemResponseErrors, the lack of an answer is a TransportError.
    """

    def _opened(self, options: LinkOptions, session: Session, login_wait: float) -> Caller:
        return Caller(options, session, login_wait)

    def create_agent(
        self,
        orch_id: str,
        task_id: str,
        requested_scope: list[str] | tuple[str, ...],
        *,
        private_key: Ed25519PrivateKey | None = None,
        max_ttl: int = 300,
        label: str | None = None,
        auto_renew: bool = False,
    ) -> Agent:
        """Register an agent and hold its token.

        The ids are of letters, digits, `.`, `_`, `-`, and each scope is `action:resource:identifier`; anything else
        is a ConfigurationError before a call. `max_ttl` is the lifetime of the token and of its renewals in
        seconds, which the broker may cut. Without a `private_key` one is made and forgotten. `label` is the name
        in the broker's audit log. AuthorizationError if the scope exceeds the app's ceiling.

        `auto_renew` keeps the token good until the agent is released, from a thread of its own (a task in async
        code). A request that is under way while its token is renewed may be refused: `contrib.httpx.AgentAuth`
        sends such a one again.
        """
        order = Order.checked(orch_id, task_id, requested_scope, private_key, max_ttl, label)
        renewing = checks.flag("auto_renew", auto_renew)
        agent = Agent(self, *self.caller.logged_in(functools.partial(flows.create_agent, order)))
        if renewing:
            agent.renew_in_background()
        return agent

    def validate(self, token: str) -> ValidateResult:
        """The broker's word on a token. TransportError means that nothing is known about it."""
        return self.caller.run(flows.validate(token))

    def health(self) -> HealthStatus:
        return self.caller.run(flows.health())

    def close(self) -> None:
        """Close the connections. Afterwards the app and its agents refuse to call; tokens live on until they end."""
        self.caller.close()

    def __enter__(self) -> AgentWritApp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncAgentWritApp(App[AsyncCaller]):
    """As AgentWritApp, for asyncio. Each event loop opens its own connections and closes them with `aclose`."""

    def _opened(self, options: LinkOptions, session: Session, login_wait: float) -> AsyncCaller:
        return AsyncCaller(options, session, login_wait)

    async def create_agent(
        self,
        orch_id: str,
        task_id: str,
        requested_scope: list[str] | tuple[str, ...],
        *,
        private_key: Ed25519PrivateKey | None = None,
        max_ttl: int = 300,
        label: str | None = None,
        auto_renew: bool = False,
    ) -> AsyncAgent:
        order = Order.checked(orch_id, task_id, requested_scope, private_key, max_ttl, label)
        renewing = checks.flag("auto_renew", auto_renew)
        agent = AsyncAgent(self, *await self.caller.logged_in(functools.partial(flows.create_agent, order)))
        if renewing:
            agent.renew_in_background()
        return agent

    async def validate(self, token: str) -> ValidateResult:
        return await self.caller.run(flows.validate(token))

    async def health(self) -> HealthStatus:
        return await self.caller.run(flows.health())

    async def aclose(self) -> None:
        await self.caller.aclose()

    async def __aenter__(self) -> AsyncAgentWritApp:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
