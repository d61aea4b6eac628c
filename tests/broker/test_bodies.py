"""How JSON bodies are read: leniently where the broker is, strictly where it is (contract section 2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.broker.kit import Client, problem


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
    for trailing in (b"x", b"{}", b" null"):
        assert problem(client.post("/v1/admin/auth", body + trailing))[2] == "malformed JSON body"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/revoke", '{"LEVEL":"planet","Level":"token","target":"x","other":1}', 200),
        ("/v1/delegate", '{"scope":["a:b:c"],"SCOPE":["admin:audit:*"],"delegate_to":"AGENT"}', 200),
        ("/v1/admin/apps", '{"Name":"app","\u017fcopes":["a:b:c"],"token_ttl":null}', 201),
        ("/v1/admin/launch-tokens", '{"agent_NAME":"a","allowed_scope":[],"allowed_scope":["a:b:c"]}', 201),
        ("/v1/app/auth", '{"client_id":"x","CLIENT_SECRET":"y"}', 401),
    ],
)
@pytest.mark.parametrize("trailing", ["", " more", "{}"])
def test_all_bodies_read_alike(client: Client, path: str, body: str, status: int, trailing: str) -> None:
    agent = client.agent()
    sent = (body.replace("AGENT", agent.agent_id) + trailing).encode()
    reply = client.post(path, sent, client.admin, Content_Type="image/png")
    assert reply.status_code == status
    assert client.post(path, b"null", client.admin).json()["detail"] != "malformed JSON body"
    for malformed in (b"", b"[]", b"\xef\xbb\xbf{}", b"secret=x"):
        assert problem(client.post(path, malformed, client.admin))[2] == "malformed JSON body"


@pytest.mark.parametrize("ttl", [60.0, "60", True, 2**63, [60]])
def test_integers_are_literals(client: Client, ttl: Any) -> None:
    content = {"agent_name": "a", "allowed_scope": ["a:b:c"], "ttl": ttl}
    assert problem(client.post("/v1/admin/launch-tokens", content, client.admin))[2] == "malformed JSON body"
