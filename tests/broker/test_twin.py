"""What the twin does over several requests, and what recordings cannot show."""

from __future__ import annotations

import threading

import httpx

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import SCOPE, Client, claims_of, problem
from tests.kit.clock import Time


def test_token_is_good_through_the_whole_second_of_its_exp(client: Client, clock: Time) -> None:
    token = client.agent(max_ttl=10).token
    clock.now = claims_of(token)["exp"] + 0.999
    assert client.valid(token)
    clock.now = claims_of(token)["exp"] + 1
    assert not client.valid(token)


def test_token_is_not_good_before_its_nbf(client: Client, clock: Time) -> None:
    token = client.agent().token
    clock.now = claims_of(token)["nbf"] - 0.001
    assert not client.valid(token)


def test_lifetimes_are_cut_to_the_maximum(clock: Time) -> None:
    with DevBroker(clock=clock, max_ttl=90) as broker, Client(broker) as client:
        policy = client.post(
            "/v1/admin/launch-tokens",
            {"agent_name": "a", "allowed_scope": SCOPE, "max_ttl": 5000, "single_use": False},
            client.admin,
        ).json()
        assert policy["policy"]["max_ttl"] == 5000
        registered = client.register(policy["launch_token"]).json()
        assert registered["expires_in"] == 90
        issued = client.delegate(registered["access_token"], registered["agent_id"], ttl=5000).json()
        assert issued["expires_in"] == 90


def test_renewal_keeps_the_lifetime_and_kills_the_old_token(client: Client, clock: Time) -> None:
    old = client.agent(max_ttl=100).token
    clock.now += 40
    reply = client.post("/v1/token/renew", None, old).json()
    new = claims_of(reply["access_token"])
    assert reply["expires_in"] == new["exp"] - new["iat"] == 100
    assert new["iat"] == int(clock.now)
    changed = {"jti", "iat", "nbf", "exp"}
    before = claims_of(old)
    assert {name for name in before if before[name] != new[name]} == changed
    assert list(new) == list(before)
    assert not client.valid(old)
    assert problem(client.post("/v1/token/renew", None, old))[0] == 401


def test_of_renewals_at_once_one_wins(client: Client) -> None:
    token = client.agent().token
    barrier = threading.Barrier(8)
    statuses: list[int] = []

    def renew() -> None:
        with httpx.Client(base_url=client.broker.url, trust_env=False) as own:
            barrier.wait()
            reply = own.post("/v1/token/renew", headers={"Authorization": f"Bearer {token}"})
            statuses.append(reply.status_code)

    threads = [threading.Thread(target=renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [401] * 7


def test_restart_forgets_agents_and_launches_but_not_tokens(client: Client) -> None:
    a, b = client.agent("task-a"), client.agent("task-b")
    revoked = client.agent("task-c")
    client.broker.revoke("agent", revoked.agent_id)
    launch_token, nonce = client.launch(), client.nonce()
    app = client.broker.app(scopes=SCOPE)
    events = client.get("/v1/audit/events", client.admin).json()["total"]

    client.broker.restart()

    assert client.valid(a.token)
    assert not client.valid(revoked.token)
    assert problem(client.delegate(a.token, b.agent_id)) == (404, "not_found", "delegate agent not found")
    assert client.post("/v1/token/renew", None, b.token).status_code == 200
    assert problem(client.register(launch_token))[2] == "launch token: launch token not found"
    assert problem(client.register(client.launch(), nonce=nonce))[2] == "nonce: nonce not found or expired"
    credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
    assert client.post("/v1/app/auth", credentials).status_code == 200
    assert client.get("/v1/audit/events", client.admin).json()["total"] > events


def test_validate_leaves_no_trace_but_its_count(client: Client) -> None:
    token = client.agent().token
    before = client.get("/v1/health").json()["audit_events_count"]
    client.broker.calls.clear()
    assert client.valid(token)
    assert client.get("/v1/health").json()["audit_events_count"] == before
    assert client.broker.calls == {"/v1/token/validate": 1, "/v1/health": 1}
