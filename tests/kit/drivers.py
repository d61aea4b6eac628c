"""Requests put into an app in process, byte for byte as a server would hand them over."""

from __future__ import annotations

import asyncio
import io
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from agentwrit_guard import Guard

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Request:
    """`path` is as on the wire, percent-escapes and all."""

    path: str = "/me"
    method: str = "GET"
    headers: Headers = field(default_factory=list)
    query: str = ""
    body: bytes = b""
    websocket: bool = False
    denial_responses: bool = True


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    close_code: int | None = None

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) < 2, f"{name} stands twice: {found}"
        return found[0] if found else None


def asgi(app: Any, guard: Guard, request: Request) -> Answer:
    return asyncio.run(_asgi_and_close(app, guard, request))


async def _asgi_and_close(app: Any, guard: Guard, request: Request) -> Answer:
    try:
        return await asgi_request(app, request)
    finally:
        await guard.aclose()


async def asgi_request(app: Any, request: Request) -> Answer:
    scope: dict[str, Any] = {
        "type": "websocket" if request.websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws" if request.websocket else "http",
        "path": unquote_to_bytes(request.path).decode("utf-8", "replace"),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value) for name, value in request.headers],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {},
    }
    if request.websocket:
        scope["subprotocols"] = []
        scope["extensions"] = {"websocket.http.response": {}} if request.denial_responses else {}
        incoming = [{"type": "websocket.connect"}]
    else:
        scope["method"] = request.method
        incoming = [{"type": "http.request", "body": request.body, "more_body": False}]
    sent: list[dict[str, Any]] = []
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        # A client that is still there says nothing until it has its answer.
        await answered.wait()
        return {"type": f"{scope['type']}.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if not message["type"].endswith("response.start") and not message.get("more_body"):
            answered.set()

    await app(scope, receive, send)
    first = sent[0]
    if first["type"] == "websocket.close":
        return Answer(403, [], b"", first["code"])
    if first["type"] == "websocket.accept":
        return Answer(101, [], b"")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in first["headers"]]
    return Answer(first["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


def wsgi(app: Any, guard: Guard, request: Request) -> Answer:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))
        return lambda _: None

    body = app(environ, start_response)
    try:
        data = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
        guard.close()
    status, headers = started[-1]
    return Answer(int(status[:3]), headers, data)
