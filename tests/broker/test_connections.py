"""Connections: what is sent on one, when it stays open and when it is given up (contract sections 2 and 9)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from agentwrit_guard.devbroker import DevBroker

LIMIT = 1 << 20
PATH = "/v1/token/validate"
BODY = b'{"token":"x"}'
ANSWER = b'{"valid":false,"error":"token is invalid or expired"}\n'


@contextmanager
def connected(broker: DevBroker) -> Iterator[socket.socket]:
    address = urlsplit(broker.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        yield connection


def head(*headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {PATH} HTTP/{version}", "Host: broker", *headers, "", ""]).encode()


def until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        chunk = connection.recv(65536)
        assert chunk, f"closed after {received!r}"
        received += chunk
    return received


def rest(connection: socket.socket) -> bytes:
    """All that comes until the broker closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_expect_100_continue(broker: DevBroker) -> None:
    with connected(broker) as connection:
        connection.sendall(head("Expect: 100-continue", f"Content-Length: {len(BODY)}"))
        assert until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert until(connection, ANSWER).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_body_limit_holds_for_chunks(broker: DevBroker, size: int) -> None:
    with connected(broker) as connection:
        chunk = b"%x\r\n%s\r\n" % (size, BODY.ljust(size))
        connection.sendall(head("Transfer-Encoding: chunked", "Connection: close") + chunk + b"0\r\n\r\n")
        status = 200 if size == LIMIT else 413
        assert rest(connection).startswith(b"HTTP/1.1 %d " % status)


def test_http_1_0_is_closed_after_its_answer(broker: DevBroker) -> None:
    with connected(broker) as connection:
        connection.sendall(head(f"Content-Length: {len(BODY)}", version="1.0") + BODY)
        assert rest(connection).endswith(ANSWER)


def test_requests_may_be_sent_ahead(broker: DevBroker) -> None:
    with connected(broker) as connection:
        one = head(f"Content-Length: {len(BODY)}") + BODY
        last = head(f"Content-Length: {len(BODY)}", "Connection: close") + BODY
        connection.sendall(one + one + last)
        assert rest(connection).count(ANSWER) == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nope", None, 404),
        ("GET", PATH, None, 405),
        ("GET", "/v1//health", None, 307),
        ("POST", PATH, b"{", 400),
        ("POST", "/v1/token/renew", BODY, 401),
        ("POST", PATH, b"a" * (LIMIT + 1), 413),
    ],
)
def test_refusals_keep_the_connection(broker: DevBroker, method: str, path: str, body: bytes, status: int) -> None:
    connection = HTTPConnection(urlsplit(broker.url).netloc, timeout=10)
    connection.request(method, path, body)
    refused = connection.getresponse()
    refused.read()
    assert (refused.status, refused.getheader("Connection")) == (status, None)
    own = connection.sock.getsockname()
    connection.request("GET", "/v1/health")
    assert connection.getresponse().status == 200
    assert connection.sock.getsockname() == own
    connection.close()


def test_body_that_does_not_end_is_a_400(broker: DevBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentwrit_guard.devbroker.front._BODY_SECONDS", 0.05)
    with connected(broker) as connection:
        connection.sendall(head(f"Content-Length: {len(BODY)}") + BODY[:5])
        reply = rest(connection)
    section, _, body = reply.partition(b"\r\n\r\n")
    names = {line.partition(b":")[0] for line in section.split(b"\r\n")[1:]}
    assert section.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in section
    assert names == {b"Content-Type", b"Content-Length", b"X-Request-Id", b"Date", b"Connection"}
    assert b'"error_code":"invalid_request"' in body
    assert b'"detail":"failed to read request body"' in body


@pytest.mark.parametrize("sent", [b"", b"POST", head("Content-Length: 2")[:-2]])
def test_header_section_that_does_not_end_is_not_answered(
    broker: DevBroker, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("agentwrit_guard.devbroker.protocol._HEADER_SECONDS", 0.05)
    with connected(broker) as connection:
        connection.sendall(sent)
        with suppress(ConnectionResetError):
            assert rest(connection) == b""
    assert not broker.calls


def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentwrit_guard.devbroker.thread._KEEP_ALIVE_SECONDS", 0.05)
    with DevBroker() as broker, connected(broker) as connection:
        connection.sendall(head(f"Content-Length: {len(BODY)}") + BODY)
        assert rest(connection).endswith(ANSWER)


def test_offer_of_another_protocol_is_passed_over_in_silence(
    broker: DevBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with connected(broker) as connection:
        offer = ("Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        connection.sendall(head(*offer, f"Content-Length: {len(BODY)}") + BODY)
        assert rest(connection).endswith(ANSWER)
    assert not [record for record in caplog.records if record.name.startswith(("agentwrit_guard", "uvicorn"))]
