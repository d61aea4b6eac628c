"""Rate limits: which request takes from which bucket, and when (contract section 2)."""

from __future__ import annotations

import pytest

from agentwrit_guard.devbroker import AppCredentials, DevBroker
from tests.broker.kit import SCOPE, Client, problem
from tests.kit.clock import Time

REFUSAL = (429, "rate_limited", "rate limit exceeded, try again later")


def login(app: AppCredentials, **changes: str) -> dict[str, str]:
    return {"client_id": app.client_id, "client_secret": app.client_secret, **changes}


def test_admin_auth_allows_ten_at_once_and_five_a_second(client: Client, clock: Time) -> None:
    def refused(address: str = "203.0.113.9") -> bool:
        return client.post("/v1/admin/auth", {}, X_Forwarded_For=address).status_code == 429

    assert [refused() for _ in range(11)] == [False] * 10 + [True]
    assert not refused("203.0.113.10, 203.0.113.9")
    clock.now += 0.2
    assert [refused() for _ in range(2)] == [False, True]
    clock.now += 3600
    assert [refused() for _ in range(11)] == [False] * 10 + [True]


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"secret":"wrong"}'])
def test_admin_auth_is_limited_before_its_body_is_judged(client: Client, body: bytes) -> None:
    for _ in range(10):
        assert client.post("/v1/admin/auth", body).status_code in (400, 401)
    refused = client.post("/v1/admin/auth", body)
    assert problem(refused) == REFUSAL
    assert refused.headers["Retry-After"] == "1"
    assert client.post("/v1/admin/auth", {"secret": client.broker.admin_secret}).status_code == 429


def test_without_forwarding_the_address_is_the_clients_own(client: Client) -> None:
    for forwarded in ("", "127.0.0.1", "127.0.0.1 , 203.0.113.9"):
        for _ in range(3):
            client.post("/v1/admin/auth", {}, X_Forwarded_For=forwarded)
    assert client.post("/v1/admin/auth", {}).status_code == 400
    assert client.post("/v1/admin/auth", {}).status_code == 429


def test_app_auth_allows_three_at_once_and_ten_a_minute(client: Client, clock: Time) -> None:
    app = client.broker.app(scopes=SCOPE)
    right, wrong = login(app), login(app, client_secret="wrong")

    def status(credentials: dict[str, str]) -> int:
        return client.post("/v1/app/auth", credentials).status_code

    assert [status(wrong) for _ in range(3)] == [401] * 3
    refused = client.post("/v1/app/auth", right)
    assert problem(refused) == REFUSAL
    assert refused.headers["Retry-After"] == "60"
    assert status({"client_id": "another", "client_secret": "x"}) == 401
    clock.now += 6
    assert [status(right) for _ in range(2)] == [200, 429]


def test_app_auth_looks_at_no_address(client: Client) -> None:
    right = login(client.broker.app(scopes=SCOPE))
    replies = [client.post("/v1/app/auth", right, X_Forwarded_For=f"203.0.113.{n}") for n in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]


def test_bodies_without_credentials_use_up_no_apps_bucket(client: Client) -> None:
    app = client.broker.app(scopes=SCOPE)
    for body in ({"client_id": app.client_id}, {"client_id": app.client_id, "client_secret": 1}, {}) * 3:
        assert client.post("/v1/app/auth", body).status_code == 400
    assert client.post("/v1/app/auth", login(app)).status_code == 200


def test_nothing_else_is_limited(client: Client) -> None:
    token = client.agent().token
    for _ in range(30):
        assert client.post("/v1/token/validate", {"token": token}).status_code == 200
        assert client.get("/v1/challenge").status_code == 200
        assert client.post("/v1/revoke", {"level": "token", "target": "x"}, client.admin).status_code == 200


def test_restart_fills_the_buckets(client: Client) -> None:
    right = login(client.broker.app(scopes=SCOPE))
    for _ in range(11):
        client.post("/v1/app/auth", right)
        client.post("/v1/admin/auth", {})
    client.broker.restart()
    assert client.post("/v1/app/auth", right).status_code == 200
    assert client.post("/v1/admin/auth", {}).status_code == 400


def test_rate_limits_can_be_switched_off(clock: Time) -> None:
    with DevBroker(clock=clock, rate_limits=False) as broker, Client(broker) as client:
        right = login(broker.app(scopes=SCOPE))
        assert {client.post("/v1/app/auth", right).status_code for _ in range(20)} == {200}
        assert {client.post("/v1/admin/auth", {}).status_code for _ in range(20)} == {400}
