"""From the official SDK's mint to a revocation that takes effect, over real sockets, behind every front."""

from __future__ import annotations

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers.agents import Mint
from tests.servers.hosts import Host, Serve
from tests.servers.wire import REALM, bearer, send

VALIDATE = "/v1/token/validate"
PLACES = [
    ("uvicorn-h11", "fastapi_app"),
    ("uvicorn-h11", "starlette_app"),
    ("uvicorn-h11", "asgi_app"),
    ("uvicorn-httptools", "starlette_app"),
    ("hypercorn", "fastapi_app"),
    ("granian", "fastapi_app"),
    ("daphne", "fastapi_app"),
    ("waitress", "flask_app"),
    ("werkzeug", "flask_app"),
    ("gunicorn-sync", "flask_app"),
    ("gunicorn-gthread", "flask_app"),
    ("gunicorn-sync", "wsgi_app"),
    ("gunicorn-gthread", "wsgi_app"),
]
TTL = 0.5
TRIES = 20_000
"""More than any machine can make in TTL seconds, by far."""


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: f"{place[1]}-{place[0]}")
def host(request: pytest.FixtureRequest, serve: Serve) -> Host:
    return serve(*request.param, AGENTWRIT_CACHE_TTL=str(TTL))


def test_right_id_passes_and_wrong_id_does_not(host: Host, mint: Mint) -> None:
    agent = mint()
    before = len(host.ran)
    allowed = send(host.port, "/customers/7291", bearer(agent.access_token))
    assert (allowed.kind, allowed.json()["agent"]) == ("pass", agent.agent_id)
    denied = send(host.port, "/customers/7292", bearer(agent.access_token))
    assert (denied.kind, denied.status) == ("scope", 403)
    assert denied.header("www-authenticate") == (
        f'{REALM}, error="insufficient_scope", '
        'error_description="The agent access token is valid but does not reach this request", '
        'scope="read:customers:7292"'
    )
    assert denied.json()["required_scopes"] == denied.json()["missing_scopes"] == ["read:customers:7292"]
    assert len(host.ran) == before + 1


def test_wildcard_passes_every_id(host: Host, mint: Mint) -> None:
    agent = mint("read:customers:*")
    for customer in ("7291", "7292", "a.b"):
        assert send(host.port, f"/customers/{customer}", bearer(agent.access_token)).kind == "pass"


def test_no_token_is_401_without_error_on_known_and_unknown_paths(host: Host, broker: DevBroker) -> None:
    before, calls = host.ran, broker.calls[VALIDATE]
    seen = {
        (answer.kind, answer.header("www-authenticate"), answer.header("cache-control"), answer.body)
        for answer in (send(host.port, path) for path in ("/me", "/customers/7291", "/nowhere"))
    }
    assert [(kind, challenge) for kind, challenge, *_ in seen] == [("none", REALM)]
    assert (host.ran, broker.calls[VALIDATE]) == (before, calls)


def test_public_path_needs_no_token(host: Host) -> None:
    assert send(host.port, "/health").kind == "pass"


def test_release_is_seen_within_the_ttl_and_a_hit_asks_nobody(host: Host, mint: Mint, broker: DevBroker) -> None:
    agent = mint()
    credentials = bearer(agent.access_token)
    calls = broker.calls[VALIDATE]
    first = send(host.port, "/me", credentials)
    assert (first.json()["source"], broker.calls[VALIDATE]) == ("broker", calls + 1)
    for _ in range(20):
        calls = broker.calls[VALIDATE]
        again = send(host.port, "/me", credentials)
        asked = broker.calls[VALIDATE] - calls
        # A slow machine may have let the identity grow old in between: then it was asked for, and says so.
        assert (again.json()["source"], asked) in (("cache", 0), ("broker", 1))
        if not asked:
            break
    else:
        pytest.fail("no hit")

    agent.release()
    calls = broker.calls[VALIDATE]
    for _ in range(TRIES):
        answer = send(host.port, "/me", credentials)
        if answer.status == 401:
            break
        assert (answer.json()["source"], broker.calls[VALIDATE]) == ("cache", calls)
    assert answer.kind == "token"
    assert broker.calls[VALIDATE] == calls + 1
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")
    assert send(host.port, "/customers/7291", credentials).kind == "token"


def test_max_age_zero_sees_a_release_at_the_very_next_request(host: Host, mint: Mint, broker: DevBroker) -> None:
    agent = mint()
    credentials = bearer(agent.access_token)
    assert send(host.port, "/fresh", credentials).kind == "pass"
    calls = broker.calls[VALIDATE]
    assert send(host.port, "/fresh", credentials).kind == "pass"
    assert broker.calls[VALIDATE] > calls
    agent.release()
    before = host.ran
    assert send(host.port, "/fresh", credentials).kind == "token"
    assert host.ran == before


def test_revocation_by_the_operator_is_seen_too(host: Host, mint: Mint, broker: DevBroker) -> None:
    agent, other = mint(), mint()
    assert send(host.port, "/fresh", bearer(agent.access_token)).kind == "pass"
    broker.revoke("agent", agent.agent_id)
    assert send(host.port, "/fresh", bearer(agent.access_token)).kind == "token"
    assert send(host.port, "/fresh", bearer(other.access_token)).kind == "pass"


def test_servers_report_no_error_and_no_token(host: Host) -> None:
    assert "Traceback" not in host.output
    assert "eyJ" not in host.output
