"""One request and one answer over HTTP: what is sent, what is taken, and the name of what goes wrong (threats B)."""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

import httpcore

from agentwrit_guard._version import __version__
from agentwrit_guard.core.wire import MAX_REPLY, BrokerReply, BrokerRequest
from agentwrit_guard.errors import BrokerUnavailable
from agentwrit_guard.transport import LinkOptions

# What the HTTP library raises, and what it lets through: ValueError is that of a name no resolver takes.
FAULTS: Final = (
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable, OSError, RuntimeError, ValueError,
)  # fmt: skip


# The HTTP library logs what the peer says, its headers and reason phrase. A broker, or what stands between, may repeat
# the token there.
_TALKATIVE: Final = tuple(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ours: contextvars.ContextVar[bool] = contextvars.ContextVar("agentwrit_guard_exchange", default=False)


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get()


for _name in _TALKATIVE:
    logging.getLogger(_name).addFilter(_NotOurs())


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Within, the HTTP library logs nothing from this thread or task; what others do with it is logged as ever."""
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


class Exchange:
    """What both runners say alike to one broker. What one answer says changes no other request: no cookie is kept and
    no redirect followed."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        parts = urlsplit(options.base_url)
        host = parts.hostname or ""
        own_port = None if parts.port == _DEFAULT_PORTS[parts.scheme] else parts.port
        self._place = parts.scheme.encode(), host.encode(), parts.port
        self._path = parts.path
        shown = f"[{host}]" if ":" in host else host
        self._headers = (
            (b"host", (shown if own_port is None else f"{shown}:{own_port}").encode()),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"connection", b"keep-alive"),
            (b"user-agent", (options.user_agent or f"agentwrit-guard/{__version__}").encode()),
        )

    def request(self, request: BrokerRequest, seconds: float | None = None) -> httpcore.Request:
        """`seconds` for each operation of the library; None for none."""
        headers = [*self._headers]
        if request.body is not None or request.method == "POST":
            headers.append((b"content-length", str(len(request.body or b"")).encode()))
        if request.body is not None:
            headers.append((b"content-type", b"application/json"))
        if request.bearer is not None:
            headers.append((b"authorization", f"Bearer {request.bearer}".encode()))
        scheme, host, port = self._place
        target = (self._path + request.path).encode("ascii")
        url = httpcore.URL(scheme=scheme, host=host, port=port, target=target)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        return httpcore.Request(
            request.method, url, headers=headers, content=request.body, extensions={"timeout": timeout}
        )

    def fault(self, error: Exception) -> BrokerUnavailable:
        # The exception of the HTTP library holds the request, and that the token: name it, do not chain it.
        name, base_url = type(error).__name__, self._options.base_url
        if isinstance(error, httpcore.TimeoutException):
            return self.late()
        if isinstance(error, httpcore.ConnectError):
            kind = "tls" if "SSL" in str(error) or "CERTIFICATE" in str(error) else "connect"
            return BrokerUnavailable(kind, f"cannot connect to the broker at {base_url} ({error})")
        retryable = isinstance(error, (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError))
        return BrokerUnavailable(
            "reset", f"the exchange with the broker at {base_url} broke off ({name})", retryable=retryable
        )

    def late(self) -> BrokerUnavailable:
        return BrokerUnavailable("timeout", f"the broker at {self._options.base_url} did not answer in time")


def closed() -> BrokerUnavailable:
    return BrokerUnavailable("closed", "the connections were closed while the broker was asked")


def uncoded(response: httpcore.Response) -> httpcore.Response:
    codings = [value.strip().lower() for name, value in response.headers if name.lower() == b"content-encoding"]
    if any(coding != b"identity" for coding in codings):
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


def as_reply(response: httpcore.Response, body: bytes) -> BrokerReply:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # Of a repeated one all values, as RFC 9110 (5.3) reads them.
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return BrokerReply(response.status, headers, body)
