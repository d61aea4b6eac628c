"""A broker of one endpoint that says what a test tells it to, over a real socket, and counts how often it is asked."""

from __future__ import annotations

import base64
import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


def json_answer(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode() + b"\n"


def valid(body: bytes) -> Answer:
    """What a broker says of every token it likes: the claims are the token's own payload."""
    payload = json.loads(body)["token"].split(".")[1]
    return json_answer({"valid": True, "claims": json.loads(base64.urlsafe_b64decode(payload + "=="))})


def invalid(_: bytes) -> Answer:
    return json_answer({"valid": False, "error": "token is invalid or expired"})


class StubBroker:
    """`answer` takes the body of a validate request. Requests are kept in `bodies` and `headers`."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], Answer] = valid
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.bodies.append(body)
                stub.paths.append(self.path)
                stub.headers.append({name.lower(): value for name, value in self.headers.items()})
                stub.gate.wait(30)
                status, headers, answer = stub.answer(body)
                # Without a Date: the clocks of tests stand anywhere, and a test of clocks sends its own.
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def __enter__(self) -> StubBroker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every answer back until the block ends."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()
