"""The headers of every reply, whatever the reply is (contract section 2)."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.broker.kit import SCOPE, Client

USUAL = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
NEVER = ("WWW-Authenticate", "Server", "Vary", "Set-Cookie", "Access-Control-Allow-Origin")
JSON, PROBLEM, TEXT = "application/json", "application/problem+json", "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

# method, path, body, whether an admin's token is sent; status, media type.
REPLIES = [
    ("GET", "/v1/health", None, False, 200, JSON),
    ("HEAD", "/v1/health", None, False, 200, JSON),
    ("GET", "/v1/metrics", None, False, 200, METRICS),
    ("POST", "/v1/admin/launch-tokens", {"agent_name": "a", "allowed_scope": SCOPE}, True, 201, JSON),
    ("POST", "/v1/token/release", None, True, 204, None),
    ("GET", "/v1//health", None, False, 307, None),
    ("POST", "/v1/token/validate", {}, False, 400, PROBLEM),
    ("POST", "/v1/token/renew", None, False, 401, PROBLEM),
    ("POST", "/v1/app/launch-tokens", None, True, 403, PROBLEM),
    ("GET", "/v1/admin/apps/none", None, True, 404, PROBLEM),
    ("GET", "/v1/admin/apps/", None, True, 404, TEXT),
    ("POST", "/", None, False, 404, TEXT),
    ("DELETE", "/v1/admin/apps", None, False, 405, TEXT),
    ("HEAD", "/v1/revoke", None, False, 405, TEXT),
    ("POST", "/v1/delegate", {}, True, 500, PROBLEM),
]


def asked(client: Client, method: str, path: str, body: object, admin: bool, **headers: str) -> httpx.Response:
    sent = {"Origin": "https://elsewhere.example", "Accept": "text/html", "Accept-Encoding": "gzip", **headers}
    if admin:
        sent["Authorization"] = f"Bearer {client.admin}"
    url = httpx.URL(client.broker.url).copy_with(raw_path=path.encode())
    return client.http.request(method, url, json=body, headers=sent)


@pytest.mark.parametrize(
    ("method", "path", "body", "admin", "status", "media_type"), REPLIES, ids=[f"{r[0]} {r[1]} {r[4]}" for r in REPLIES]
)
def test_headers_of_every_reply(
    client: Client, method: str, path: str, body: object, admin: bool, status: int, media_type: str | None
) -> None:
    reply = asked(client, method, path, body, admin)
    assert (reply.status_code, reply.headers.get("Content-Type")) == (status, media_type)
    assert {name: reply.headers.get_list(name) for name in USUAL} == {name: [value] for name, value in USUAL.items()}
    assert re.fullmatch("[0-9a-f]{16}", reply.headers["X-Request-Id"])
    assert "Date" in reply.headers
    assert not [name for name in NEVER if name in reply.headers]
    sized = ("Content-Length" in reply.headers) != ("Transfer-Encoding" in reply.headers)
    assert sized == (status != 204)


@pytest.mark.parametrize(("method", "path", "body", "admin", "status", "media_type"), REPLIES[::2])
def test_request_id_is_echoed_by_every_reply(
    client: Client, method: str, path: str, body: object, admin: bool, status: int, media_type: str | None
) -> None:
    reply = asked(client, method, path, body, admin, **{"X-Request-ID": "trace-1"})
    assert reply.headers.get_list("X-Request-Id") == ["trace-1"]
    if media_type == PROBLEM:
        assert reply.json()["request_id"] == "trace-1"


def test_request_ids_differ(client: Client) -> None:
    assert len({client.get("/v1/health").headers["X-Request-Id"] for _ in range(20)}) == 20
    empty = client.http.get("/v1/health", headers={"X-Request-ID": ""})
    assert re.fullmatch("[0-9a-f]{16}", empty.headers["X-Request-Id"])


def test_every_broken_byte_of_a_request_id_is_marked(client: Client) -> None:
    sent = b"a\xe2\x82 b\xff"
    reply = client.http.post("/v1/token/validate", headers={"X-Request-ID": sent})
    assert dict(reply.headers.raw)[b"X-Request-Id"] == sent
    assert reply.json()["request_id"] == "a\ufffd\ufffd b\ufffd"


def test_problem_names_the_path_without_its_query(client: Client) -> None:
    reply = client.post("/v1/token/validate?token=x", {})
    assert list(reply.json()) == ["type", "title", "status", "detail", "instance", "error_code", "request_id"]
    assert reply.json()["instance"] == "/v1/token/validate"
    assert reply.content.endswith(b"}\n")


def test_admin_apps_share_one_path(client: Client) -> None:
    def allowed(path: str) -> str:
        allow: str = client.http.request("PATCH", path).headers["Allow"]
        return allow

    assert allowed("/v1/admin/apps") == "GET, HEAD, POST"
    assert allowed("/v1/admin/apps/x") == "DELETE, GET, HEAD, PUT"
    assert allowed("/v1/health") == "GET, HEAD"
