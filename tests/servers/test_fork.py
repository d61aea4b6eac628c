"""gunicorn that loads the app before it forks, with a guard that has been used by then."""

from __future__ import annotations

import socket

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers.agents import Mint
from tests.servers.hosts import PATIENCE, Host, Serve
from tests.servers.wire import Answer, answers, bearer, request, send

VALIDATE = "/v1/token/validate"


@pytest.fixture(scope="module")
def seen(mint: Mint) -> str:
    return mint().access_token


@pytest.fixture(scope="module")
def host(serve: Serve, seen: str) -> Host:
    return serve("gunicorn-preload", "used_before_fork", AGENTWRIT_CACHE_TTL="60", SEEN_TOKEN=seen)


def from_both(host: Host, data: bytes) -> list[Answer]:
    """The answers of both workers: one is kept busy with half a request, so that the other has to take the next."""
    with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as one:
        one.sendall(data[:-2])
        with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as two:
            two.sendall(data)
            [second] = answers(two)
        one.sendall(data[-2:])
        [first] = answers(one)
    return [first, second]


def test_both_workers_let_the_seen_token_in(host: Host, seen: str, broker: DevBroker) -> None:
    assert send(host.port, "/health").kind == "pass"
    calls = broker.calls[VALIDATE]
    both = from_both(host, request("/me", bearer(seen)))
    assert [answer.kind for answer in both] == ["pass", "pass"]
    said = [answer.json() for answer in both]
    assert len({answer["pid"] for answer in said} | {host.process.pid}) == 3
    # Each starts with an empty cache and connections of its own.
    assert [answer["source"] for answer in said] == ["broker", "broker"]
    assert broker.calls[VALIDATE] == calls + 2
    assert [answer.json()["source"] for answer in from_both(host, request("/me", bearer(seen)))] == ["cache", "cache"]
    assert broker.calls[VALIDATE] == calls + 2


def test_both_workers_judge_and_refuse(host: Host, seen: str, mint: Mint) -> None:
    other = mint()
    assert [answer.kind for answer in from_both(host, request("/me"))] == ["none", "none"]
    assert [answer.kind for answer in from_both(host, request("/me", bearer("x.y.z")))] == ["token", "token"]
    for token in (seen, other.access_token):
        right, wrong = (request(f"/customers/{customer}", bearer(token)) for customer in (7291, 7292))
        assert [answer.kind for answer in from_both(host, right)] == ["pass", "pass"]
        assert [answer.kind for answer in from_both(host, wrong)] == ["scope", "scope"]


def test_both_workers_see_a_release(host: Host, mint: Mint) -> None:
    agent = mint()
    data = request("/fresh", bearer(agent.access_token))
    assert [answer.kind for answer in from_both(host, data)] == ["pass", "pass"]
    agent.release()
    assert [answer.kind for answer in from_both(host, data)] == ["token", "token"]


def test_workers_end_with_their_master(host: Host) -> None:
    assert send(host.port, "/health").kind == "pass"
    assert host.stop() == 0
    assert "Traceback" not in host.output
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", host.port), PATIENCE)
