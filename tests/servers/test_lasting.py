"""R-18 on real servers: what clients see of a websocket or streamed answer that is ended, and what apps hear of it."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from agentwrit_guard.devbroker import DevBroker
from tests.servers.hosts import PATIENCE, Host, Serve
from tests.servers.rows import DAPHNE, GRANIAN, GUNICORN, HYPERCORN, SERVERS, UVICORN, WAITRESS, WERKZEUG
from tests.servers.test_lifespan import STRICT
from tests.servers.wire import bearer, request, send

WEBSOCKETS = (
    "uvicorn-h11",
    "uvicorn-httptools",
    "uvicorn-old-websockets",
    "uvicorn-wsproto",
    HYPERCORN,
    GRANIAN,
    DAPHNE,
)
WSGI = (GUNICORN, "gunicorn-gthread", WAITRESS, WERKZEUG)
CODES = {DAPHNE: 4008}
"""Of the close at servers that do not send 1008."""
SILENT = (DAPHNE,)
"""They cannot break an answer off: nothing comes any more, and the connection stays."""
GONE_WRONG = ("was destroyed", "never retrieved", "never awaited", "Warning: unclosed", "Exception ignored")


class Client:
    """A request whose answer is read as it comes."""

    def __init__(self, host: Host, path: str, token: str) -> None:
        self._connection = socket.create_connection(("127.0.0.1", host.port), PATIENCE)
        self._connection.sendall(request(path, bearer(token), keep=True))
        self.data = b""
        while b"data: 0" not in self.data:
            assert self._read(), self.data

    def _read(self) -> bytes:
        try:
            piece = self._connection.recv(65536)
        except ConnectionError:
            return b""
        self.data += piece
        return piece

    def outcome(self, silence: float = PATIENCE) -> str:
        """How the answer goes on: `complete`, `broken off`, or `silent` for so long."""
        self._connection.settimeout(silence)
        with self._connection, contextlib.suppress(TimeoutError):
            while not self.data.endswith(b"\r\n0\r\n\r\n"):
                if not self._read():
                    return "broken off"
            return "complete"
        return "silent"


@pytest.fixture(scope="module")
def deny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lasting") / "deny"
    path.write_text("# nobody\n")
    return path


@pytest.fixture
def start(serve: Serve, deny_file: Path, broker: DevBroker) -> Callable[..., Host]:
    def start(server: str, app: str, **options: object) -> Host:
        settings = {"DENY_FILE": str(deny_file), "CACHE_TTL": "0", "RECHECK_INTERVAL": "0.5"}
        host = serve(server, app, **{f"AGENTWRIT_{name}": value for name, value in settings.items()}, **options)
        # It answers, so that a short-lived agent is not used up by the start.
        assert send(host.port, "/me", bearer(broker.agent(scope=["read:customers:7291"]).access_token)).kind == "pass"
        return host

    return start


class Agent:
    """An agent that has connections open, and what may happen to it then."""

    def __init__(self, broker: DevBroker, deny_file: Path, end: str) -> None:
        self._broker, self._deny_file, self._end = broker, deny_file, end
        made = broker.agent(scope=["read:customers:7291"], ttl=3 if end == "expires" else 300)
        self.id, self.token = made.agent_id, made.access_token

    def end(self) -> None:
        if self._end == "is revoked":
            self._broker.revoke("agent", self.id)
        elif self._end == "is denied":
            said = self._deny_file.read_text()
            replacement = self._deny_file.with_suffix(".next")
            replacement.write_text(f"{said}agent {self.id}\n")
            replacement.rename(self._deny_file)


@pytest.fixture
def agent(broker: DevBroker, deny_file: Path) -> Callable[[str], Agent]:
    return lambda end: Agent(broker, deny_file, end)


@contextlib.contextmanager
def opened(host: Host, path: str, token: str) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{host.port}{path}", additional_headers=headers, proxy=None) as websocket:
        assert websocket.recv(PATIENCE)
        yield websocket


def closed(websocket: ClientConnection) -> tuple[int, str]:
    """Read until the server closes: its code and reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(PATIENCE)
    end = websocket.protocol.close_rcvd
    assert end is not None
    return end.code, end.reason


def heard(host: Host, expected: set[str], since: int) -> None:
    """That the apps hear of their ends, which may be a moment after the clients do."""
    deadline = time.monotonic() + PATIENCE
    while set(host.ran[since:]) != {ascii(word) for word in expected} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(host.ran[since:]) == sorted(ascii(word) for word in expected)


def expect_sound(host: Host) -> None:
    for word in GONE_WRONG:
        assert word not in host.output


def each(servers: Iterable[str], expires: Iterable[str], is_revoked: Iterable[str]) -> list[tuple[str, str]]:
    """A deny at each server, as it takes no time, and the other ends at some."""
    ends = {"is denied": servers, "expires": expires, "is revoked": is_revoked}
    return [(server, end) for end, where in ends.items() for server in where]


@pytest.mark.parametrize("server, end", each(WEBSOCKETS, (UVICORN, HYPERCORN, GRANIAN), (UVICORN,)))
def test_r_18_connections_end_with_their_agent(
    server: str, end: str, start: Callable[..., Host], agent: Callable[[str], Agent]
) -> None:
    host = start(server, "lasting_asgi")
    since, one = len(host.ran), agent(end)
    with opened(host, "/receiving", one.token) as receiving, opened(host, "/sending", one.token) as sending:
        streams = {path: Client(host, path, one.token) for path in ("/events", "/ticking", "/numbers")}
        one.end()
        reason = "" if server == DAPHNE else "invalid_token"
        assert closed(receiving) == closed(sending) == (CODES.get(server, 1008), reason)
        assert streams["/events"].outcome() == streams["/ticking"].outcome() == "complete"
        broken = streams["/numbers"].outcome(0.5 if server in SILENT else PATIENCE)
    assert broken == ("silent" if server in SILENT else "broken off")
    # What the client of a stream of events gets when it connects anew.
    assert send(host.port, "/events", bearer(one.token)).kind == "token"
    heard(host, {"disconnect 1008", "cannot send"}, since)
    assert "Traceback" not in host.output
    expect_sound(host)


@pytest.mark.parametrize("server, end", each(WSGI, (GUNICORN,), (WAITRESS,)))
def test_r_18_answers_over_wsgi_end_with_their_agent(
    server: str, end: str, start: Callable[..., Host], agent: Callable[[str], Agent]
) -> None:
    host = start(server, "lasting_wsgi")
    for path, outcome in (("/ticking", "complete"), ("/numbers", "broken off")):
        since, one = len(host.ran), agent(end)
        stream = Client(host, path, one.token)
        one.end()
        assert stream.outcome() == outcome
        assert send(host.port, path, bearer(one.token)).kind == "token"
        heard(host, {"closed"}, since)
    # A break is an error to the server: there is no other way to tell it.
    assert "ConnectionEnded: the answer has outlived its agent's token" in host.output
    expect_sound(host)


WAITS_FOR_CLIENTS = pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="from Python 3.12 on hypercorn waits for open websockets when it stops, guarded or not",
)


@pytest.mark.parametrize("server", [UVICORN, pytest.param(HYPERCORN, marks=WAITS_FOR_CLIENTS), GRANIAN, DAPHNE])
def test_r_18_a_server_shuts_down_with_connections_open(
    server: str, start: Callable[..., Host], agent: Callable[[str], Agent]
) -> None:
    host = start(server, "lasting_asgi", python=STRICT)
    one = agent("is denied")
    with opened(host, "/receiving", one.token):
        assert host.stop(signal.SIGINT) == 0
    expect_sound(host)
    # hypercorn has something to say of its own connections then.
    assert "agentwrit_guard" not in host.output


def test_r_18_every_server_is_tried() -> None:
    assert set(SERVERS) <= {*WEBSOCKETS, *WSGI}
