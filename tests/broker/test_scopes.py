"""What the broker does with odd scopes, on the wire (contract section 8)."""

from __future__ import annotations

import pytest

from tests.broker.kit import Client, claims_of, problem

LITERAL = [
    *("read:data:x", "read:data:*", "read:data:a:b", "read:data:a:b:c:d", "read:data::", "read:data:a:"),
    *("read:data::a", "read:data:**", "read:data:x*", "read:data:*x"),
    *("read:data:x ", "read:data: ", "read:data:\t", "read:data:\n", "read:data:\0", "read:data:\u202e"),
    *("read:data:\u00e9", "read:data:e\u0301", f"read:data:{'x' * 100_000}"),
    *("read:data:a,b", "read:data:a|b", "read:data:a&b<c>", 'read:data:"q"', "read:data:../x", "read:data:%2a"),
]
MALFORMED = ["read:data:", "read:data", "read", "", "::", ":data:x", "read::x", "*"]
ELSEWHERE = [
    *("read:*:x", "read:*:*", "*:data:x", "*:*:x", "*:*:*"),
    *("Read:data:x", "READ:DATA:X", "read:Data:x", "READ:data:*"),
    *(" read:data:x", "read :data:x", "r\u00e9ad:data:x", "read:records:42"),
]
# A scope; its status as an app's ceiling, under a launch token for read:data:*, under one for the very same scope.
CASES = [
    *((scope, 201, 200, 200) for scope in LITERAL),
    *((scope, 400, 403, 403) for scope in MALFORMED),
    *((scope, 201, 403, 200) for scope in ELSEWHERE),
]


@pytest.mark.parametrize(
    ("scope", "ceiling", "under_star", "under_itself"), CASES, ids=[ascii(case[0])[:30] for case in CASES]
)
def test_odd_scopes(client: Client, scope: str, ceiling: int, under_star: int, under_itself: int) -> None:
    created = client.post("/v1/admin/apps", {"name": "app", "scopes": [scope]}, client.admin)
    assert created.status_code == ceiling
    for allowed, status in (("read:data:*", under_star), (scope, under_itself)):
        reply = client.register(client.launch([allowed]), requested_scope=[scope])
        assert reply.status_code == status
        if status == 200:
            assert claims_of(reply.json()["access_token"])["scope"] == [scope]
        else:
            assert problem(reply)[1:] == ("scope_violation", "requested scope exceeds allowed scope")


@pytest.mark.parametrize(
    ("requested", "covered"),
    [
        *((scope, True) for scope in ("read:*:x", "*:*:x", "Read:Data:x", "read:records:42")),
        *((scope, False) for scope in ("*:data:x", "Read:data:x", "read:records:43", "read:records:*")),
    ],
)
def test_no_part_of_a_ceiling_but_the_identifier_is_a_wildcard(client: Client, requested: str, covered: bool) -> None:
    app = client.broker.app(scopes=["read:data:*", "read:records:42", "read:*:*", "*:*:*", "Read:Data:*"])
    login = {"client_id": app.client_id, "client_secret": app.client_secret}
    token = client.post("/v1/app/auth", login).json()["access_token"]
    reply = client.post("/v1/app/launch-tokens", {"agent_name": "a", "allowed_scope": [requested]}, token)
    assert reply.status_code == (201 if covered else 403)


@pytest.mark.parametrize(
    "held", ["*:data:*", "*:data:x", "read:*:*", "*:*:*", "READ:data:*", "read:data:x*", "read:data:**"]
)
def test_stars_elsewhere_cover_nothing_more(client: Client, held: str) -> None:
    reply = client.register(client.launch([held]), requested_scope=["read:data:x"])
    assert problem(reply)[:2] == (403, "scope_violation")


def test_duplicates_and_order_are_kept(client: Client) -> None:
    scope = ["read:data:2", "read:data:1", "read:data:2", "read:data:*"]
    assert client.agent(scope=scope).claims["scope"] == scope
