"""A relay between guards and their broker that can be cut, so that an outage can be shown with any broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

_HOST: Final = re.compile(rb"(?im)^host:[^\r\n]*")
_LENGTH: Final = re.compile(rb"(?im)^content-length:[ \t]*([0-9]+)")


class Relay:
    """Listens on a free loopback port and passes requests on to the broker, over TLS if its URL says so (`tls`).

    Bytes go through as they are, but for the Host header: a gateway before a real broker routes by it. `url` is the
    broker's URL for a guard that goes through here. `with` starts and stops it.
    """

    def __init__(self, broker_url: str, tls: ssl.SSLContext) -> None:
        parts = urlsplit(broker_url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._tls = tls if secure else None
        self._host_line = b"Host: " + parts.netloc.encode()
        self._path = parts.path
        self._is_cut = False
        self._open: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url: str = ""

    def cut(self) -> None:
        """Drop every connection, and all that come, without an answer."""
        self._is_cut = True
        self._on_loop(self._abort)

    def restore(self) -> None:
        self._is_cut = False

    def __enter__(self) -> Relay:
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="demo-relay", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{ready.result()}{self._path}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._on_loop(self._stopping.set)
        self._thread.join()

    def _on_loop(self, work: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait()

    def _abort(self) -> None:
        for transport in self._open:
            transport.abort()

    async def _run(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        except OSError as error:
            ready.set_exception(error)
            return
        ready.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        self._abort()
        if self._tasks:
            # One that is still connecting to a silent broker is cancelled with the loop.
            await asyncio.wait(self._tasks, timeout=1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream callback is always a task
        self._tasks.add(task)
        self._open.add(writer.transport)
        try:
            if not self._is_cut:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    await self._carry(reader, writer)
        finally:
            writer.transport.abort()
            self._open.discard(writer.transport)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = self._host if self._tls else None
        upstream, broker = await asyncio.open_connection(self._host, self._port, ssl=self._tls, server_hostname=name)
        self._open.add(broker.transport)
        answers = asyncio.ensure_future(_answers(upstream, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length.group(1))) if length else b""
                broker.write(_HOST.sub(self._host_line, head, count=1) + body)
                await broker.drain()
        finally:
            broker.transport.abort()
            self._open.discard(broker.transport)
            await answers


async def _answers(upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await upstream.read(65536):
            writer.write(data)
            await writer.drain()
    # The broker has hung up: so must the relay, or the next request would wait for nobody.
    writer.transport.abort()
