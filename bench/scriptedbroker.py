"""A broker in a process of its own that only says yes, as fast as one in Python can: what is measured is its clients.

It answers validation (contract 5) and the introspection of RFC 7662 from the token's own payload, without a look at
the signature, and no to a few tokens that it was started with. It ends with its parent, however that ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from bench.drills.interrupts import held_back

_ROOT: Final = Path(__file__).parents[1]
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_HEALTH: Final = b'{"status":"ok","version":"2.0.0","uptime":0,"db_connected":true,"audit_events_count":0}\n'
_INVALID: Final = b'{"valid":false,"error":"token is invalid or expired"}\n'
# The headers that the broker sends (contract 2).
_HEAD: Final = (
    "HTTP/1.1 {status}\r\nCache-Control: no-store\r\nContent-Type: application/json\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nX-Request-Id: 08203507b243cbd8\r\n"
    "Date: {date}\r\nContent-Length: "
)


@dataclass(frozen=True)
class ScriptedBroker:
    url: str

    @property
    def introspection_url(self) -> str:
        return f"{self.url}/introspect"

    def asked(self) -> int:
        """Tokens that it was asked about so far, by either endpoint."""
        with contextlib.closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)) as connection:
            connection.request("GET", "/asked")
            return int(json.loads(connection.getresponse().read())["asked"])


@contextlib.contextmanager
def scripted(bad: Sequence[str] = ()) -> Iterator[ScriptedBroker]:
    """One that calls every token valid but those of `bad`."""
    command = [sys.executable, "-m", "bench.scriptedbroker", *bad]
    with held_back():
        # In a session of its own, so that Ctrl-C is its parent's to hear: it ends when its input does.
        process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the scripted broker did not start")
        yield ScriptedBroker(url)
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class _Script:
    """What is answered. The head of an answer is made anew each second, for its Date."""

    def __init__(self, bad: Sequence[str]) -> None:
        self._bad = frozenset(token.encode() for token in bad)
        self._asked = 0
        self.tick()

    def tick(self) -> None:
        date = formatdate(usegmt=True)
        self._ok = _HEAD.format(status="200 OK", date=date).encode()
        self._missing = _HEAD.format(status="404 Not Found", date=date).encode()

    def answer(self, head: bytes, body: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        said: bytes | None = None
        if path == b"/v1/token/validate":
            said = self._validate(json.loads(body)["token"].encode())
        elif path == b"/introspect":
            said = self._introspect(body)
        elif path == b"/v1/health":
            said = _HEALTH
        elif path == b"/asked":
            said = b'{"asked":%d}\n' % self._asked
        begin = self._ok if said is not None else self._missing
        said = said or b"{}\n"
        return b"%b%d\r\n\r\n%b" % (begin, len(said), said)

    def _validate(self, token: bytes) -> bytes:
        self._asked += 1
        return _INVALID if token in self._bad else b'{"valid":true,"claims":%b}\n' % _payload(token)

    def _introspect(self, body: bytes) -> bytes:
        self._asked += 1
        # A token has no character that a form would escape.
        token = body.partition(b"token=")[2].partition(b"&")[0]
        if token in self._bad:
            return b'{"active":false}\n'
        claims: dict[str, Any] = json.loads(_payload(token))
        said = {**claims, "active": True, "client_id": claims["sub"], "scope": " ".join(claims["scope"])}
        return json.dumps(said, separators=(",", ":")).encode()


def _payload(token: bytes) -> bytes:
    part = token.split(b".")[1]
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


class _Connection(asyncio.Protocol):
    """Kept alive for as long as its client likes. Bodies have a Content-Length."""

    def __init__(self, script: _Script) -> None:
        self._script = script
        self._come = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._come += data
        while True:
            head, end, rest = self._come.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length.group(1)) if length else 0
            if not end or len(rest) < size:
                return
            self._come = rest[size:]
            self._transport.write(self._script.answer(head, rest[:size]))


async def _serve(bad: Sequence[str]) -> None:
    script, over, loop = _Script(bad), asyncio.Event(), asyncio.get_running_loop()

    def tick() -> None:
        script.tick()
        loop.call_later(1, tick)

    server = await loop.create_server(lambda: _Connection(script), "127.0.0.1", 0)
    tick()
    # Nobody writes there: it can be read when its other end is closed, by whatever ended the parent.
    loop.add_reader(sys.stdin.fileno(), over.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
