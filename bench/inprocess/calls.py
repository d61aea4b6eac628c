"""One request of an agent's, as a server hands it to an app: 12 headers, no body."""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agentwrit_guard.asgiscope import ASGIApp, Message, Scope
from agentwrit_guard.environ import Environ, WSGIApp
from bench.peers.tokens import CUSTOMER

PATH: Final = f"/customers/{CUSTOMER}"
_HOST, _PORT = "api.example.com", 8000
_HEADERS: Final = (
    ("host", _HOST),
    ("user-agent", "agent-runtime/2.4 (linux; x86_64)"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en"),
    ("connection", "keep-alive"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("cache-control", "no-cache"),
)


def asgi_scope(token: str | None) -> Scope:
    """Everything but the `state`, which a server makes anew for each request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": (_HOST, _PORT),
        "client": ("203.0.113.7", 40123),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in _with(token)],
    }


def wsgi_environ(token: str | None) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": _HOST,
        "SERVER_PORT": str(_PORT),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.7",
        "REMOTE_PORT": "40123",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in _with(token)},
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _with(token: str | None) -> list[tuple[str, str]]:
    credentials = [] if token is None else [("authorization", f"Bearer {token}")]
    return [*_HEADERS[:6], *credentials, *_HEADERS[6:]]


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ignored(message: Message) -> None:
    pass


def asgi_call(app: ASGIApp, token: str) -> Callable[[], Awaitable[None]]:
    """The request, again and again. Apps write into a scope, so that each gets a copy."""
    scope = asgi_scope(token)
    return lambda: app({**scope, "state": {}}, _receive, _ignored)


def wsgi_call(app: WSGIApp, token: str) -> Callable[[], None]:
    environ = wsgi_environ(token)

    def call() -> None:
        body = app({**environ}, _started)
        for _ in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()

    return call


def _started(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
    return _written


def _written(chunk: bytes) -> None:
    pass


async def asgi_answer(app: ASGIApp, token: str | None) -> tuple[int, bytes]:
    """Status and body."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app({**asgi_scope(token), "state": {}}, _receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def wsgi_answer(app: WSGIApp, token: str | None) -> tuple[int, bytes]:
    """Status and body."""
    said: list[str] = []

    def started(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], Any]:
        said.append(status)
        return _written

    body = app(wsgi_environ(token), started)
    text = b"".join(body)
    close = getattr(body, "close", None)
    if close is not None:
        close()
    return int(said[0].split()[0]), text


async def check_asgi(app: ASGIApp, good: str, bad: str | None) -> None:
    """Let in with the one, refused with the other; `bad` None is a request without credentials."""
    status, body = await asgi_answer(app, good)
    assert (status, CUSTOMER.encode() in body) == (200, True), body
    assert (await asgi_answer(app, bad))[0] == 401


def check_wsgi(app: WSGIApp, good: str, bad: str | None) -> None:
    """As `check_asgi`."""
    status, body = wsgi_answer(app, good)
    assert (status, CUSTOMER.encode() in body) == (200, True), body
    assert wsgi_answer(app, bad)[0] == 401
