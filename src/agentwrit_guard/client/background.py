"""Renewal without being asked: a thread, or a task, for each agent that wants it.

They hold the agent only while they renew it, so that one which is dropped can go, and is renewed no more. They end
with its release, with the close of its app, and when the broker will not renew it: then there is a warning, and
requests find out by a 401.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Final

from agentwrit_guard.errors import AgentWritError

if TYPE_CHECKING:
    from agentwrit_guard.client.agent import Agent, AsyncAgent
    from agentwrit_guard.client.callers import AsyncCaller, Caller

_WHILE_RELEASED: Final = 1.0

_events = logging.getLogger("agentwrit_guard.events")


class RenewalThread:
    """For an `Agent`. A forked child has no such thread."""

    def __init__(self, agent: Agent, caller: Caller) -> None:
        self._stop = threading.Event()
        self._caller = caller
        # Without a callback: it could run in the middle of anything, under any lock.
        self._agent = weakref.ref(agent)
        caller.stops.add(self._stop)
        threading.Thread(target=self._run, name="agentwrit-renewal", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._caller.wait(self._stop, self._pause()) and self._renewed():
            pass

    def _renewed(self) -> bool:
        agent = self._agent()
        if agent is None:
            return False
        try:
            agent.renew_if_due()
        except AgentWritError as error:
            return _goes_on(agent, self._caller, error)
        return True

    def _pause(self) -> float:
        return _pause(self._agent())


class RenewalTask:
    """For an `AsyncAgent`, on the event loop that created it."""

    def __init__(self, agent: AsyncAgent, caller: AsyncCaller) -> None:
        self._caller = caller
        self._agent = weakref.ref(agent)
        self._task = asyncio.get_running_loop().create_task(self._run())
        caller.tasks.add(self._task)

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        await self._caller.sleep(self._pause())
        while await self._renewed():
            await self._caller.sleep(self._pause())

    async def _renewed(self) -> bool:
        agent = self._agent()
        if agent is None:
            return False
        try:
            await agent.renew_if_due()
        except AgentWritError as error:
            return _goes_on(agent, self._caller, error)
        return True

    def _pause(self) -> float:
        return _pause(self._agent())


def _pause(agent: Agent | AsyncAgent | None) -> float:
    """Until the next renewal is due. An agent whose release is being tried may yet have to be renewed."""
    if agent is None:
        return 0.0
    return max(agent.renewal_due_in, _WHILE_RELEASED) if agent.released else agent.renewal_due_in


def _goes_on(agent: Agent | AsyncAgent, caller: Caller | AsyncCaller, error: AgentWritError) -> bool:
    """Whether there is anything left to renew after an error."""
    if agent.released and not agent.ended and not caller.closed:
        return True
    _gave_up(agent, caller, error)
    return False


def _gave_up(agent: Agent | AsyncAgent, caller: Caller | AsyncCaller, error: AgentWritError) -> None:
    if not agent.released and not caller.closed:
        _events.warning("agent %s is no longer renewed: %s", agent.agent_id, error, extra={"event": "renewal_ended"})
