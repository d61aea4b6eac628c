"""Requests as bytes, and answers as the wire has them: what no HTTP client would send, and all that comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from tests.servers.hosts import PATIENCE

REALM = 'Bearer realm="agentwrit"'


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def header(self, name: str) -> str | None:
        found = self.headers.get_all(name, [])
        assert len(found) < 2, f"{name} stands twice: {found}"
        return str(found[0]) if found else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Who answered what: a case of the guard's status map, `pass` and `app ...` for the app, else the server."""
        challenge, problem = self.header("www-authenticate"), self.header("content-type") == "application/problem+json"
        if challenge is not None:
            assert problem
            assert challenge.startswith(REALM)
            bare = "error=" not in challenge
            return {400: "request", 401: "none" if bare else "token", 403: "scope"}[self.status]
        if self.status == 503 and problem:
            return "unable"
        if self.status in (200, 204):
            return "pass"
        return f"app {self.status}" if self.status in (307, 308, 404, 405) else f"server {self.status}"


def request(
    target: str | bytes = "/me",
    *headers: tuple[str, bytes],
    method: str = "GET",
    host: bytes = b"127.0.0.1",
    body: bytes = b"",
    keep: bool = False,
) -> bytes:
    """A request that ends its connection unless `keep`."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + path + b" HTTP/1.1", b"Host: " + host]
    lines += [name.encode() + b": " + value for name, value in headers]
    if not keep:
        lines.append(b"Connection: close")
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def bearer(token: str, scheme: str = "Bearer") -> tuple[str, bytes]:
    return "Authorization", f"{scheme} {token}".encode()


def exchange(port: int, data: bytes, *, head: bool = False) -> list[Answer]:
    """Send bytes on a connection of their own and read every answer until the server ends it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        # A server that has seen enough cuts the connection while the rest is on its way.
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return list(answers(connection, head=head))


def answers(connection: socket.socket, *, head: bool = False) -> Iterator[Answer]:
    with connection.makefile("rb") as reader:
        while (answer := _answer(reader, head)) is not None:
            if answer.header("connection") == "close":
                # Some servers wait for the rest of a body that nobody has read, until they are told that it is over.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            if answer.status != 100:
                yield answer


def send(port: int, target: str, *headers: tuple[str, bytes]) -> Answer:
    """One plain request."""
    [answer] = exchange(port, request(target, *headers))
    return answer


def _answer(reader: BinaryIO, head: bool) -> Answer | None:
    try:
        line = reader.readline()
        if not line:
            return None
        version, status = line.split(None, 2)[:2]
        assert version in (b"HTTP/1.1", b"HTTP/1.0"), line
        headers = http.client.parse_headers(reader)
        return Answer(int(status), headers, b"" if head or status == b"100" else _body(reader, headers))
    except ConnectionError:
        return None


def _body(reader: BinaryIO, headers: http.client.HTTPMessage) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        chunks = []
        while size := int(reader.readline(), 16):
            chunks.append(reader.read(size))
            reader.readline()
        reader.readline()
        return b"".join(chunks)
    length = headers.get("content-length")
    return reader.read() if length is None else reader.read(int(length))
