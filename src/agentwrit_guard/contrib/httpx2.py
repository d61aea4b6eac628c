"""httpx2, the fork of httpx that MCP clients use: `auth=AgentAuth(agent)` sends requests as an agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable

import httpx2

from agentwrit_guard.client.bearer import Bearer, Holder

__all__ = ["AgentAuth"]


class AgentAuth(httpx2.Auth):
    """As `agentwrit_guard.contrib.httpx.AgentAuth`, for `httpx2.Client` and `httpx2.AsyncClient`."""

    def __init__(self, agent: Holder, *, origins: Iterable[str] | None = None) -> None:
        self._bearer = Bearer(agent, origins)

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        token = self._bearer.sign(request)
        response = yield request
        if self._bearer.sign_again(request, response.status_code, token):
            yield request

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = await self._bearer.asign(request)
        response = yield request
        if await self._bearer.asign_again(request, response.status_code, token):
            yield request
