"""The kit's client for many brokers and many validations."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client


class Quick(Client):
    """Loads no certificates, and validates over a bare socket: a run of histories validates ten thousand times, and
    httpx would double its time.
    """

    def __init__(self, broker: DevBroker) -> None:
        self.broker = broker
        self.http = httpx.Client(base_url=broker.url, trust_env=False, verify=False)
        self._wire = socket.create_connection((self.http.base_url.host, self.http.base_url.port or 80), timeout=10)
        self._lines = self._wire.makefile("rb")

    def __exit__(self, *exception: Any) -> None:
        self._lines.close()
        self._wire.close()
        super().__exit__(*exception)

    def valid(self, token: str) -> bool:
        body = json.dumps({"token": token})
        head = f"POST /v1/token/validate HTTP/1.1\r\nHost: twin\r\nContent-Length: {len(body)}\r\n\r\n"
        self._wire.sendall((head + body).encode())
        said = next(line for line in self._lines if line.startswith(b'{"valid":'))
        return said.startswith(b'{"valid":true,')
