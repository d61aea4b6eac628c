"""httpx: `auth=AgentAuth(agent)` sends requests as an agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable

import httpx

from agentwrit_guard.client.bearer import Bearer, Holder

__all__ = ["AgentAuth"]


class AgentAuth(httpx.Auth):
    """Sends the bearer token of an agent or of a delegated token, and renews an agent's before it ends.

    For a client or a single request: `httpx.Client(auth=AgentAuth(agent))`, with `httpx.AsyncClient` for an
    AsyncAgent or an Agent. Concurrent requests make one renewal; one that was refused with 401 because its token was
    renewed meanwhile is sent once more, unless its body is streamed or has files. `origins`, such as `["https://api.example"]`,
    are the only ones that get the token: requests elsewhere go without it. What renewing raises comes out of the
    request as AgentWritError.
    """

    def __init__(self, agent: Holder, *, origins: Iterable[str] | None = None) -> None:
        self._bearer = Bearer(agent, origins)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._bearer.sign(request)
        response = yield request
        if self._bearer.sign_again(request, response.status_code, token):
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._bearer.asign(request)
        response = yield request
        if await self._bearer.asign_again(request, response.status_code, token):
            yield request
