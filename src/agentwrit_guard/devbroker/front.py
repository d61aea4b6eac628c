"""What every request passes before it is routed: request id, faults, body limit, path cleaning (contract section 2)."""

from __future__ import annotations

import asyncio
import posixpath
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentwrit_guard.devbroker import jsonbody
from agentwrit_guard.devbroker.faults import Faults
from agentwrit_guard.devbroker.problems import Problem
from agentwrit_guard.devbroker.state import Broker

REQUEST_ID = "agentwrit.request_id"
BODY = "agentwrit.body"

_BODY_LIMIT = 1 << 20
_BODY_SECONDS = 15
# What is left unread beyond this makes the broker give the connection up.
_DISCARDED = 256 << 10
# Bodies beyond this leave without Content-Length, so chunked.
_CHUNKED_FROM = 2048
_USUAL = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))


class Calls(Counter[str]):
    """Requests by path, counted on arrival; safe to read and clear while the broker serves."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def record(self, path: str) -> None:
        """Count one request."""
        with self._lock:
            self[path] += 1

    def clear(self) -> None:
        """Start again from nothing."""
        with self._lock:
            super().clear()


class Front:
    """The outermost application. Behind it a request has its whole body in the scope."""

    def __init__(self, app: ASGIApp, broker: Broker, faults: Faults, calls: Calls) -> None:
        self._app = app
        self._broker = broker
        self._faults = faults
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        self._calls.record(path)
        # Echoed as it came, whatever is in it.
        request_id = Headers(scope=scope).get("x-request-id", "") or secrets.token_hex(8)
        raw_id = request_id.encode("latin-1")
        scope[REQUEST_ID] = raw_id.decode("utf-8", jsonbody.BAD_BYTES)
        own = [(b"x-request-id", raw_id), (b"date", formatdate(self._broker.clock(), usegmt=True).encode())]
        bare, full = _stamping(send, own), _stamping(send, [*own, *_USUAL])

        await self._faults.hold()
        if self._faults.status is not None and path.startswith("/v1/"):
            await _fault(self._faults.status).response(path, scope[REQUEST_ID])(scope, receive, full)
            return
        try:
            body = await _read(receive)
        except Problem as refusal:
            # Before routing, and without the three usual headers.
            await refusal.response(path, scope[REQUEST_ID])(scope, receive, bare)
            return
        if body is None:
            return
        raw_path = scope["raw_path"].decode("ascii")
        clean = _cleaned(raw_path)
        if clean != raw_path:
            query = scope["query_string"].decode("ascii")
            location = f"{clean}?{query}" if query else clean
            await Response(status_code=307, headers={"Location": location})(scope, receive, full)
            return
        scope[BODY] = body
        await self._app(scope, receive, full)


def _stamping(send: Send, headers: Sequence[tuple[bytes, bytes]]) -> Send:
    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent = [*message["headers"], *headers]
            # ASGI wants lower case, h11 sends what it is given: so the names are spelt as the broker spells them.
            message["headers"] = [(name.title(), value) for name, value in sent if not _is_long(name, value)]
        await send(message)

    return stamped


def _is_long(name: bytes, value: bytes) -> bool:
    return name == b"content-length" and int(value) > _CHUNKED_FROM


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the client has gone. An oversized one is read to its end, else the reply is lost."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BODY_SECONDS
    body = bytearray()
    unread = 0
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), deadline - loop.time())
        except asyncio.TimeoutError:
            if len(body) > _BODY_LIMIT:
                break
            raise Problem(400, "failed to read request body", headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        room = _BODY_LIMIT + 1 - len(body)
        body += chunk[:room]
        unread += len(chunk[room:])
        more = message.get("more_body", False)
    if len(body) > _BODY_LIMIT:
        closing = {"Connection": "close"} if unread >= _DISCARDED else None
        raise Problem(413, "request body must not exceed 1 MB", headers=closing)
    return bytes(body)


def _cleaned(path: str) -> str:
    """The path without empty, `.` and `..` segments; a trailing slash stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean if clean == "/" or not path.endswith("/") else f"{clean}/"


def _fault(status: int) -> Problem:
    # A 429 of the broker always says when to come back.
    return Problem(status, "fault switched on", headers={"Retry-After": "1"} if status == 429 else None)
