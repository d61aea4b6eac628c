"""How bytes reach the broker: httpcore's pools over connections that keep one deadline and no surplus."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, cast

import httpcore

from agentwrit_guard.pools import KEEPALIVE, AsyncPools, Pools
from agentwrit_guard.surplus import Received
from agentwrit_guard.tls import Tls


@dataclass(frozen=True)
class LinkOptions:
    """Where the broker is and how to reach it. `timeout` is the whole of one flow, in seconds."""

    base_url: str
    timeout: float = 2.0
    max_in_flight: int = 32
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    user_agent: str | None = None

    def tls(self) -> Tls:
        return Tls(self.base_url.startswith("https:"), self.ca_file, self.client_cert, self.client_key)

    @staticmethod
    def pool(tls: Tls) -> dict[str, Any]:
        """Arguments of a pool of one connection."""
        return {"ssl_context": tls.context(), "max_connections": 1, "keepalive_expiry": KEEPALIVE}


_clip = threading.local()


def clip(deadline: float) -> None:
    """End every read and write of this thread's next exchange at `deadline` (monotonic seconds)."""
    _clip.deadline = deadline


class _NotOpen(Exception):
    """There is no open connection after all, and none may be opened."""


def _remaining(late: type[Exception]) -> float:
    remaining: float = _clip.deadline - time.monotonic()
    if remaining <= 0:
        raise late("the deadline of the call has passed")
    return remaining


class _Stream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline of the call that its thread carries.

    The client's own timeouts are for each operation, so a peer that drips bytes would pass them for ever.
    """

    def __init__(
        self, stream: httpcore.NetworkStream, open_streams: weakref.WeakSet[httpcore.NetworkStream], tls: Tls
    ) -> None:
        self._stream = stream
        self._open_streams = open_streams
        self._tls = tls
        self._received = Received()
        open_streams.add(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _remaining(httpcore.ReadTimeout))
        self._received.came(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._received.sent()
        self._stream.write(buffer, _remaining(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # The pool's own context is as old as the pool.
        secured = self._stream.start_tls(self._tls.context(), server_hostname, _remaining(httpcore.ConnectTimeout))
        return _Stream(secured, self._open_streams, self._tls)

    def get_extra_info(self, info: str) -> Any:
        return _extra(self._stream, self._received, info)


class _AsyncStream(httpcore.AsyncNetworkStream):
    """The same without a clip: a task is cancelled at its deadline, and must leave no socket behind."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, tls: Tls) -> None:
        self._stream = stream
        self._tls = tls
        self._received = Received()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._received.came(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._received.sent()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            secured = await self._stream.start_tls(self._tls.context(), server_hostname, timeout)
            return _AsyncStream(secured, self._tls)
        except BaseException:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return _extra(self._stream, self._received, info)


def _extra(stream: httpcore.NetworkStream | httpcore.AsyncNetworkStream, received: Received, info: str) -> Any:
    """An idle connection that can be read from has been closed or said too much: the pool drops it."""
    return (info == "is_readable" and received.surplus()) or stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Knows the connections it made, so that a thread that waits on one can be woken."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._streams: weakref.WeakSet[httpcore.NetworkStream] = weakref.WeakSet()

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        if not getattr(_clip, "connects", True):
            raise _NotOpen
        return _Stream(super().connect_tcp(*args, **kwargs), self._streams, self._tls)

    def hang_up(self) -> None:
        for stream in self._open():
            connection = stream.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _open(self) -> list[httpcore.NetworkStream]:
        while True:
            with contextlib.suppress(RuntimeError):  # another thread has made one meanwhile
                return list(self._streams)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        # httpcore has a stand-in for it where anyio is missing, which its extra sees to.
        self._backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(await self._backend.connect_tcp(*args, **kwargs), self._tls)


class Transport(Pools):
    """Makes requests from threads."""

    def __init__(self, options: LinkOptions, tls: Tls) -> None:
        self._backend = backend = _Backend(tls)
        super().__init__(lambda: httpcore.ConnectionPool(network_backend=backend, **options.pool(tls)))

    def request_at_once(self, request: httpcore.Request) -> httpcore.Response | None:
        """Over a connection that is open already, so that nothing is waited for beyond the deadline: no name is looked
        up. None if there is none, and then nothing was sent."""
        if not self.ready:
            return None
        _clip.connects = False
        try:
            return self.handle_request(request)
        except _NotOpen:
            return None
        finally:
            _clip.connects = True

    def close(self) -> None:
        """Close every connection, also under a thread that is reading from it: closing alone would not wake it."""
        self._backend.hang_up()
        super().close()


class AsyncTransport(AsyncPools):
    """Makes requests from tasks of one event loop."""

    def __init__(self, options: LinkOptions, tls: Tls) -> None:
        backend = _AsyncBackend(tls)
        super().__init__(lambda: httpcore.AsyncConnectionPool(network_backend=backend, **options.pool(tls)))
