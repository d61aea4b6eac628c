"""One way to say things to three clients: the official SDK, ours, and ours for asyncio."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import agentwrit
import agentwrit.errors

import agentwrit_guard
from agentwrit_guard.client import AppCredentials


@dataclass(frozen=True)
class Kind:
    """A client's classes. Its tokens are taken from agents and delegations alike as `access_token`."""

    name: str
    app: Any
    errors: Any

    def open(self, url: str, credentials: AppCredentials) -> Any:
        return self.app(url, credentials.client_id, credentials.client_secret)

    async def close(self, app: Any) -> None:
        await done(app.aclose() if hasattr(app, "aclose") else app.close())

    async def delegate(self, app: Any, holder: Any, bearer: Any, to: str, scope: list[str], **ttl: int) -> Any:
        """The next hop: `bearer` is what `holder` was given, by registration or by delegation."""
        if self.name == "sdk" and bearer is not holder:
            # Its delegated tokens are values only; an agent of its own has to be made to pass one on.
            task = (holder.task_id, holder.orch_id)
            bearer = agentwrit.Agent(app, holder.agent_id, bearer.access_token, bearer.expires_in, scope, *task)
        return await done(bearer.delegate(to, scope, **ttl))


SDK = Kind("sdk", agentwrit.AgentWritApp, agentwrit.errors)
SYNC = Kind("sync", agentwrit_guard.AgentWritApp, agentwrit_guard.errors)
ASYNC = Kind("async", agentwrit_guard.AsyncAgentWritApp, agentwrit_guard.errors)


async def done(value: Any) -> Any:
    """What a call of either kind of client comes to."""
    return await value if inspect.isawaitable(value) else value
