"""What a client can do to a server besides headers and paths: R-22 to R-25 on every server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers.agents import Mint
from tests.servers.gate import Gate, gated
from tests.servers.hosts import PATIENCE, Host, Serve
from tests.servers.rows import DAPHNE, GRANIAN, GUNICORN, HYPERCORN, SERVERS, TRIALS, WAITRESS, WERKZEUG
from tests.servers.wire import answers, bearer, exchange, request, send

VALIDATE = "/v1/token/validate"
ME, WEBSOCKET = ascii("me"), ascii("websocket")
# These read a whole body before the app hears of the request.
BODY_FIRST = (DAPHNE, WAITRESS)
# These end the connection with their first answer.
ONE_A_CONNECTION = (GUNICORN, WERKZEUG)
ASGI = [server for server, app in TRIALS.items() if app == "trial_asgi"]
# Says that a client has left from a thread of its own, when that gets the interpreter: before the guard looks, or not.
LATE = (GRANIAN,)
# Says first of every body that it goes on, and behind that nobody looks.
IN_PIECES = (HYPERCORN,)
UPGRADE = (
    ("Upgrade", b"websocket"),
    ("Connection", b"Upgrade"),
    ("Sec-WebSocket-Version", b"13"),
    ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def host(server: str, serve: Serve) -> Host:
    return serve(server, TRIALS[server], AGENTWRIT_CACHE_TTL="60")


@pytest.fixture(scope="module")
def token(mint: Mint) -> str:
    return mint().access_token


@pytest.fixture(scope="module")
def gate(broker: DevBroker) -> Iterator[Gate]:
    with gated(broker.url) as gate:
        yield gate


@pytest.fixture(scope="module")
def waiting(server: str, serve: Serve, gate: Gate) -> Host:
    """A server whose guard waits for a gate."""
    return serve(server, TRIALS[server], broker_url=gate.url, AGENTWRIT_CACHE_TTL="60", AGENTWRIT_TIMEOUT="20")


def leave_during_validation(host: Host, gate: Gate, data: bytes) -> None:
    gate.opened.clear()
    with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as connection:
        connection.sendall(data)
        assert gate.asked.acquire(timeout=PATIENCE)


def runs_of_one_that_left(host: Host, gate: Gate, server: str, token: str, data: bytes) -> list[str]:
    """What ran for a client that sent this and left, while its token was validated."""
    leave_during_validation(host, gate, data)
    before = len(host.ran)
    if server in ASGI:
        # Answered after the server has heard that the first client is gone.
        assert send(host.port, "/public/a").kind == "pass"
    gate.opened.set()
    assert send(host.port, "/me", bearer(token)).json()["source"] in ("broker", "cache")
    assert send(host.port, "/public/a").kind == "pass"
    ran = host.ran[before:]
    assert not any(word in host.output for word in ("Traceback", "never retrieved", "was destroyed", "never awaited"))
    # The one that stayed.
    ran.remove(ME)
    return [name for name in ran if name in (ME, WEBSOCKET)]


def test_r_22_client_that_leaves_is_not_a_way_past_a_refusal(waiting: Host, gate: Gate, mint: Mint) -> None:
    agent = mint()
    leave_during_validation(waiting, gate, request("/me", bearer(agent.access_token)))
    before = waiting.ran
    agent.release()
    gate.opened.set()
    assert send(waiting.port, "/me", bearer(agent.access_token)).kind == "token"
    assert waiting.ran == before
    assert "Traceback" not in waiting.output


@pytest.mark.parametrize("body", [b"", b"all of it"], ids=["GET", "POST"])
def test_r_22_handler_never_runs_for_a_client_that_has_left(
    body: bytes, server: str, waiting: Host, gate: Gate, mint: Mint
) -> None:
    token = mint().access_token
    data = request("/me", bearer(token), method="POST" if body else "GET", body=body)
    ran = runs_of_one_that_left(waiting, gate, server, token, data)
    if server not in ASGI or server in LATE:
        # Nothing in WSGI tells an app that its client has gone: what was let in runs, soon, and answers nobody.
        assert ran in ([], [ME])
    else:
        assert ran == ([ME] if body and server in IN_PIECES else [])


@pytest.mark.parametrize("server", ASGI, scope="module")
def test_r_22_websocket_of_a_client_that_has_left_is_not_accepted(
    server: str, waiting: Host, gate: Gate, mint: Mint
) -> None:
    token = mint().access_token
    data = request("/ws", *UPGRADE, bearer(token), keep=True)
    assert runs_of_one_that_left(waiting, gate, server, token, data) in ([], *([[WEBSOCKET]] if server in LATE else []))


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
def test_r_23_refusal_does_not_wait_for_a_huge_body(framing: bytes, server: str, host: Host) -> None:
    before = host.ran
    with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as connection:
        connection.sendall(b"POST /me HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + b"5\r\nstart\r\n")
        if server in BODY_FIRST:
            connection.shutdown(socket.SHUT_WR)
            assert [answer.status for answer in answers(connection)] in ([], [400])
        else:
            assert next(answers(connection)).kind == "none"
    assert host.ran == before


def test_r_23_huge_body_of_a_client_that_is_let_in_is_taken(host: Host, token: str) -> None:
    [answer] = exchange(host.port, request("/me", bearer(token), method="POST", body=b"x" * 300_000))
    assert answer.kind == "pass"


@pytest.mark.parametrize("order", ["none pass none", "pass none pass", "pass pass none", "none none pass"])
def test_r_24_pipelined_requests_are_independent(order: str, server: str, host: Host, token: str) -> None:
    before, expected = len(host.ran), order.split()
    headers = [[bearer(token)] if kind == "pass" else [] for kind in expected]
    data = [request("/me", *given, keep=number < 2) for number, given in enumerate(headers)]
    came = [answer.kind for answer in exchange(host.port, b"".join(data))]
    assert came == expected[: 1 if server in ONE_A_CONNECTION else 3]
    assert host.ran[before:] == [ME] * came.count("pass")


def test_r_24_a_connection_is_not_a_session(server: str, host: Host, token: str) -> None:
    came = []
    with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as connection:
        reader = answers(connection)
        for headers in ([bearer(token)], [], [bearer("x.y.z")], [bearer(token)]):
            with contextlib.suppress(ConnectionError):
                connection.sendall(request("/me", *headers, keep=True))
            came += [answer.kind for answer in [next(reader, None)] if answer is not None]
    assert came == ["pass", "none", "token", "pass"][: 1 if server in ONE_A_CONNECTION else 4]


@pytest.mark.parametrize("accept", [b"text/html", b"text/plain", b"*/*"])
def test_r_25_error_page_of_debug_mode_has_no_token(accept: bytes, host: Host, token: str) -> None:
    answer = send(host.port, "/boom", bearer(token), ("Accept", accept))
    assert answer.status == 500
    page = answer.body.decode()
    assert "RuntimeError" in page
    assert "Traceback" in page
    # What the guard left in the request is shown, and it is the decision.
    assert "Allowed" in page
    for place in (page, host.output):
        assert not any(token[start : start + 16] in place for start in range(token.index(".") + 1, len(token) - 15))


def test_r_25_refusal_is_the_same_in_debug_mode(host: Host) -> None:
    assert send(host.port, "/boom").kind == "none"
    assert send(host.port, "/boom", bearer("x.y.z")).kind == "token"
