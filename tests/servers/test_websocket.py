"""R-12 on real servers: websocket handshakes, on uvicorn with both of its implementations over `websockets`."""

from __future__ import annotations

import json
import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.servers.agents import Mint
from tests.servers.hosts import PATIENCE, Host, Serve
from tests.servers.rows import DAPHNE
from tests.servers.wire import REALM, answers, bearer, request

PLACES = [
    ("uvicorn-h11", "fastapi_app"),
    ("uvicorn-h11", "starlette_app"),
    ("uvicorn-httptools", "starlette_app"),
    ("uvicorn-old-websockets", "fastapi_app"),
    ("hypercorn", "fastapi_app"),
    ("granian", "fastapi_app"),
    ("daphne", "fastapi_app"),
]


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: f"{place[1]}-{place[0]}")
def host(request: pytest.FixtureRequest, serve: Serve) -> Host:
    return serve(*request.param, AGENTWRIT_CACHE_TTL="0.5")


def opened(
    host: Host, *headers: tuple[str, str], query: str = "", subprotocols: tuple[str, ...] = ()
) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{host.port}/ws{query}",
        additional_headers=headers,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        open_timeout=PATIENCE,
        proxy=None,
    )


def expect_refusal(host: Host, response: Response, status: int, error: str | None) -> None:
    """That the handshake ended with this status and a challenge with this error, or with none."""
    if DAPHNE in host.name:
        # It has no way to answer a handshake (no `websocket.http.response`): a close before accept is a bare 403.
        assert (response.status_code, list(response.headers), response.body) == (403, [], b"")
        return
    assert response.status_code == status
    challenge, _, description = response.headers["www-authenticate"].partition(", error_description=")
    assert (challenge, bool(description)) == ((f'{REALM}, error="{error}"', True) if error else (REALM, False))
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.body is not None
    assert json.loads(response.body)["status"] == status


def test_good_token_is_accepted(host: Host, mint: Mint) -> None:
    agent = mint()
    with opened(host, *agent.bearer_header.items()) as websocket:
        assert json.loads(websocket.recv(PATIENCE))["agent"] == agent.agent_id
    assert host.ran[-1] == "'/ws'"


def test_refused_handshake_is_a_401_with_a_challenge(host: Host) -> None:
    before = host.ran
    with pytest.raises(InvalidStatus) as caught:
        opened(host)
    expect_refusal(host, caught.value.response, 401, None)
    assert host.ran == before


@pytest.mark.parametrize(
    ("header", "status", "error"),
    [
        ("Bearer x.y.z", 401, "invalid_token"),
        ("Bearer a,b", 400, "invalid_request"),
        ("Bearer", 400, "invalid_request"),
    ],
)
def test_bad_credentials_are_refused_by_their_status(host: Host, header: str, status: int, error: str) -> None:
    before = host.ran
    with pytest.raises(InvalidStatus) as caught:
        opened(host, ("Authorization", header))
    expect_refusal(host, caught.value.response, status, error)
    assert host.ran == before


def test_token_elsewhere_is_not_looked_at(host: Host, mint: Mint) -> None:
    """R-12, H-16."""
    token, before = mint().access_token, host.ran
    for elsewhere in ({"query": f"?access_token={token}"}, {"subprotocols": ("bearer", token)}):
        with pytest.raises(InvalidStatus) as caught:
            opened(host, **elsewhere)  # type: ignore[arg-type]
        expect_refusal(host, caught.value.response, 401, None)
    assert host.ran == before


def test_released_token_is_refused(host: Host, mint: Mint) -> None:
    agent = mint()
    agent.release()
    with pytest.raises(InvalidStatus) as caught:
        opened(host, *agent.bearer_header.items())
    expect_refusal(host, caught.value.response, 401, "invalid_token")


def test_handshake_with_two_credentials_is_refused(host: Host, mint: Mint) -> None:
    """H-06."""
    token, before = mint().access_token, host.ran
    upgrade = (
        ("Upgrade", b"websocket"),
        ("Connection", b"Upgrade"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    )
    with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as connection:
        connection.sendall(request("/ws", *upgrade, bearer(token), bearer(token), keep=True))
        answer = next(answers(connection))
    assert answer.kind == ("server 403" if DAPHNE in host.name else "request")
    assert host.ran == before
