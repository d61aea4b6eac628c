"""Agents that were created here: renew, release, pass on. Alike but for `await`."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from agentwrit_guard.client.background import RenewalTask, RenewalThread
from agentwrit_guard.client.callers import AsyncCaller, Caller
from agentwrit_guard.client.delegation import AsyncDelegatedToken, DelegatedToken, delegation
from agentwrit_guard.client.turns import AgentBase
from agentwrit_guard.errors import AgentWritError, AuthenticationError


class Agent(AgentBase[Caller]):
    """A registered agent, made by `AgentWritApp.create_agent`. Threads may share it.

    `with agent:` releases it at the end; an error from the block comes first. `scope` and `expires_in` (seconds)
    are what the token says. Only with `auto_renew=True` is a token renewed by itself. A forked child may send the
    token, but not renew or release it.
    """

    def renew_in_background(self) -> None:
        self._background = RenewalThread(self, self._caller)

    def renew(self) -> None:
        """Change the token for a new one with the same lifetime. Concurrent calls make one renewal.

        The old token is dead at once. If no answer came (TransportError), both may be lost: create a new agent.
        """
        self._own()
        while not self._renewed(self._caller.once(self._turns, self._renewing)):
            self._live()

    def renew_if_due(self) -> None:
        """Renew if the token is about to end: in its last 30 seconds, or in the last third of a short life.

        Cheap otherwise. While the token is still good, a broker that cannot be reached is no error: there is a
        warning in the log, and the next try comes later. AuthenticationError if the broker will not renew.
        """
        self._live()
        while self.renewal_due:
            self._own()
            if self._renewed_or_put_off(self._caller.once(self._turns, self._renewing_if_due)):
                return

    def release(self) -> None:
        """End the token. Nothing happens if it has ended already; after an error it may be tried again.

        A renewal that is under way comes first, and what it brings is what ends.
        """
        while not self._ended:
            if not self._released:
                self._own()
            self._released_by(self._caller.once(self._turns, self._releasing))

    def settle(self) -> None:
        """Wait until no renewal or release is under way."""
        self._caller.once(self._turns, self._waiting)

    def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> DelegatedToken:
        """A token for the agent `delegate_to` with scope that this one holds, for `ttl` seconds (the broker's 60).

        AuthorizationError if the scope is wider or the chain too long, ProblemResponseError 404 if the broker does
        not know the delegate (agents registered before its restart are forgotten). The broker does not bound `ttl`
        by this agent's own time.
        """
        held = self._live()
        try:
            given = self._caller.run(delegation(held, delegate_to, scope, ttl))
        except AuthenticationError:
            self.settle()
            if not self._changed(held):
                raise
            given = self._caller.run(delegation(self._live(), delegate_to, scope, ttl))
        return DelegatedToken(*given, self._caller)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._inherited:
            with _second_to(error):
                self.release()


class AsyncAgent(AgentBase[AsyncCaller]):
    """As Agent, made by `AsyncAgentWritApp.create_agent`. A cancelled renewal or release is still carried through.

    It belongs to the event loop that it is first used on. AgentWritError on another, while that one lives.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def _own(self) -> str:
        here = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = here
        if self._loop is not here:
            raise AgentWritError(f"agent {self.agent_id} belongs to another event loop")
        return super()._own()

    def renew_in_background(self) -> None:
        self._background = RenewalTask(self, self._caller)

    async def renew(self) -> None:
        self._own()
        while not self._renewed(await self._caller.once(self._turns, self._renewing)):
            self._live()

    async def renew_if_due(self) -> None:
        self._live()
        while self.renewal_due:
            self._own()
            if self._renewed_or_put_off(await self._caller.once(self._turns, self._renewing_if_due)):
                return

    async def release(self) -> None:
        while not self._ended:
            if not self._released:
                self._own()
            self._released_by(await self._caller.once(self._turns, self._releasing))

    async def settle(self) -> None:
        await self._caller.once(self._turns, self._waiting)

    async def delegate(
        self, delegate_to: str, scope: list[str] | tuple[str, ...], *, ttl: int | None = None
    ) -> AsyncDelegatedToken:
        held = self._live()
        try:
            given = await self._caller.run(delegation(held, delegate_to, scope, ttl))
        except AuthenticationError:
            await self.settle()
            if not self._changed(held):
                raise
            given = await self._caller.run(delegation(self._live(), delegate_to, scope, ttl))
        return AsyncDelegatedToken(*given, self._caller)

    async def __aenter__(self) -> AsyncAgent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._inherited:
            with _second_to(error):
                await self.release()


def _second_to(error: BaseException | None) -> contextlib.AbstractContextManager[None]:
    """A release that fails must not hide the error which ended the block."""
    return contextlib.nullcontext() if error is None else contextlib.suppress(AgentWritError)
