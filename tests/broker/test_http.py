"""HTTP below and around the endpoints: what clients tidy up is sent as raw bytes."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client, Clock, problem

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


def test_names_are_spelt_and_dates_are_of_the_clock(broker: DevBroker, clock: Clock) -> None:
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
    filling = f"Authorization: Bearer {'a' * 1_200_000}"
    status, headers, body = raw(broker, request("POST /v1/token/renew", b"", filling))
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert body == b"431 Request Header Fields Too Large"
    assert set(headers) == {"Content-Type", "Connection"}


def test_broken_request_line_is_refused_before_the_handlers(broker: DevBroker) -> None:
    status, headers, _ = raw(broker, b"nonsense\r\n\r\n")
    assert status == b"HTTP/1.1 400 Bad Request"
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


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "malformed JSON body"),
        (b"token=x", "malformed JSON body"),
        (b"[]", "malformed JSON body"),
        (b'"token"', "malformed JSON body"),
        (b"\xef\xbb\xbf{}", "malformed JSON body"),
        (b'{"token":NaN}', "malformed JSON body"),
        (b'{"token":"a","token":1}', "malformed JSON body"),
        (b'{"token":1,"token":"a"}', "malformed JSON body"),
        (b"[" * 100_000, "malformed JSON body"),
        (b"null", "token field is required"),
        (b" {} {", "token field is required"),
        (b'{"token":null}', "token field is required"),
        (b'{"token":"a","TOKEN":""}', "token field is required"),
    ],
)
def test_bodies_that_give_no_token(client: Client, body: bytes, detail: str) -> None:
    assert problem(client.post("/v1/token/validate", body)) == (400, "invalid_request", detail)


@pytest.mark.parametrize(
    "template",
    [
        '{"TOKEN":"%s"}',
        '{"to\u212aen":"%s"}',
        '{"token":"x","token":"%s"}',
        '{"token":"%s","token":null}',
        '{"token":"%s"} and more',
        '\n{"other":[{"token":1.5e400}],"token":"%s"}',
    ],
)
def test_bodies_that_give_the_token(client: Client, template: str) -> None:
    token = client.agent().token
    reply = client.post("/v1/token/validate", (template % token).encode())
    assert reply.json()["valid"] is True


def test_admin_auth_alone_refuses_trailing_data(client: Client) -> None:
    body = json.dumps({"secret": client.broker.admin_secret}).encode()
    assert client.post("/v1/admin/auth", body + b"\n").status_code == 200
    assert problem(client.post("/v1/admin/auth", body + b"x"))[2] == "malformed JSON body"


@pytest.mark.parametrize("ttl", [60.0, "60", True, 2**63, [60]])
def test_integers_are_literals(client: Client, ttl: Any) -> None:
    content = {"agent_name": "a", "allowed_scope": ["a:b:c"], "ttl": ttl}
    assert problem(client.post("/v1/admin/launch-tokens", content, client.admin))[2] == "malformed JSON body"


def test_bearer_is_judged_before_the_body(client: Client) -> None:
    assert client.post("/v1/revoke", b"{").status_code == 401
    assert client.post("/v1/revoke", b"{", client.agent().token).status_code == 403
    assert client.post("/v1/revoke", b"{", client.admin).status_code == 400
