"""What the auth of an HTTP client needs of an agent: a header that is good, and a second try after a renewal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, MutableMapping
from typing import Final, Protocol

import anyio.to_thread

from agentwrit_guard.client.agent import Agent, AsyncAgent
from agentwrit_guard.client.delegation import AsyncDelegatedToken, DelegatedToken
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.errors import AgentWritError, ConfigurationError

Holder = Agent | AsyncAgent | DelegatedToken | AsyncDelegatedToken

_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII
)


class Url(Protocol):
    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...


class Request(Protocol):
    """What httpx and its fork have in common."""

    @property
    def url(self) -> Url: ...
    @property
    def headers(self) -> MutableMapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


class Bearer:
    """Signs requests as an agent. `origins`, if given, are the only places that get to see the token.

    A renewal kills the old token at once, so a request under way with it may be answered with 401: that one is worth
    a second try with the new token. Where a guard answers, a 401 means that no handler ran.
    """

    def __init__(self, holder: Holder, origins: Iterable[str] | None) -> None:
        if not isinstance(holder, Holder):
            raise ConfigurationError(f"agent must be an agent or a delegated token, got {type(holder).__name__}")
        self._holder = holder
        self._origins = None if origins is None else _origins(origins)

    def sign(self, request: Request) -> str | None:
        """Set the header, with a token that is renewed first if it is about to end. None for other origins."""
        if not self._concerns(request):
            return None
        if isinstance(self._holder, AsyncAgent):
            raise ConfigurationError("an AsyncAgent signs the requests of an AsyncClient; a Client needs an Agent")
        if isinstance(self._holder, Agent):
            self._holder.renew_if_due()
        return self._signed(request)

    async def asign(self, request: Request) -> str | None:
        """As `sign`, without blocking the event loop."""
        if not self._concerns(request):
            return None
        if isinstance(self._holder, AsyncAgent):
            await self._holder.renew_if_due()
        elif isinstance(self._holder, Agent) and self._holder.renewal_due:
            await anyio.to_thread.run_sync(self._holder.renew_if_due)
        return self._signed(request)

    def sign_again(self, request: Request, status: int, token: str | None) -> bool:
        """After the answer to a request signed with `token`: whether to send it once more, signed anew."""
        if status != 401 or token is None:
            return False
        if isinstance(self._holder, Agent):
            # Its renewal may have reached the broker, and not yet come back.
            with contextlib.suppress(AgentWritError):
                self._holder.settle()
        return self._signed_anew(request, token)

    async def asign_again(self, request: Request, status: int, token: str | None) -> bool:
        """As `sign_again`, without blocking the event loop."""
        if status != 401 or token is None:
            return False
        with contextlib.suppress(AgentWritError):
            if isinstance(self._holder, AsyncAgent):
                await self._holder.settle()
            elif isinstance(self._holder, Agent):
                await anyio.to_thread.run_sync(self._holder.settle)
        return self._signed_anew(request, token)

    def _signed_anew(self, request: Request, token: str) -> bool:
        if token == self._holder.access_token or _released(self._holder):
            return False
        try:
            _ = request.content
        except RuntimeError:
            # A body that is streamed, or has files, may be gone by now.
            return False
        self._signed(request)
        return True

    def _signed(self, request: Request) -> str:
        header = self._holder.bearer_header
        request.headers.update(header)
        return Redacted(header["Authorization"].removeprefix("Bearer "))

    def _concerns(self, request: Request) -> bool:
        url = request.url
        port = _PORTS.get(url.scheme) if url.port is None else url.port
        return self._origins is None or (url.scheme, url.raw_host.decode("ascii").lower(), port) in self._origins


def _released(holder: Holder) -> bool:
    return isinstance(holder, (Agent, AsyncAgent)) and holder.released


def _origins(origins: Iterable[str]) -> frozenset[tuple[str, str, int]]:
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise ConfigurationError(f"origins must be a list of origins, got {origins!r}")
    return frozenset(_origin(text) for text in origins)


def _origin(text: object) -> tuple[str, str, int]:
    """Scheme, host and port, the host as it is sent: an international name in its xn-- form."""
    match = _ORIGIN.fullmatch(text) if isinstance(text, str) else None
    if match is None or not 0 < (port := int(match["port"] or _PORTS[match["scheme"]])) < 65536:
        raise ConfigurationError(
            f"origins has an entry that is not like https://api.example, with a port if need be: {text!r}"
        )
    return match["scheme"], match["host"].strip("[]").lower(), port
