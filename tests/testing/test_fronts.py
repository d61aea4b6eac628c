"""Overrides and made agents behind every front: one table, and the same answers."""

from __future__ import annotations

import json

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.testing import AsAgent, fake_principal
from tests.kit.drivers import Request
from tests.kit.fronts import FRONTS, WHOLE

NOBODY = "http://127.0.0.1:9"
READER = ["read:customers:7291"]
# Path, and whether the front without middleware and decorators (scopes in `Security` alone) has it.
TABLE = {
    "/me": (200, True),
    "/customers/7291": (200, True),
    "/customers/1": (403, True),
    "/any": (200, False),
    "/fresh": (200, False),
}
HEADERS = {
    "none": [],
    "a login of the app's own": [("Authorization", b"Basic YTpi")],
    "unreadable": [("Authorization", b"Bearer a b")],
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("name", FRONTS)
def test_override(name: str, headers: list[tuple[str, bytes]]) -> None:
    events: list[DecisionEvent] = []
    guard = Guard(NOBODY, on_decision=events.append)
    front = FRONTS[name](guard)
    paths = {path: status for path, (status, plain) in TABLE.items() if plain or name != "fastapi-dependency"}
    for path in paths:
        assert front.request(Request(path, headers=headers)).status in (400, 401)
    assert front.ran == []
    events.clear()
    with guard.override(fake_principal(READER)):
        found = {path: front.request(Request(path, headers=headers)).status for path in paths}
    assert found == paths
    # What `principal.require` refuses is the middleware's own word.
    assert {event.source for event in events if event.outcome == "allowed"} == {"override"}
    assert front.request(Request("/me", headers=headers)).status in (400, 401)


@pytest.mark.parametrize("name", FRONTS)
def test_as_agent(name: str, as_agent: AsAgent) -> None:
    front = FRONTS[name](Guard(NOBODY))
    headers = [("Authorization", as_agent.headers(READER)["Authorization"].encode())]
    for path, (status, plain) in TABLE.items():
        if plain or name != "fastapi-dependency":
            assert front.request(Request(path, headers=headers)).status == status
            assert front.request(Request(path)).status == 401
            assert front.request(Request(path, headers=[*headers, *headers])).status == 400


@pytest.mark.parametrize("name", FRONTS)
def test_an_expired_principal_is_a_401(name: str) -> None:
    guard = Guard(NOBODY)
    front = FRONTS[name](guard)
    with guard.override(fake_principal(READER, expires_in=0)):
        assert front.request(Request("/customers/7291")).status == 401
    assert front.ran == []


@pytest.mark.parametrize("name", WHOLE)
def test_public_paths_stay_public(name: str) -> None:
    guard = Guard(NOBODY)
    front = FRONTS[name](guard)
    with guard.override(fake_principal(READER, expires_in=0)):
        assert front.request(Request("/health")).status == 200
    with guard.override(fake_principal(READER)):
        assert json.loads(front.request(Request("/whoami")).body) is not None
        assert front.request(Request("/public/a")).status == 200


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "fastapi"])
def test_where_others_pass_they_are_the_agent_too(name: str) -> None:
    guard = Guard(NOBODY)
    front = FRONTS[name](guard, others="pass")
    assert json.loads(front.request(Request("/whoami")).body) is None
    principal = fake_principal(READER)
    with guard.override(principal):
        assert json.loads(front.request(Request("/whoami")).body) == principal.agent_id


@pytest.mark.parametrize("name", [name for name in FRONTS if "flask" not in name and "wsgi" not in name])
def test_websockets(name: str, as_agent: AsAgent) -> None:
    guard = Guard(NOBODY)
    front = FRONTS[name](guard)
    headers = [("Authorization", as_agent.headers(READER)["Authorization"].encode())]
    assert front.request(Request("/ws", websocket=True)).status == 401
    assert front.request(Request("/ws", websocket=True, headers=headers)).status == 101
    with guard.override(fake_principal(READER)):
        assert front.request(Request("/ws", websocket=True)).status == 101
