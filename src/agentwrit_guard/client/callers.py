"""A link with a login: what apps, agents and operators run their flows through. Alike but for `await`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from agentwrit_guard.client.flows import LoginRefused
from agentwrit_guard.client.patience import Patience
from agentwrit_guard.client.session import Session
from agentwrit_guard.client.shared import Shared
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AgentWritError, RateLimitError
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.transport import LinkOptions

T = TypeVar("T")
C = TypeVar("C", "Caller", "AsyncCaller")

# A call under way is joined whatever its age, so none is measured. One clock read by each caller would not do: of two
# racing callers, the one who read it first would find the other's call to be of the future, and make its own.
_WHENEVER: Final = Instant(0.0, 0.0)


class _Base:
    """What both callers hold. `login_wait` is in seconds, see `Patience`."""

    def __init__(self, options: LinkOptions, session: Session, login_wait: float = 0.0) -> None:
        self.base_url: str = options.base_url
        self.clock: Callable[[], float] = session.clock
        self.closed = False
        self._timeout = options.timeout
        self._session = session
        self._login: Shared[str] = Shared()
        self._patience = Patience(login_wait, session.clock)

    def _check_open(self) -> None:
        """After close a link would open anew, and nobody would close it."""
        if self.closed:
            raise AgentWritError(f"the client for {self.base_url} is closed")


class Caller(_Base):
    """Threads may share it."""

    def __init__(self, options: LinkOptions, session: Session, login_wait: float = 0.0) -> None:
        super().__init__(options, session, login_wait)
        self._link = Link(options)
        self.wait: Callable[[threading.Event, float], bool] = threading.Event.wait
        self._closing = threading.Event()
        self.stops: weakref.WeakSet[threading.Event] = weakref.WeakSet((self._closing,))

    def run(self, flow: Flow[T], *, until: float | None = None) -> T:
        """What the flow returns, by `until` (monotonic seconds) or within the timeout."""
        self._check_open()
        return self._link.run(flow, timeout=None if until is None else until - time.monotonic())

    def once(self, work: Shared[T], start: Callable[[], Flow[T]]) -> T:
        """What the work returns, for all who ask while it is under way; `start` begins it if it is not."""
        self._check_open()
        flow = functools.partial(work.flow, start)
        return self._link.share(work.key, flow, now=_WHENEVER, max_age=1)

    def logged_in(self, work: Callable[[str], Flow[T]]) -> T:
        """What the flow returns that `work` makes of a login; with a new login, once, if the broker refused it."""
        token, until = self._token(time.monotonic() + self._timeout)
        try:
            return self.run(work(token), until=until)
        except LoginRefused:
            self._session.refused(token)
        token, until = self._token(until)
        return self.run(work(token), until=until)

    def _token(self, until: float) -> tuple[str, float]:
        """The login's token, and `until` put off by what was waited for it."""
        patience = self._patience
        deadline = patience.deadline()
        while True:
            token = self._session.token()
            if token is not None:
                return token, until
            left = patience.left(deadline)
            self._check_open()
            if left:
                self.wait(self._closing, left)
                until += left
                continue
            try:
                token = self.once(self._login, self._session.login)
            except RateLimitError as refusal:
                patience.refused(refusal, deadline)
            else:
                patience.granted()
                return token, until

    def close(self) -> None:
        self.closed = True
        for stop in list(self.stops):
            stop.set()
        self._link.close()


class AsyncCaller(_Base):
    """Tasks may share it. A task that is cancelled leaves a shared call alone."""

    def __init__(self, options: LinkOptions, session: Session, login_wait: float = 0.0) -> None:
        super().__init__(options, session, login_wait)
        self._link = AsyncLink(options)
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.tasks: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()

    async def run(self, flow: Flow[T], *, until: float | None = None) -> T:
        self._check_open()
        return await self._link.run(flow, timeout=None if until is None else until - time.monotonic())

    async def once(self, work: Shared[T], start: Callable[[], Flow[T]]) -> T:
        self._check_open()
        flow = functools.partial(work.flow, start)
        return await self._link.share(work.key, flow, now=_WHENEVER, max_age=1)

    async def logged_in(self, work: Callable[[str], Flow[T]]) -> T:
        token, until = await self._token(time.monotonic() + self._timeout)
        try:
            return await self.run(work(token), until=until)
        except LoginRefused:
            self._session.refused(token)
        token, until = await self._token(until)
        return await self.run(work(token), until=until)

    async def _token(self, until: float) -> tuple[str, float]:
        patience = self._patience
        deadline = patience.deadline()
        while True:
            token = self._session.token()
            if token is not None:
                return token, until
            left = patience.left(deadline)
            self._check_open()
            if left:
                await self._rest(left)
                until += left
                continue
            try:
                token = await self.once(self._login, self._session.login)
            except RateLimitError as refusal:
                patience.refused(refusal, deadline)
            else:
                patience.granted()
                return token, until

    async def _rest(self, seconds: float) -> None:
        """Sleep, or until the app is closed."""
        resting: asyncio.Future[None] = asyncio.ensure_future(self.sleep(seconds))
        self.tasks.add(resting)
        try:
            await asyncio.wait((resting,))
        finally:
            resting.cancel()

    async def aclose(self) -> None:
        """A renewal or release that is under way is carried through first, whoever has given up waiting for it."""
        self.closed = True
        for task in list(self.tasks):
            # Of another loop that has ended, the tasks have too.
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)
        try:
            await self._link.drain()
        finally:
            await self._link.aclose()
