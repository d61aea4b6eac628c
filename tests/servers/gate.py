"""A broker behind a gate: what a guard asks of it is held back until the test says so."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.servers.hosts import PATIENCE


@dataclass
class Gate:
    url: str = ""
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def gated(broker_url: str) -> Iterator[Gate]:
    """A gate in front of a broker, closed at first. Each question counts in `asked` when it has arrived."""
    gate = Gate()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            gate.asked.release()
            assert gate.opened.wait(PATIENCE)
            answer = httpx.post(f"{broker_url}{self.path}", content=body, headers={"content-type": "application/json"})
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gate.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield gate
        finally:
            gate.opened.set()
            server.shutdown()
            thread.join()
