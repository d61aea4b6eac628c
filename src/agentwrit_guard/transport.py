"""How bytes reach the broker: TLS that is always verified, and a sync transport that keeps one total deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from agentwrit_guard.errors import ConfigurationError

KEEPALIVE: Final = 60.0


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


def limits(options: LinkOptions) -> httpx.Limits:
    return httpx.Limits(
        max_connections=options.max_in_flight,
        max_keepalive_connections=options.max_in_flight,
        keepalive_expiry=KEEPALIVE,
    )


def tls_context(options: LinkOptions) -> ssl.SSLContext:
    """Certificates are always verified, against `ca_file` or the bundled roots, never against the environment's."""
    if not options.base_url.startswith("https:"):
        # Holds no roots, so that nothing could be verified by it, and costs nothing to make.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"ca_file {options.ca_file!r} cannot be used: {error}") from None
    context.keylog_filename = None  # type: ignore[assignment]
    if options.client_cert is not None:
        try:
            context.load_cert_chain(options.client_cert, options.client_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"client_cert {options.client_cert!r} cannot be used: {error}") from None
    return context


_clip = threading.local()


def clip(deadline: float) -> None:
    """End every read and write of this thread's next exchange at `deadline` (monotonic seconds)."""
    _clip.deadline = deadline


class _ClippedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline of the call that its thread carries.

    The client's own timeouts are for each operation, so a peer that drips bytes would pass them for ever.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _ClippedStream(self._stream.start_tls(ssl_context, server_hostname, _remaining(httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _ClippedBackend(httpcore.SyncBackend):
    """Knows the connections it made, so that a thread that waits on one can be woken."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[httpcore.NetworkStream] = weakref.WeakSet()

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        stream = super().connect_tcp(*args, **kwargs)
        self._streams.add(stream)
        return _ClippedStream(stream)

    def hang_up(self) -> None:
        for stream in list(self._streams):
            connection = stream.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class ClippedTransport(httpx.HTTPTransport):
    """httpx's own transport over a pool whose connections are clipped."""

    def __init__(self, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        super().__init__(verify=tls, limits=limits, trust_env=False)
        self._backend = _ClippedBackend()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=self._backend,
        )

    def close(self) -> None:
        """Close every connection, also under a thread that is reading from it: closing alone would not wake it."""
        self._backend.hang_up()
        super().close()


def _remaining(late: type[Exception]) -> float:
    remaining: float = _clip.deadline - time.monotonic()
    if remaining <= 0:
        raise late("the deadline of the call has passed")
    return remaining
