"""What happens below the handlers: oversized and slow headers, broken request lines, outages (section 2 and 9)."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from agentwrit_guard.devbroker.faults import Faults

# Go's default of 1 MiB and the 4 KiB that it allows on top.
HEADER_LIMIT = (1 << 20) + (4 << 10)
_HEADER_SECONDS = 5.0
# How long a refused connection stays half open, so that its reply outlives what the client still sends.
_LINGER_SECONDS = 0.5


class BrokerProtocol(H11Protocol):
    """One connection. Logs to the twin's own logger: uvicorn's loggers belong to the application under test."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], faults: Faults) -> None:
        super().__init__(config, server_state, app_state)
        self.logger: logging.Logger = logging.getLogger("agentwrit_guard.devbroker")
        # Requests are counted, not logged.
        self.access_log = False
        self._faults = faults
        self._refused = False
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._faults.down:
            transport.abort()
        else:
            self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_is_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE:
            # h11 looks at its limit between reads only, so none may reach far beyond it.
            room = HEADER_LIMIT + 1 - self._header_bytes
            self._feed(data[:room])
            data = data[room:]
        if data:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        # After a refusal the rest of the request is swallowed.
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._header_is_complete()
            return
        self._header_bytes += len(data)
        if self._header_timer is None:
            self._await_header()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles the protocol error; the replies are Go's, none of the usual headers."""
        error = sys.exc_info()[1]
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        line = "431 Request Header Fields Too Large" if too_large else "400 Bad Request"
        self._refused = True
        self._header_is_complete()
        head = f"HTTP/1.1 {line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        self.transport.write(f"{head}{line}".encode())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn when a client offers another protocol; the broker goes on in HTTP/1.1 without a word."""

    def _await_header(self) -> None:
        self._header_timer = self.loop.call_later(_HEADER_SECONDS, self.transport.abort)

    def _header_is_complete(self) -> None:
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
