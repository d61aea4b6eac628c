"""What the twin does over several requests, and what recordings cannot show."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import SCOPE, Client, Clock, Holder, claims_of, problem


@dataclass(frozen=True)
class Family:
    """Root A, middle B, leaf C, each with its own token; A delegated to B (ab), B that on to C (bc)."""

    a: Holder
    b: Holder
    c: Holder
    ab: str
    bc: str

    def tokens(self) -> dict[str, str]:
        return {"a": self.a.token, "b": self.b.token, "c": self.c.token, "ab": self.ab, "bc": self.bc}


def family(client: Client) -> Family:
    a, b, c = (client.agent(task_id) for task_id in ("task-a", "task-b", "task-c"))
    ab = client.delegated(a.token, b.agent_id)
    return Family(a, b, c, ab, client.delegated(ab, c.agent_id))


@pytest.mark.parametrize(
    ("level", "target", "dead"),
    [
        pytest.param("token", lambda f: f.a.claims["jti"], {"a"}, id="token: the root's own jti"),
        pytest.param("token", lambda f: claims_of(f.ab)["jti"], {"ab"}, id="token: a delegated jti"),
        pytest.param("agent", lambda f: f.a.agent_id, {"a"}, id="agent: the root"),
        pytest.param("agent", lambda f: f.b.agent_id, {"b", "ab"}, id="agent: the middle"),
        pytest.param("agent", lambda f: f.c.agent_id, {"c", "bc"}, id="agent: the leaf"),
        pytest.param("task", lambda f: "task-a", {"a", "ab", "bc"}, id="task: the root's"),
        pytest.param("task", lambda f: "task-b", {"b"}, id="task: the middle's"),
        pytest.param("chain", lambda f: f.a.agent_id, {"ab", "bc"}, id="chain: the root"),
        pytest.param("chain", lambda f: f.b.agent_id, set(), id="chain: the middle is no root"),
    ],
)
@pytest.mark.parametrize("over_http", [True, False], ids=["POST /v1/revoke", "DevBroker.revoke"])
def test_reach_of_a_revocation(
    client: Client, level: str, target: Callable[[Family], str], dead: set[str], over_http: bool
) -> None:
    tokens = family(client)
    if over_http:
        content = {"level": level, "target": target(tokens)}
        reply = client.post("/v1/revoke", content, client.admin)
        assert reply.json() == {"revoked": True, **content, "count": 1}
    else:
        client.broker.revoke(level, target(tokens))
    assert {name for name, token in tokens.tokens().items() if not client.valid(token)} == dead


def test_chain_revocation_reaches_tokens_that_are_issued_later(client: Client) -> None:
    a, b = client.agent("task-a"), client.agent("task-b")
    client.broker.revoke("chain", a.agent_id)
    assert client.valid(a.token)
    assert not client.valid(client.delegated(a.token, b.agent_id))


def test_revoked_bearer_is_401_everywhere(client: Client) -> None:
    agent = client.agent()
    client.broker.revoke("agent", agent.agent_id)
    for path in ("/v1/token/renew", "/v1/token/release", "/v1/delegate", "/v1/revoke"):
        assert problem(client.post(path, {}, agent.token)) == (401, "unauthorized", "token verification failed")


def test_unknown_revocation_level_is_a_mistake_of_the_program(broker: DevBroker) -> None:
    with pytest.raises(ValueError, match="planet"):
        broker.revoke("planet", "x")


def test_token_is_good_through_the_whole_second_of_its_exp(client: Client, clock: Clock) -> None:
    token = client.agent(max_ttl=10).token
    clock.now = claims_of(token)["exp"] + 0.999
    assert client.valid(token)
    clock.now = claims_of(token)["exp"] + 1
    assert not client.valid(token)


def test_token_is_not_good_before_its_nbf(client: Client, clock: Clock) -> None:
    token = client.agent().token
    clock.now = claims_of(token)["nbf"] - 0.001
    assert not client.valid(token)


def test_admin_auth_allows_ten_at_once_and_five_a_second(client: Client, clock: Clock) -> None:
    def refused(address: str = "203.0.113.9") -> bool:
        return client.post("/v1/admin/auth", {}, X_Forwarded_For=address).status_code == 429

    assert [refused() for _ in range(11)] == [False] * 10 + [True]
    assert not refused("203.0.113.10, 203.0.113.9")
    clock.now += 0.2
    assert [refused() for _ in range(2)] == [False, True]
    clock.now += 3600
    assert [refused() for _ in range(11)] == [False] * 10 + [True]


def test_app_auth_allows_three_at_once_and_ten_a_minute(client: Client, clock: Clock) -> None:
    app = client.broker.app(scopes=SCOPE)
    right = {"client_id": app.client_id, "client_secret": app.client_secret}

    def status(credentials: dict[str, str]) -> int:
        return client.post("/v1/app/auth", credentials).status_code

    assert [status({**right, "client_secret": "wrong"}) for _ in range(3)] == [401] * 3
    refused = client.post("/v1/app/auth", right)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert status({"client_id": "another", "client_secret": "x"}) == 401
    clock.now += 6
    assert [status(right) for _ in range(2)] == [200, 429]


def test_rate_limits_can_be_switched_off(clock: Clock) -> None:
    with DevBroker(clock=clock, rate_limits=False) as broker, Client(broker) as client:
        app = broker.app(scopes=SCOPE)
        credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
        assert {client.post("/v1/app/auth", credentials).status_code for _ in range(20)} == {200}
        assert {client.post("/v1/admin/auth", {}).status_code for _ in range(20)} == {400}


@pytest.mark.parametrize(
    ("changes", "status", "used_up"),
    [
        pytest.param({"task_id": None}, 400, set(), id="missing field"),
        pytest.param({"launch_token": "0" * 64}, 401, set(), id="unknown launch token"),
        pytest.param({"requested_scope": ["write:data:1"]}, 403, set(), id="scope violation"),
        pytest.param({"public_key": "!"}, 401, {"nonce"}, id="key is no base64"),
        pytest.param({"public_key": "AAAA"}, 401, {"nonce"}, id="key of the wrong size"),
        pytest.param({"signature": "!"}, 401, {"nonce"}, id="signature is no base64"),
        pytest.param({"signature": "AAAA"}, 401, {"nonce"}, id="wrong signature"),
        pytest.param({"task_id": ".."}, 500, {"nonce", "launch token"}, id="bad id"),
        pytest.param({}, 200, {"nonce", "launch token"}, id="success"),
    ],
)
def test_what_a_registration_uses_up(client: Client, changes: dict[str, Any], status: int, used_up: set[str]) -> None:
    launch_token, nonce = client.launch(), client.nonce()
    assert client.register(launch_token, nonce=nonce, **changes).status_code == status

    consumed = set()
    if client.register(client.launch(), nonce=nonce).status_code == 401:
        consumed.add("nonce")
    if client.register(launch_token).status_code == 401:
        consumed.add("launch token")
    assert consumed == used_up


def test_launch_token_for_many_agents(client: Client) -> None:
    launch_token = client.launch(single_use=False)
    ids = {client.register(launch_token).json()["agent_id"] for _ in range(3)}
    assert len(ids) == 3


def test_launch_token_and_nonce_run_out(client: Client, clock: Clock) -> None:
    nonce, launch_token, long_lived = client.nonce(), client.launch(ttl=5), client.launch(ttl=60)
    clock.now += 5.5
    refused = client.register(launch_token, nonce=nonce)
    assert problem(refused) == (401, "unauthorized", "launch token: launch token expired")
    clock.now += 25
    refused = client.register(long_lived, nonce=nonce)
    assert problem(refused) == (401, "unauthorized", "nonce: nonce not found or expired")


def test_lifetimes_are_cut_to_the_maximum(clock: Clock) -> None:
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


def test_renewal_keeps_the_lifetime_and_kills_the_old_token(client: Client, clock: Clock) -> None:
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


def test_delegated_token_belongs_to_the_root_task_and_outlives_its_parent(client: Client, clock: Clock) -> None:
    a, b = client.agent("task-a", max_ttl=10), client.agent("task-b")
    token = client.delegated(a.token, b.agent_id, ["read:data:1"], ttl=600)
    claims = claims_of(token)
    assert claims["sub"] == b.agent_id
    assert (claims["task_id"], claims["scope"]) == ("task-a", ["read:data:1"])
    (record,) = claims["delegation_chain"]
    assert (record["agent"], record["scope"]) == (a.agent_id, SCOPE)
    signed = f"{record['agent']}|{','.join(record['scope'])}|{record['delegated_at']}"
    client.broker.public_key.verify(bytes.fromhex(record["signature"]), signed.encode())
    clock.now += 20
    assert not client.valid(a.token)
    assert client.valid(token)


def test_audience_is_checked_for_bearers_and_not_by_validate(clock: Clock) -> None:
    with DevBroker(clock=clock, audience="https://one.example") as one:
        with Client(one) as client:
            token = client.agent().token
            assert claims_of(token)["aud"] == ["https://one.example"]
        with DevBroker(clock=clock, audience="https://two.example") as two, Client(two) as client:
            two.state.signer = one.state.signer
            assert client.valid(token)
            refused = client.post("/v1/token/renew", None, token)
            assert problem(refused) == (401, "unauthorized", "token audience mismatch")


def test_deregistering_an_app_revokes_nothing(client: Client) -> None:
    app = client.broker.app(scopes=SCOPE)
    credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
    token = client.post("/v1/app/auth", credentials).json()["access_token"]
    deleted = client.http.request(
        "DELETE", f"/v1/admin/apps/{app.app_id}", headers={"Authorization": f"Bearer {client.admin}"}
    )
    assert deleted.json()["status"] == "inactive"
    assert client.get(f"/v1/admin/apps/{app.app_id}", client.admin).json()["status"] == "inactive"
    assert client.post("/v1/app/auth", credentials).status_code == 401
    assert client.valid(token)
    launched = client.post("/v1/app/launch-tokens", {"agent_name": "a", "allowed_scope": SCOPE}, token)
    assert launched.status_code == 201


def test_app_is_updated(client: Client, clock: Clock) -> None:
    app = client.broker.app(scopes=SCOPE, token_ttl=60)
    before = client.get(f"/v1/admin/apps/{app.app_id}", client.admin).json()
    clock.now += 10
    after = client.http.put(
        f"/v1/admin/apps/{app.app_id}",
        json={"token_ttl": 120},
        headers={"Authorization": f"Bearer {client.admin}"},
    ).json()
    assert {name for name in before if before[name] != after[name]} == {"token_ttl", "updated_at"}


@pytest.mark.parametrize("wrong", [{"scopes": ["read:data"]}, {"scopes": []}, {"scopes": SCOPE, "token_ttl": 1}])
def test_app_that_the_broker_would_refuse(broker: DevBroker, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        broker.app(**wrong)


def test_app_names_are_unique(broker: DevBroker) -> None:
    broker.app(scopes=SCOPE, name="same")
    with pytest.raises(ValueError, match="failed to register app"):
        broker.app(scopes=SCOPE, name="same")


def test_audit_chain_recomputes(client: Client) -> None:
    tokens = family(client)
    client.post("/v1/token/release", None, tokens.bc)
    client.post("/v1/admin/auth", {"secret": "wrong"})
    client.delegate(tokens.a.token, tokens.b.agent_id, ["write:data:1"])
    page = client.get("/v1/audit/events?limit=1000", client.admin).json()
    previous = "0" * 64
    order = [
        *("id", "timestamp", "event_type", "agent_id", "task_id", "orch_id", "detail", "resource"),
        *("outcome", "deleg_depth", "deleg_chain_hash", "bytes_transferred"),
    ]
    numbers = {"deleg_depth", "bytes_transferred"}
    for event in page["events"]:
        values = [str(event.get(name, 0 if name in numbers else "")) for name in order]
        text = "|".join([previous, *values])
        assert event["prev_hash"] == previous
        assert event["hash"] == hashlib.sha256(text.encode()).hexdigest()
        previous = event["hash"]
    types = {event["event_type"] for event in page["events"]}
    assert {"delegation_created", "token_released", "admin_auth_failed", "agent_registered"} <= types
    assert "delegation_attenuation_violation" in types
    assert page["total"] == len(page["events"])


def test_audit_filters_and_pages(client: Client, clock: Clock) -> None:
    client.agent()
    clock.now += 100
    for n in range(3):
        client.broker.revoke("token", f"jti-{n}")

    def page(query: str) -> dict[str, Any]:
        content: dict[str, Any] = client.get(f"/v1/audit/events?{query}", client.admin).json()
        return content

    revoked = page("event_type=token_revoked&limit=2&offset=1")
    assert (revoked["total"], revoked["offset"], revoked["limit"]) == (3, 1, 2)
    assert [event["detail"][-1] for event in revoked["events"]] == ["1", "2"]
    assert page("event_type=nothing")["events"] == []
    assert page("limit=5000")["limit"] == 5000
    assert page("limit=many&offset=-1&since=yesterday") == page("")
    assert page("since=2027-01-15T08:01:00Z")["total"] == 3


def test_validate_leaves_no_trace_but_its_count(client: Client) -> None:
    token = client.agent().token
    before = client.get("/v1/health").json()["audit_events_count"]
    client.broker.calls.clear()
    assert client.valid(token)
    assert client.get("/v1/health").json()["audit_events_count"] == before
    assert client.broker.calls == {"/v1/token/validate": 1, "/v1/health": 1}


def test_metrics_count(client: Client) -> None:
    client.agent()
    client.broker.revoke("token", "x")
    lines = client.get("/v1/metrics").text.splitlines()
    assert "agentwrit_active_agents 1" in lines
    assert "agentwrit_launch_tokens_created_total 1" in lines
    assert 'agentwrit_tokens_revoked_total{level="token"} 1' in lines


def test_health_counts_whole_seconds(client: Client, clock: Clock) -> None:
    clock.now += 61.5
    assert client.get("/v1/health").json()["uptime"] == 61
