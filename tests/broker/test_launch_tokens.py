"""Launch tokens of apps and admins, and who may hand them out (contract sections 3 and 5)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.broker.kit import SCOPE, Client, problem

APP, ADMIN = "/v1/app/launch-tokens", "/v1/admin/launch-tokens"
NO_NAME = (400, "invalid_request", "agent_name is required")
NO_SCOPE = (400, "invalid_request", "allowed_scope must not be empty")


def app_token(client: Client, scopes: list[str] = SCOPE) -> str:
    app = client.broker.app(scopes=scopes)
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    token: str = client.post("/v1/app/auth", login).json()["access_token"]
    return token


def asked(client: Client, path: str, token: str, scope: object = SCOPE, **more: Any) -> httpx.Response:
    return client.post(path, {"agent_name": "agent", "allowed_scope": scope, **more}, token)


def lacks(scope: str) -> tuple[int, str, str]:
    return 403, "insufficient_scope", f"token lacks required scope: {scope}"


@pytest.mark.parametrize(
    ("policy", "max_ttl", "expires_at"),
    [
        ({}, 300, "2027-01-15T08:00:30Z"),
        ({"max_ttl": None, "ttl": None, "single_use": None}, 300, "2027-01-15T08:00:30Z"),
        ({"max_ttl": 0, "ttl": 0}, 300, "2027-01-15T08:00:30Z"),
        ({"max_ttl": -(2**63), "ttl": -1}, 300, "2027-01-15T08:00:30Z"),
        ({"max_ttl": 1, "ttl": 1}, 1, "2027-01-15T08:00:01Z"),
        ({"max_ttl": 2**63 - 1, "ttl": 86401}, 2**63 - 1, "2027-01-16T08:00:01Z"),
        ({"ttl": 2**63 - 1}, 300, "9999-12-31T23:59:59Z"),
    ],
)
def test_lifetimes(client: Client, policy: dict[str, Any], max_ttl: int, expires_at: str) -> None:
    reply = asked(client, ADMIN, client.admin, **policy)
    content = reply.json()
    assert reply.status_code == 201
    assert list(content) == ["launch_token", "expires_at", "policy"]
    assert len(content["launch_token"]) == 64
    assert content["expires_at"] == expires_at
    assert list(content["policy"].items()) == [("allowed_scope", SCOPE), ("max_ttl", max_ttl)]
    issued = client.register(content["launch_token"]).json()["expires_in"]
    assert issued == min(max_ttl, 86400)


@pytest.mark.parametrize("path", [APP, ADMIN])
def test_required_fields(client: Client, path: str) -> None:
    token = client.admin if path == ADMIN else app_token(client)
    assert problem(client.post(path, {"allowed_scope": []}, token)) == NO_NAME
    for empty in (None, []):
        assert problem(asked(client, path, token, empty)) == NO_SCOPE


def test_ceiling_is_named_whole_and_is_that_of_now(client: Client) -> None:
    app = client.broker.app(scopes=["read:data:*", "write:data:1"])
    token = client.post("/v1/app/auth", {"client_id": app.client_id, "client_secret": app.client_secret}).json()
    bearer = token["access_token"]
    text = "requested scopes exceed app ceiling; allowed: [read:data:* write:data:1]"
    for beyond in (["write:data:*"], ["read:data:1", "write:data:2"], ["no scope"], ["read:data:"], [None]):
        assert problem(asked(client, APP, bearer, beyond)) == (403, "forbidden", text)
    assert asked(client, APP, bearer, ["read:data:a:b", "write:data:1"]).status_code == 201
    changed = {"scopes": ["a:b:c"]}
    headers = {"Authorization": f"Bearer {client.admin}"}
    client.http.put(f"/v1/admin/apps/{app.app_id}", json=changed, headers=headers)
    text = "requested scopes exceed app ceiling; allowed: [a:b:c]"
    assert problem(asked(client, APP, bearer, ["read:data:1"])) == (403, "forbidden", text)


def test_admin_route_looks_at_no_form_but_registration_does(client: Client) -> None:
    scope = ["anything goes", "", "read:data:*", "admin:revoke:*"]
    launched = asked(client, ADMIN, client.admin, scope, single_use=False)
    assert launched.json()["policy"]["allowed_scope"] == scope
    token = launched.json()["launch_token"]
    for malformed in scope[:2]:
        refused = client.register(token, requested_scope=[malformed])
        assert problem(refused) == (403, "scope_violation", "requested scope exceeds allowed scope")
    assert client.register(token, requested_scope=["admin:revoke:*"]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", ADMIN, "admin:launch-tokens:*"),
        ("POST", "/v1/admin/apps", "admin:launch-tokens:*"),
        ("GET", "/v1/admin/apps", "admin:launch-tokens:*"),
        ("GET", "/v1/admin/apps/x", "admin:launch-tokens:*"),
        ("PUT", "/v1/admin/apps/x", "admin:launch-tokens:*"),
        ("DELETE", "/v1/admin/apps/x", "admin:launch-tokens:*"),
        ("POST", "/v1/revoke", "admin:revoke:*"),
        ("GET", "/v1/audit/events", "admin:audit:*"),
    ],
)
def test_scope_decides_and_not_the_kind_of_principal(client: Client, method: str, path: str, scope: str) -> None:
    def reply(token: str) -> httpx.Response:
        return client.http.request(method, path, headers={"Authorization": f"Bearer {token}"})

    narrower = [scope.replace("*", "some"), "admin:*:*", "*:*:*"]
    for token in (app_token(client), client.agent(scope=narrower).token):
        assert problem(reply(token)) == lacks(scope)
    assert reply(client.agent(scope=[scope]).token).status_code != 403


def test_app_route_is_for_apps(client: Client) -> None:
    assert problem(asked(client, APP, client.admin)) == lacks("app:launch-tokens:*")
    agent = client.agent(scope=["app:launch-tokens:*"])
    assert asked(client, APP, agent.token).status_code == 403
    # What an app hands on makes no app of an agent.
    handed_on = client.delegated(app_token(client), agent.agent_id, ["app:launch-tokens:*"])
    assert problem(asked(client, APP, handed_on))[:2] == (403, "forbidden")
