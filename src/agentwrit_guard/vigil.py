"""Connections that last: whoever was let in stays only while a new request would be let in (threats R-18).

A `Vigil` is kept over one websocket or one streamed answer. Each message asks it, which costs a look at the clock and
at the deny list; now and then it asks the guard again, as a new request would. `Rounds` ask for those that are
silent, twice a second for all that are open in an event loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.engine import ANY_AGENT
from agentwrit_guard.guard import Guard

ROUND_EVERY: Final = 0.5
RETRY_AFTER: Final = 0.5

STALE: Final = "X-AgentWrit-Stale"
"""Header of an answer to an agent that could not be validated again, with the seconds since it last was."""

End = Callable[[Denied], Awaitable[None]]


class Vigil:
    """Over one connection, which `allowed` opened with the credentials in `authorization`, `since` now if not before.

    The guard is asked again `recheck_interval` seconds after it last said yes. If it cannot say, it is asked until
    twice that time has passed, and then the connection is over. What `stale_if_error` lets in is no yes: it holds for
    as long as a new request would be let in so.
    """

    def __init__(
        self, guard: Guard, authorization: Sequence[bytes], allowed: Allowed, since: float | None = None
    ) -> None:
        self._guard = guard
        self._authorization = authorization
        self._interval = guard.settings.recheck_interval or math.inf
        self._asking = False
        self.ended: Denied | None = None
        """Why the connection is over; None while it goes on."""
        since = guard.monotonic() if since is None else since
        self._confirm(allowed, since)
        if allowed.source == "stale" and self._interval < math.inf:
            self._ask_at, self._give_up_at = since + RETRY_AFTER, since

    def look(self) -> Denied | None:
        """Whether it is over by the token's `exp` or the deny list, for which nobody has to be asked."""
        if self.ended is None:
            try:
                verdict = self._guard.judge(self._allowed, ANY_AGENT)
            except Exception as error:
                verdict = self._unable(error)
            self.ended = verdict if isinstance(verdict, Denied) else None
        return self.ended

    @property
    def due(self) -> bool:
        """Whether it is time to ask the guard again, and nobody does."""
        return not self._asking and self._guard.monotonic() >= self._ask_at

    async def ask(self) -> Denied | None:
        """As `look`, after asking the guard again if that is due."""
        if self.look() is None and self.due:
            self._asking = True
            try:
                self._settle(await self._guard.acheck(self._authorization))
            except Exception as error:
                self._settle(self._unable(error))
            finally:
                self._asking = False
        return self.ended

    def ask_blocking(self) -> Denied | None:
        """As `ask`, in a thread."""
        if self.look() is None and self.due:
            try:
                self._settle(self._guard.check(self._authorization))
            except Exception as error:
                self._settle(self._unable(error))
        return self.ended

    def _confirm(self, allowed: Allowed, now: float) -> None:
        self._allowed = allowed
        self._ask_at = now + self._interval
        self._give_up_at = now + 2 * self._interval

    def _settle(self, decision: Allowed | Denied) -> None:
        now = self._guard.monotonic()
        if isinstance(decision, Allowed) and decision.source != "stale":
            self._confirm(decision, now)
        elif isinstance(decision, Allowed):
            self._ask_at = now + RETRY_AFTER
        elif decision.status != 503 or now >= self._give_up_at:
            self.ended = decision
        else:
            self._ask_at = now + RETRY_AFTER

    def _unable(self, error: Exception) -> Denied:
        """A fault in the guard itself is no yes (threats R-21)."""
        detail = {"message": f"an open connection could not be judged: {type(error).__name__}"}
        return refuse(Reason.BROKER_UNAVAILABLE, self._guard.realm, detail=detail)


class Rounds:
    """Ends silent connections: a timer for each event loop that has any, and a task for each question that is due."""

    def __init__(self) -> None:
        self._watched: dict[asyncio.AbstractEventLoop, dict[Vigil, End]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, vigil: Vigil, end: End) -> None:
        """Call `end` when the connection is over, once, unless it has left by then."""
        loop = asyncio.get_running_loop()
        watched = self._watched.get(loop)
        if watched is None:
            # Nobody left a loop that was closed in the middle of everything.
            for closed in [other for other in list(self._watched) if other.is_closed()]:
                self._watched.pop(closed, None)
            watched = self._watched[loop] = {}
            loop.call_later(ROUND_EVERY, self._go, loop)
        watched[vigil] = end

    def leave(self, vigil: Vigil) -> None:
        self._watched.get(asyncio.get_running_loop(), {}).pop(vigil, None)

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        watched = self._watched[loop]
        if not watched:
            del self._watched[loop]
            return
        loop.call_later(ROUND_EVERY, self._go, loop)
        for vigil in list(watched):
            if vigil.look() is not None or vigil.due:
                task = loop.create_task(self._attend(vigil, watched))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _attend(self, vigil: Vigil, watched: dict[Vigil, End]) -> None:
        denied = await vigil.ask()
        end = watched.pop(vigil, None) if denied is not None else None
        if denied is not None and end is not None:
            await end(denied)
