"""A link with a login: what apps, agents and operators run their flows through. Alike but for `await`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from agentwrit_guard.client.flows import LoginRefused
from agentwrit_guard.client.session import Session
from agentwrit_guard.client.shared import Shared
from agentwrit_guard.core.cache import Instant
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AgentWritError
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.transport import LinkOptions

T = TypeVar("T")
C = TypeVar("C", "Caller", "AsyncCaller")

# A call under way is joined whatever its age, so none is measured. One clock read by each caller would not do: of two
# racing callers, the one who read it first would find the other's call to be of the future, and make its own.
_WHENEVER: Final = Instant(0.0, 0.0)


class _Base:
    """What both callers hold."""

    def __init__(self, options: LinkOptions, session: Session) -> None:
        self.base_url: str = options.base_url
        self._timeout = options.timeout
        self._session = session
        self._login = Shared(session.login)
        self._closed = False

    def _check_open(self) -> None:
        """After close a link would open anew, and nobody would close it."""
        if self._closed:
            raise AgentWritError(f"the client for {self.base_url} is closed")


class Caller(_Base):
    """Threads may share it."""

    def __init__(self, options: LinkOptions, session: Session) -> None:
        super().__init__(options, session)
        self._link = Link(options)

    def run(self, flow: Flow[T], *, until: float | None = None) -> T:
        """What the flow returns, by `until` (monotonic seconds) or within the timeout."""
        self._check_open()
        return self._link.run(flow, timeout=None if until is None else until - time.monotonic())

    def once(self, work: Shared[T]) -> T:
        """What the work returns, for all who ask while it is under way."""
        self._check_open()
        return self._link.share(work.key, work.flow, now=_WHENEVER, max_age=1)

    def logged_in(self, work: Callable[[str], Flow[T]]) -> T:
        """What the flow returns that `work` makes of a login; with a new login, once, if the broker refused it."""
        until = time.monotonic() + self._timeout
        token = self._token()
        try:
            return self.run(work(token), until=until)
        except LoginRefused:
            self._session.refused(token)
        return self.run(work(self._token()), until=until)

    def _token(self) -> str:
        token = self._session.token()
        return self.once(self._login) if token is None else token

    def close(self) -> None:
        self._closed = True
        self._link.close()


class AsyncCaller(_Base):
    """Tasks may share it. A task that is cancelled leaves a shared call alone."""

    def __init__(self, options: LinkOptions, session: Session) -> None:
        super().__init__(options, session)
        self._link = AsyncLink(options)

    async def run(self, flow: Flow[T], *, until: float | None = None) -> T:
        self._check_open()
        return await self._link.run(flow, timeout=None if until is None else until - time.monotonic())

    async def once(self, work: Shared[T]) -> T:
        self._check_open()
        return await self._link.share(work.key, work.flow, now=_WHENEVER, max_age=1)

    async def logged_in(self, work: Callable[[str], Flow[T]]) -> T:
        until = time.monotonic() + self._timeout
        token = await self._token()
        try:
            return await self.run(work(token), until=until)
        except LoginRefused:
            self._session.refused(token)
        return await self.run(work(await self._token()), until=until)

    async def _token(self) -> str:
        token = self._session.token()
        return await self.once(self._login) if token is None else token

    async def aclose(self) -> None:
        self._closed = True
        await self._link.aclose()
