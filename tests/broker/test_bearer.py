"""The bearer check of the broker's own endpoints (contract section 3)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import SCOPE, Client, claims_of, problem
from tests.broker.test_tokens import PLAIN, forge
from tests.kit.clock import Time

ENDPOINTS = [
    *(("POST", f"/v1/{path}") for path in ("token/renew", "token/release", "delegate", "revoke", "admin/apps")),
    *(("POST", f"/v1/{path}/launch-tokens") for path in ("app", "admin")),
    *(("GET", f"/v1/{path}") for path in ("admin/apps", "admin/apps/x", "audit/events")),
    *((method, "/v1/admin/apps/x") for method in ("PUT", "DELETE", "HEAD")),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "missing authorization header"),
        ("", "missing authorization header"),
        ("bearer {}", "invalid authorization scheme"),
        ("BEARER {}", "invalid authorization scheme"),
        ("Basic {}", "invalid authorization scheme"),
        ("Bearer\t{}", "invalid authorization scheme"),
        ("{}", "invalid authorization scheme"),
        ("Bearer", "invalid authorization scheme"),
        ("Bearer  {}", "token verification failed"),
        ("Bearer {}, Bearer {}", "token verification failed"),
        ("Bearer {}=", "token verification failed"),
        ("Bearer garbage", "token verification failed"),
        ("Bearer a.b.c", "token verification failed"),
    ],
)
def test_headers_that_are_refused(client: Client, method: str, path: str, header: str | None, detail: str) -> None:
    headers = {} if header is None else {"Authorization": header.replace("{}", client.admin)}
    refused = client.http.request(method, path, headers=headers)
    assert refused.status_code == 401
    assert method == "HEAD" or problem(refused) == (401, "unauthorized", detail)


@pytest.mark.parametrize("path", ["/v1/token/renew", "/v1/token/release", "/v1/delegate", "/v1/revoke"])
def test_tokens_that_are_over(client: Client, clock: Time, path: str) -> None:
    released, renewed, revoked, short = (client.agent(f"task-{n}", max_ttl=10) for n in range(4))
    client.post("/v1/token/release", None, released.token)
    client.post("/v1/token/renew", None, renewed.token)
    client.broker.revoke("task", "task-2")
    forged = forge(client.broker, PLAIN, key=Ed25519PrivateKey.generate())
    over = [released.token, renewed.token, revoked.token, forged]
    for token in over:
        assert problem(client.post(path, {}, token)) == (401, "unauthorized", "token verification failed")
    clock.now += 11
    assert problem(client.post(path, {}, short.token)) == (401, "unauthorized", "token verification failed")


def test_bearer_is_judged_before_the_body(client: Client) -> None:
    assert client.post("/v1/revoke", b"{").status_code == 401
    assert client.post("/v1/revoke", b"{", client.agent().token).status_code == 403
    assert client.post("/v1/revoke", b"{", client.admin).status_code == 400


def test_audience_is_checked_for_bearers_and_not_by_validate(clock: Time) -> None:
    with DevBroker(clock=clock, audience="https://one.example") as one:
        with Client(one) as client:
            token = client.agent().token
            assert claims_of(token)["aud"] == ["https://one.example"]
        with DevBroker(clock=clock, audience="https://two.example") as two, Client(two) as client:
            two.state.signer = one.state.signer
            assert client.valid(token)
            refused = client.post("/v1/token/renew", None, token)
            assert problem(refused) == (401, "unauthorized", "token audience mismatch")


def test_missing_audience_is_no_match(clock: Time) -> None:
    with DevBroker(clock=clock, audience="https://one.example") as broker, Client(broker) as client:
        token = forge(broker, PLAIN)
        assert client.valid(token)
        assert problem(client.post("/v1/token/release", None, token))[2] == "token audience mismatch"
        several = forge(broker, PLAIN | {"aud": ["https://other.example", "https://one.example"]})
        assert client.post("/v1/token/release", None, several).status_code == 204


def test_apps_and_admins_renew_and_release_too(client: Client) -> None:
    app = client.broker.app(scopes=SCOPE)
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    for token in (client.post("/v1/app/auth", login).json()["access_token"], client.admin):
        first, held = claims_of(token), token
        for _ in range(3):
            held = client.post("/v1/token/renew", b"not JSON", held).json()["access_token"]
        last = claims_of(held)
        assert last["jti"] != first["jti"]
        assert {**last, "jti": ""} == {**first, "jti": ""}
        released = client.post("/v1/token/release", None, held)
        assert (released.status_code, released.content) == (204, b"")
        assert not client.valid(held)
        again = client.post("/v1/token/release", None, held)
        assert problem(again) == (401, "unauthorized", "token verification failed")
