"""App records (contract section 5)."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import SCOPE, Client, problem
from tests.kit.clock import Time

PATH = "/v1/admin/apps"
BAD_NAME = (400, "invalid_request", "invalid app name: must be lowercase letters, digits, and hyphens")
BAD_SCOPE = (400, "invalid_request", "invalid scope format: use action:resource:identifier")
NO_SCOPES = (400, "invalid_request", "scopes must not be empty")
NOTHING = (400, "invalid_request", "at least one of scopes or token_ttl must be provided")
FAILED = (500, "internal_error", "failed to register app")
UNKNOWN = (404, "not_found", "app not found")


def bad_ttl(ttl: int) -> tuple[int, str, str]:
    return 400, "invalid_ttl", f"invalid token TTL: must be between 60 and 86400 seconds, got {ttl}"


def sent(client: Client, method: str, app_id: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {client.admin}"}
    return client.http.request(method, f"{PATH}/{app_id}", json=body, headers=headers)


def login(client: Client, app: Any) -> httpx.Response:
    return client.post("/v1/app/auth", {"client_id": app.client_id, "client_secret": app.client_secret})


@pytest.mark.parametrize(
    ("name", "short"), [("data-app", "da"), ("ttl-app", "ta"), ("x1", "x1"), ("one-two-three", "ott"), ("9-z", "9z")]
)
def test_ids_of_a_new_app(client: Client, name: str, short: str) -> None:
    created = client.post(PATH, {"name": name, "scopes": SCOPE}, client.admin).json()
    assert list(created) == ["app_id", "name", "client_id", "client_secret", "scopes", "token_ttl", "status"]
    assert re.fullmatch(f"app-{name}-[0-9a-f]{{6}}", created["app_id"])
    assert re.fullmatch(f"{short}-[0-9a-f]{{12}}", created["client_id"])
    assert re.fullmatch("[0-9a-f]{64}", created["client_secret"])
    assert (created["name"], created["status"], created["token_ttl"]) == ("", "", 1800)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"name": "x", "scopes": SCOPE}, BAD_NAME),
        ({"name": "a_b", "scopes": SCOPE}, BAD_NAME),
        ({"name": "é-app", "scopes": SCOPE}, BAD_NAME),
        ({"name": "an app", "scopes": SCOPE}, BAD_NAME),
        ({"name": "app\n", "scopes": SCOPE}, BAD_NAME),
        ({"name": "app", "scopes": None}, NO_SCOPES),
        ({"name": "app", "scopes": [None]}, BAD_SCOPE),
        ({"name": "app", "scopes": [*SCOPE, "read"]}, BAD_SCOPE),
        ({"name": "app", "scopes": SCOPE, "token_ttl": 59}, bad_ttl(59)),
        ({"name": "app", "scopes": SCOPE, "token_ttl": 86401}, bad_ttl(86401)),
        ({"name": "app", "scopes": SCOPE, "token_ttl": -1}, bad_ttl(-1)),
    ],
)
def test_apps_that_are_refused(client: Client, body: dict[str, Any], refusal: tuple[int, str, str]) -> None:
    assert problem(client.post(PATH, body, client.admin)) == refusal


@pytest.mark.parametrize("ttl", [60, 86400])
def test_lifetimes_at_the_bounds(client: Client, ttl: int) -> None:
    app = client.broker.app(scopes=SCOPE, token_ttl=ttl)
    assert login(client, app).json()["expires_in"] == ttl


def test_list_is_newest_first_and_holds_whole_records(client: Client, clock: Time) -> None:
    assert client.get(PATH, client.admin).json() == {"apps": [], "total": 0}
    first = client.broker.app(scopes=["*:*:*", "admin:revoke:*"], name="first")
    clock.now += 1
    second = client.broker.app(scopes=SCOPE, name="second", token_ttl=60)
    sent(client, "PUT", first.app_id, {"token_ttl": 70})
    listed = client.get(PATH, client.admin).json()
    assert [app["app_id"] for app in listed["apps"]] == [second.app_id, first.app_id]
    assert listed["total"] == 2
    assert listed["apps"][1] == {
        "app_id": first.app_id,
        "name": "first",
        "client_id": first.client_id,
        "scopes": ["*:*:*", "admin:revoke:*"],
        "token_ttl": 70,
        "status": "active",
        "created_at": "2027-01-15T08:00:00Z",
        "updated_at": "2027-01-15T08:00:01Z",
    }
    assert sent(client, "GET", first.app_id).json() == listed["apps"][1]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, NOTHING),
        ({"scopes": [], "token_ttl": None}, NOTHING),
        ({"token_ttl": 0}, bad_ttl(0)),
        ({"scopes": ["read:data:"], "token_ttl": 60}, BAD_SCOPE),
    ],
)
def test_updates_that_are_refused_change_nothing(
    client: Client, body: dict[str, Any], refusal: tuple[int, str, str]
) -> None:
    app = client.broker.app(scopes=SCOPE)
    before = sent(client, "GET", app.app_id).json()
    assert problem(sent(client, "PUT", app.app_id, body)) == refusal
    assert sent(client, "GET", app.app_id).json() == before


def test_update(client: Client, clock: Time) -> None:
    app = client.broker.app(scopes=SCOPE, token_ttl=60)
    before = sent(client, "GET", app.app_id).json()
    clock.now += 10
    after = sent(client, "PUT", app.app_id, {"token_ttl": 120}).json()
    assert {name for name in before if before[name] != after[name]} == {"token_ttl", "updated_at"}
    both = sent(client, "PUT", app.app_id, {"scopes": ["a:b:c"], "token_ttl": 60}).json()
    assert (both["scopes"], both["token_ttl"]) == (["a:b:c"], 60)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_unknown_app(client: Client, method: str) -> None:
    assert problem(sent(client, method, "app-none-000000", {"token_ttl": 60})) == UNKNOWN


def test_deregistering_revokes_nothing(client: Client, clock: Time) -> None:
    app = client.broker.app(scopes=SCOPE)
    token = login(client, app).json()["access_token"]
    deleted = sent(client, "DELETE", app.app_id)
    clock.now += 5
    assert deleted.text == sent(client, "DELETE", app.app_id).text
    assert list(deleted.json().items()) == [
        *(("app_id", app.app_id), ("name", ""), ("client_id", ""), ("scopes", None), ("token_ttl", 0)),
        *(("status", "inactive"), ("deregistered_at", "2027-01-15T08:00:00Z")),
    ]
    assert sent(client, "GET", app.app_id).json()["status"] == "inactive"
    assert problem(login(client, app)) == (401, "unauthorized", "Authentication failed")
    assert client.valid(token)
    launched = client.post("/v1/app/launch-tokens", {"agent_name": "a", "allowed_scope": SCOPE}, token)
    assert launched.status_code == 201
    assert client.register(launched.json()["launch_token"]).status_code == 200


@pytest.mark.parametrize("wrong", [{"scopes": ["read:data"]}, {"scopes": []}, {"scopes": SCOPE, "token_ttl": 1}])
def test_app_that_the_broker_would_refuse(broker: DevBroker, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        broker.app(**wrong)


def test_names_are_unique_for_ever(client: Client) -> None:
    app = client.broker.app(scopes=SCOPE, name="same")
    with pytest.raises(ValueError, match="failed to register app"):
        client.broker.app(scopes=SCOPE, name="same")
    sent(client, "DELETE", app.app_id)
    assert problem(client.post(PATH, {"name": "same", "scopes": SCOPE}, client.admin)) == FAILED


def test_lifetime_of_an_apps_token_is_cut_to_the_maximum(clock: Time) -> None:
    with DevBroker(clock=clock, max_ttl=100, app_token_ttl=5000) as broker, Client(broker) as client:
        app = broker.app(scopes=SCOPE)
        assert sent(client, "GET", app.app_id).json()["token_ttl"] == 5000
        assert login(client, app).json()["expires_in"] == 100
