"""One request and one answer over HTTP: what is sent, what is taken, and the name of what goes wrong (threats B)."""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

from agentwrit_guard._version import __version__
from agentwrit_guard.core.wire import MAX_REPLY, BrokerReply, BrokerRequest
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.transport import LinkOptions

# What the HTTP library raises, and what it lets through: ValueError is that of a name no resolver takes.
FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError)


# The HTTP libraries log what the peer says: its reason phrase at INFO, its headers at DEBUG. A broker, or what stands
# between, may repeat the token there.
_TALKATIVE: Final = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
_ours: contextvars.ContextVar[bool] = contextvars.ContextVar("agentwrit_guard_exchange", default=False)


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get()


for _name in _TALKATIVE:
    logging.getLogger(_name).addFilter(_NotOurs())


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Within, the HTTP libraries log nothing from this thread or task; what others do with them is logged as ever."""
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


def client_settings() -> dict[str, Any]:
    """No proxy, no redirect, and no cookie: nothing that one answer says may change the next request."""
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return {"trust_env": False, "follow_redirects": False, "cookies": jar}


class Exchange:
    """What both runners say alike to one broker."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options

    def arguments(self, request: BrokerRequest) -> dict[str, Any]:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": self._options.user_agent or f"agentwrit-guard/{__version__}",
        }
        if request.body is not None:
            headers["content-type"] = "application/json"
        if request.bearer is not None:
            headers["authorization"] = f"Bearer {request.bearer}"
        return {
            "method": request.method,
            "url": self._options.base_url + request.path,
            "content": request.body,
            "headers": headers,
        }

    def fault(self, error: Exception) -> BrokerUnavailable:
        # The exception of the HTTP library holds the request, and that the token: name it, do not chain it.
        name, base_url = type(error).__name__, self._options.base_url
        if isinstance(error, httpx.TimeoutException):
            return self.late()
        if isinstance(error, httpx.ConnectError):
            kind = "tls" if "SSL" in str(error) or "CERTIFICATE" in str(error) else "connect"
            return BrokerUnavailable(kind, f"cannot connect to the broker at {base_url} ({error})")
        retryable = isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError))
        return BrokerUnavailable(
            "reset", f"the exchange with the broker at {base_url} broke off ({name})", retryable=retryable
        )

    def late(self) -> BrokerUnavailable:
        return BrokerUnavailable("timeout", f"the broker at {self._options.base_url} did not answer in time")


def closed() -> BrokerUnavailable:
    return BrokerUnavailable("closed", "the connections were closed while the broker was asked")


def uncoded(response: httpx.Response) -> httpx.Response:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BrokerUnavailable("encoding", "the broker's answer has a content encoding that was not asked for")
    return response


def grown(size: int, chunk: bytes) -> int:
    size += len(chunk)
    if size > MAX_REPLY:
        raise BrokerUnavailable("too_large", f"the broker's answer is over {MAX_REPLY} bytes")
    return size


def bounded(chunks: Iterable[bytes]) -> Iterable[bytes]:
    size = 0
    for chunk in chunks:
        size = grown(size, chunk)
        yield chunk


def as_reply(response: httpx.Response, body: bytes) -> BrokerReply:
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return BrokerReply(response.status_code, headers, body)
