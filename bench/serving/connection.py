"""A client's connection: one request at a time, and as little work for it as the measuring leaves room for."""

from __future__ import annotations

import socket
from typing import Final

from bench.serving.plans import Failed

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class Connection:
    """Does not block. Answers must have a Content-Length."""

    def __init__(self, port: int, target: int = 0) -> None:
        self.target = target
        self.since = 0.0
        self.tag = ""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._read = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: bytes, since: float, tag: str = "") -> None:
        self.since, self.tag = since, tag
        if self._socket.send(request) != len(request):
            raise Failed("a request did not fit into the socket's buffer")

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body, once they are there."""
        data = self._socket.recv(65536)
        if not data:
            raise Failed("the server closed a connection")
        self._read = read = self._read + data
        end = read.find(_END)
        if end < 0:
            return None
        head = read[:end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise Failed(f"an answer without a length: {head!r}")
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        body = read[end + len(_END) :]
        if len(body) < length:
            return None
        self._read = b""
        return int(head[9:12]), body

    def close(self) -> None:
        self._socket.close()


def request(path: str, credentials: bytes) -> bytes:
    """As an HTTP client of today would send it."""
    lines = (
        f"GET {path} HTTP/1.1".encode(),
        b"Host: 127.0.0.1",
        b"Accept: application/json",
        b"Accept-Encoding: gzip, deflate",
        b"Connection: keep-alive",
        b"User-Agent: bench",
        b"Authorization: " + credentials,
    )
    return b"\r\n".join(lines) + _END
