"""A server that says bytes: what it does with each connection is the test's own function."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

Behaviour = Callable[[socket.socket, int], None]

OK = b'{"valid":false}'


def answer(body: bytes = OK, *headers: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % size, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def read_request(connection: socket.socket) -> bytes:
    """Head and body of one request; empty when the peer has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        body += chunk
    return head + b"\r\n\r\n" + body


class RawServer:
    """Calls `behaviour(connection, number)` in a thread for each connection. `stop` is set when the test ends."""

    def __init__(self, behaviour: Callable[[RawServer, socket.socket, int], None], tls: ssl.SSLContext | None = None):
        self._behaviour = behaviour
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.accepted = 0
        self.requests: list[bytes] = []
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._serve, connection, self.accepted)

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            self._behaviour(self, connection, number)

    def take(self, connection: socket.socket) -> bytes:
        """The next request, kept in `requests`."""
        request = read_request(connection)
        if request:
            self.requests.append(request)
        return request


def says(*parts: bytes, then_hang: bool = False) -> Callable[[RawServer, socket.socket, int], None]:
    """Reads a request and says these bytes, on every connection; closes it then, or hangs."""

    def behaviour(server: RawServer, connection: socket.socket, _: int) -> None:
        server.take(connection)
        for part in parts:
            connection.sendall(part)
        if then_hang:
            server.stop.wait(30)

    return behaviour


def drips(first: bytes, rest: bytes) -> Callable[[RawServer, socket.socket, int], None]:
    """Says `first` at once and then one byte of `rest` every 20 ms, for ever."""

    def behaviour(server: RawServer, connection: socket.socket, _: int) -> None:
        server.take(connection)
        connection.sendall(first)
        while not server.stop.wait(0.02):
            connection.sendall(rest)

    return behaviour
