"""HTTP below and around the endpoints: what clients tidy up is sent as raw bytes."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client, problem
from tests.kit.clock import Time

USUAL = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
LIMIT = 1 << 20


def raw(broker: DevBroker, sent: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers and body of the one reply; reads until the broker closes."""
    address = urlsplit(broker.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.decode("latin-1").split(": ", 1) for line in lines)
    return status, headers, body


def request(line: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"{line} HTTP/1.1", "Host: broker", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def test_names_are_spelt_and_dates_are_of_the_clock(broker: DevBroker, clock: Time) -> None:
    clock.now = 1_795_412_731.9
    _, headers, _ = raw(broker, request("GET /v1/health"))
    assert headers["Date"] == "Mon, 23 Nov 2026 05:45:31 GMT"
    assert {"X-Request-Id", "Content-Type", "Content-Length", *USUAL} <= set(headers)
    assert "Server" not in headers


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//v1/token/validate", "/v1/token/validate"),
        ("/v1/x/../token/validate?a=b", "/v1/token/validate?a=b"),
        ("/v1/./nope//", "/v1/nope/"),
        ("/../..", "/"),
    ],
)
def test_unclean_paths_are_redirected(broker: DevBroker, target: str, location: str) -> None:
    status, headers, body = raw(broker, request(f"POST {target}"))
    assert status.startswith(b"HTTP/1.1 307 ")
    assert (headers["Location"], body) == (location, b"")
    assert "Content-Type" not in headers
    assert headers.items() >= USUAL.items()


def test_oversized_header_section_is_refused_before_the_handlers(broker: DevBroker) -> None:
    accepted = f"Authorization: Bearer {'a' * 1_000_000}"
    assert raw(broker, request("POST /v1/token/renew", b"", accepted))[0].startswith(b"HTTP/1.1 401 ")
    filling = f"Authorization: Bearer {'a' * 1_200_000}"
    status, headers, body = raw(broker, request("POST /v1/token/renew", b"", filling))
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert body == b"431 Request Header Fields Too Large"
    assert set(headers) == {"Content-Type", "Connection"}


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/health\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: b\r\nbroken\r\n\r\n",
        b"POST /v1/revoke HTTP/1.1\r\nHost: b\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_broken_header_section_is_refused_before_the_handlers(broker: DevBroker, sent: bytes) -> None:
    status, headers, body = raw(broker, sent)
    assert (status, body) == (b"HTTP/1.1 400 Bad Request", b"400 Bad Request")
    assert set(headers) == {"Content-Type", "Connection"}
    assert not broker.calls


@pytest.mark.parametrize(
    ("path", "size", "closes"),
    [
        ("/v1/token/validate", LIMIT + 1, False),
        ("/v1/nope", LIMIT + 1, False),
        ("/v1/revoke", LIMIT * 2, True),
    ],
)
def test_body_limit_comes_first_and_lacks_the_usual_headers(client: Client, path: str, size: int, closes: bool) -> None:
    reply = client.post(path, b"a" * size)
    assert problem(reply) == (413, "payload_too_large", "request body must not exceed 1 MB")
    assert not any(name in reply.headers for name in USUAL)
    assert "X-Request-Id" in reply.headers
    assert ("Connection" in reply.headers) == closes


def test_chunked_bodies_and_http_1_0(broker: DevBroker) -> None:
    head = "POST /v1/token/validate HTTP/1.1\r\nHost: b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    _, _, body = raw(broker, f'{head}5\r\n{{"tok\r\n8\r\nen":"x"}}\r\n0\r\n\r\n'.encode())
    assert b'"valid":false' in body
    sent = b'{"token":"x"}'
    old = f"POST /v1/token/validate HTTP/1.0\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent
    assert b'"valid":false' in raw(broker, old)[2]


def test_long_replies_are_chunked(client: Client) -> None:
    for n in range(10):
        client.broker.revoke("token", f"jti-{n}")
    short, long = client.get("/v1/health"), client.get("/v1/audit/events", client.admin)
    assert len(long.content) > 2048
    assert "Content-Length" in short.headers
    assert "Content-Length" not in long.headers
    assert long.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("path", ["/v1/health", "/v1/metrics", "/v1/challenge", "/v1/admin/apps", "/v1/audit/events"])
def test_get_routes_answer_head(client: Client, path: str) -> None:
    headers = {"Authorization": f"Bearer {client.admin}"}
    got, head = client.http.get(path, headers=headers), client.http.head(path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PATCH"])
def test_other_methods_are_405(client: Client, method: str) -> None:
    reply = client.http.request(method, "/v1/register", headers={"Origin": "https://elsewhere.example"})
    assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")
    assert reply.text == ("" if method == "HEAD" else "Method Not Allowed\n")
    assert not any(name.startswith("access-control") for name in reply.headers)


def test_request_id_is_echoed_whatever_it_is(client: Client) -> None:
    sent = "<\"' & é" + "x" * 300
    reply = client.http.post("/v1/token/validate", headers={"X-Request-ID": sent.encode()})
    assert reply.json()["request_id"] == sent
    assert dict(reply.headers.raw)[b"X-Request-Id"] == sent.encode()
    assert rb"\u003c" in reply.content
