"""What the auth of an HTTP client needs of an agent: a header that is good, and a second try after a renewal."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import anyio.to_thread

from agentwrit_guard.client.agent import Agent, AsyncAgent
from agentwrit_guard.client.delegation import AsyncDelegatedToken, DelegatedToken
from agentwrit_guard.core.redacted import Redacted
from agentwrit_guard.errors import ConfigurationError

Holder = Agent | AsyncAgent | DelegatedToken | AsyncDelegatedToken

_PORTS: Final = {"http": 80, "https": 443}


class Url(Protocol):
    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
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
    a second try with the new token. A 401 means that no handler ran.
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
        if status != 401 or token is None or token == self._holder.access_token or _released(self._holder):
            return False
        try:
            _ = request.content
        except RuntimeError:
            # A body that is streamed is gone by now.
            return False
        self._signed(request)
        return True

    def _signed(self, request: Request) -> str:
        header = self._holder.bearer_header
        request.headers.update(header)
        return Redacted(header["Authorization"].removeprefix("Bearer "))

    def _concerns(self, request: Request) -> bool:
        url = request.url
        return self._origins is None or (url.scheme, url.host, url.port or _PORTS.get(url.scheme)) in self._origins


def _released(holder: Holder) -> bool:
    return isinstance(holder, (Agent, AsyncAgent)) and holder.released


def _origins(origins: Iterable[str]) -> frozenset[tuple[str, str, int | None]]:
    if isinstance(origins, str):
        raise ConfigurationError("origins must be a list of origins, not one text")
    return frozenset(_origin(text) for text in origins)


def _origin(text: object) -> tuple[str, str, int | None]:
    try:
        url = urlsplit(text if isinstance(text, str) else "")
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in _PORTS or not url.hostname or url.path not in ("", "/") or url.query or "@" in url.netloc:
        raise ConfigurationError(f"origins has an entry that is not like https://api.example or with a port: {text!r}")
    return url.scheme, url.hostname, port or _PORTS[url.scheme]
