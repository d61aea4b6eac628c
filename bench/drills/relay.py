"""A relay before the broker that counts how often each token is asked about."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

import httpx


class Relay:
    """`calls` are requests by the digest of the token that they ask about."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: collections.Counter[bytes] = collections.Counter()
        self._lock = threading.Lock()

    def calls_for(self, credentials: bytes) -> int:
        return self.calls[_digest(credentials.partition(b" ")[2])]

    def _count(self, body: bytes) -> None:
        with self._lock:
            self.calls[_digest(json.loads(body)["token"].encode())] += 1


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


@contextlib.contextmanager
def relay(broker_url: str) -> Iterator[Relay]:
    """On loopback, and with as many threads as there are connections. Requests other than POST are not passed on."""
    found = Relay()
    with httpx.Client(base_url=broker_url, trust_env=False, timeout=5) as client:

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without it the second packet of an answer waits for the first one's receipt: 40 ms.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                found._count(body)
                answer = client.post(self.path, content=body, headers={"content-type": "application/json"})
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers.get("content-type", ""))
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            found.url = f"http://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield found
            finally:
                server.shutdown()
                thread.join()
