"""A server on loopback that knows one token: the broker to a guard, an introspection endpoint (RFC 7662) to others."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs

from bench.peers.tokens import Issued

CLIENT_ID = "bench"


@dataclass(frozen=True)
class Issuer:
    url: str
    client_secret: str = field(repr=False)

    @property
    def introspection_url(self) -> str:
        return f"{self.url}/introspect"


class _Endpoints(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers would wait for each other's acknowledgements.
    disable_nagle_algorithm = True
    known: ClassVar[Issued]
    basic: ClassVar[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        if self.path == "/v1/token/validate":
            self._answer(200, self._validated(json.loads(body).get("token")))
        elif self.path == "/introspect" and self.headers.get("authorization") == self.basic:
            self._answer(200, self._introspected(parse_qs(body).get("token", [""])[0]))
        else:
            self._answer(401, {"error": "invalid_client"})

    def _validated(self, token: object) -> dict[str, object]:
        if token != self.known.text:
            return {"valid": False, "error": "token is invalid or expired"}
        return {"valid": True, "claims": self.known.claims}

    def _introspected(self, token: str) -> dict[str, object]:
        if token != self.known.text:
            return {"active": False}
        said = self.known.claims
        scopes = said["scope"]
        assert isinstance(scopes, list)
        return {**said, "active": True, "client_id": said["orch_id"], "token_type": "Bearer", "scope": " ".join(scopes)}

    def _answer(self, status: int, members: dict[str, object]) -> None:
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def issuing(token: Issued) -> Iterator[Issuer]:
    """The server, in a thread that sleeps while nothing is asked, for as long as the block."""
    secret = secrets.token_hex(16)
    basic = "Basic " + base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
    endpoints = type("Endpoints", (_Endpoints,), {"known": token, "basic": basic})
    with ThreadingHTTPServer(("127.0.0.1", 0), endpoints) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Issuer(f"http://127.0.0.1:{server.server_address[1]}", secret)
        finally:
            server.shutdown()
            thread.join()
