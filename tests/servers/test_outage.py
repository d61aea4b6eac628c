"""The broker goes away: 503 for tokens not seen before, and the others go on until their TTL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers.agents import Mint, minter
from tests.servers.hosts import Host, Serve
from tests.servers.wire import Answer, bearer, send

PLACES = [("uvicorn-h11", "asgi_app"), ("gunicorn-gthread", "wsgi_app")]
TRIES = 20_000


@pytest.fixture(scope="module")
def own() -> Iterator[DevBroker]:
    with DevBroker() as twin:
        yield twin


@pytest.fixture(scope="module")
def own_mint(own: DevBroker) -> Iterator[Mint]:
    with minter(own) as mint:
        yield mint


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: place[1])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def host(place: tuple[str, str], serve: Serve, own: DevBroker) -> Host:
    return serve(*place, broker_url=own.url, AGENTWRIT_CACHE_TTL="60", AGENTWRIT_TIMEOUT="1")


def expect_unable(answer: Answer) -> None:
    assert (answer.kind, answer.status) == ("unable", 503)
    assert answer.header("www-authenticate") is None
    assert 1 <= int(answer.header("retry-after") or 0) <= 30
    assert answer.header("cache-control") == "no-store"
    assert answer.json()["error_code"] == "temporarily_unavailable"


@pytest.mark.parametrize("fault", ["outage", "slow", "fail"])
def test_fault_is_503_and_is_not_remembered(fault: str, host: Host, own_mint: Mint, own: DevBroker) -> None:
    seen, unseen = own_mint(), own_mint()
    assert send(host.port, "/me", bearer(seen.access_token)).kind == "pass"
    before = host.ran
    arguments = {"outage": (), "slow": (5,), "fail": (500,)}[fault]
    with getattr(own, fault)(*arguments):
        expect_unable(send(host.port, "/me", bearer(unseen.access_token)))
        assert host.ran == before
        # Needs an answer of now, which nobody gives.
        expect_unable(send(host.port, "/fresh", bearer(seen.access_token)))
        assert send(host.port, "/me", bearer(seen.access_token)).json()["source"] == "cache"
        assert send(host.port, "/me").kind == "none"
        assert send(host.port, "/me", bearer("x.y.z")).kind == "token"
    assert send(host.port, "/me", bearer(unseen.access_token)).json()["source"] == "broker"


def test_stopped_broker_is_503_and_seen_tokens_go_on_until_their_ttl(place: tuple[str, str], serve: Serve) -> None:
    with DevBroker() as broker, minter(broker) as mint:
        seen, unseen = mint().access_token, mint().access_token
        ages = ("60", "0.5")
        long, short = (serve(*place, broker_url=broker.url, AGENTWRIT_CACHE_TTL=ttl) for ttl in ages)
        for host in (long, short):
            assert send(host.port, "/me", bearer(seen)).kind == "pass"
    for host in (long, short):
        expect_unable(send(host.port, "/me", bearer(unseen)))
    for _ in range(TRIES):
        answer = send(short.port, "/me", bearer(seen))
        if answer.status == 503:
            break
        assert answer.json()["source"] == "cache"
    expect_unable(answer)
    assert send(long.port, "/me", bearer(seen)).json()["source"] == "cache"
    assert "Traceback" not in long.output + short.output
