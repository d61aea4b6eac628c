"""An agent that was created here: its token, its renewal, its end, and what it passes on."""

from __future__ import annotations

import contextlib
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Generic

from agentwrit_guard.client import flows
from agentwrit_guard.client.answers import token_claims
from agentwrit_guard.client.background import RenewalTask, RenewalThread
from agentwrit_guard.client.callers import AsyncCaller, C, Caller
from agentwrit_guard.client.delegation import AsyncDelegatedToken, DelegatedToken, delegation, header
from agentwrit_guard.client.freshness import Freshness
from agentwrit_guard.client.shared import Shared
from agentwrit_guard.client.values import Delegated
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AgentWritError, ProblemResponseError, TransportError

if TYPE_CHECKING:
    from agentwrit_guard.client.app import App

_events = logging.getLogger("agentwrit_guard.events")


class _Agent(Generic[C]):
    """Everything that agents decide: tokens change hands in flows, so that both kinds do it alike.

    Invariant: a token that a renewal brings after the release was asked for is released as well.
    """

    def __init__(
        self,
        app: App[C],
        agent_id: str,
        access_token: str,
        expires_in: int,
        scope: list[str],
        task_id: str,
        orch_id: str,
    ) -> None:
        self._caller: C = app.caller
        self.agent_id = agent_id
        self.access_token: str = Redacted(access_token)
        self.expires_in: int = expires_in
        self.scope = scope
        self.task_id = task_id
        self.orch_id = orch_id
        self._freshness = Freshness(app.caller.clock, expires_in)
        self._background: RenewalThread | RenewalTask | None = None
        self._released = False
        self._ended = False
        self._renewing = Shared(self._renewal)
        self._releasing = Shared(self._ending)

    def __repr__(self) -> str:
        state = " released" if self._released else ""
        return f"<{type(self).__name__} {self.agent_id} scope={self.scope!r} expires_in={self.expires_in}{state}>"

    @property
    def expires_at(self) -> int:
        """When the present token ends, in Unix seconds by the broker's clock."""
        claims = token_claims(self.access_token)
        if claims is None:
            raise AgentWritError(f"the token of {self.agent_id} cannot be read")
        return claims.exp

    @property
    def released(self) -> bool:
        return self._released

    @property
    def renewal_due_in(self) -> float:
        """Seconds until `renew_if_due` would renew, by this machine's clock; 0 if it would now."""
        return self._freshness.due_in()

    @property
    def renewal_due(self) -> bool:
        return self.renewal_due_in == 0

    @property
    def bearer_header(self) -> dict[str, str]:
        """The header of a request made as this agent. Read it anew for each: a renewal changes it."""
        return header(self._live())

    def _live(self) -> str:
        if self._released:
            raise AgentWritError(f"agent {self.agent_id} is released")
        return self.access_token

    def _renewal(self) -> Flow[None]:
        asked = self._freshness.now()
        fresh = yield from flows.renew(self.agent_id, self._live())
        self.access_token, self.expires_in = fresh.access_token, fresh.expires_in
        self._freshness.began(asked, fresh.expires_in)
        if self._released:
            yield from flows.release(fresh.access_token)

    def _renewal_if_due(self) -> Flow[None]:
        # Looked at once more, because whoever made the last turn may have ended it after the caller looked.
        if self.renewal_due:
            yield from self._renewal()

    def _put_off(self, error: AgentWritError) -> bool:
        """Whether a renewal that failed may be tried later, because the broker is at fault and the token still good."""
        passing = isinstance(error, ProblemResponseError) and error.status_code >= 429
        if not (passing or isinstance(error, TransportError)) or self._freshness.over():
            return False
        self._freshness.failed()
        _events.warning(
            "agent %s could not be renewed, next try in %.0f s: %s", self.agent_id, self.renewal_due_in, error,
            extra={"event": "renewal_failed"},
        )  # fmt: skip
        return True

    def _ending(self) -> Flow[None]:
        if self._ended:
            return
        self._released = True
        try:
            yield from flows.release(self.access_token)
        except BaseException:
            self._released = False
            raise
        self._ended = True
        if self._background is not None:
            self._background.stop()

    def _passing_on(self, delegate_to: str, scope: list[str] | tuple[str, ...], ttl: int | None) -> Flow[Delegated]:
        return delegation(self._live(), delegate_to, scope, ttl)


class Agent(_Agent[Caller]):
    """A registered agent, made by `AgentWritApp.create_agent`. Threads may share it.

    `with agent:` releases it at the end; an error from the block comes first. `scope` and `expires_in` (seconds)
    are what the token says. Only with `auto_renew=True` is a token renewed by itself.
    """

    def renew_in_background(self) -> None:
        self._background = RenewalThread(self, self._caller)

    def renew(self) -> None:
        """Change the token for a new one with the same lifetime. Concurrent calls make one renewal.

        The old token is dead at once. If no answer came (TransportError), both may be lost: create a new agent.
        """
        self._live()
        self._caller.once(self._renewing)

    def renew_if_due(self) -> None:
        """Renew if the token is about to end: in its last 30 seconds, or in the last third of a short life.

        Cheap otherwise. While the token is still good, a broker that cannot be reached is no error: there is a
        warning in the log, and the next try comes later. AuthenticationError if the broker will not renew.
        """
        self._live()
        if self.renewal_due:
            try:
                self._caller.once(self._renewing, self._renewal_if_due)
            except AgentWritError as error:
                if not self._put_off(error):
                    raise

    def release(self) -> None:
        """End the token. Nothing happens if it has ended already; after an error it may be tried again."""
        if not self._ended:
            self._caller.once(self._releasing)

    def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> DelegatedToken:
        """A token for the agent `delegate_to` with scope that this one holds, for `ttl` seconds (the broker's 60).

        AuthorizationError if the scope is wider or the chain too long, ProblemResponseError 404 if the broker does
        not know the delegate (agents registered before its restart are forgotten). The broker does not bound `ttl`
        by this agent's own time.
        """
        return DelegatedToken(*self._caller.run(self._passing_on(delegate_to, scope, ttl)), self._caller)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _second_to(error):
            self.release()


class AsyncAgent(_Agent[AsyncCaller]):
    """As Agent, made by `AsyncAgentWritApp.create_agent`. A cancelled renewal or release is still carried through."""

    def renew_in_background(self) -> None:
        self._background = RenewalTask(self, self._caller)

    async def renew(self) -> None:
        self._live()
        await self._caller.once(self._renewing)

    async def renew_if_due(self) -> None:
        self._live()
        if self.renewal_due:
            try:
                await self._caller.once(self._renewing, self._renewal_if_due)
            except AgentWritError as error:
                if not self._put_off(error):
                    raise

    async def release(self) -> None:
        if not self._ended:
            await self._caller.once(self._releasing)

    async def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> AsyncDelegatedToken:
        return AsyncDelegatedToken(*await self._caller.run(self._passing_on(delegate_to, scope, ttl)), self._caller)

    async def __aenter__(self) -> AsyncAgent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _second_to(error):
            await self.release()


def _second_to(error: BaseException | None) -> contextlib.AbstractContextManager[None]:
    """A release that fails must not hide the error which ended the block."""
    return contextlib.nullcontext() if error is None else contextlib.suppress(AgentWritError)
