from __future__ import annotations

import threading

import httpx
import pytest

from agentwrit_guard.cli.relay import Relay
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.transport import LinkOptions


def relay_to(url: str) -> Relay:
    return Relay(url, LinkOptions(url).tls())


def test_carries_cuts_and_restores(broker: DevBroker) -> None:
    with relay_to(broker.url) as relay, httpx.Client(base_url=relay.url, trust_env=False) as client:
        assert relay.url != broker.url
        for _ in range(2):
            assert client.post("/v1/token/validate", json={"token": "x"}).json()["valid"] is False
        relay.cut()
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.get("/v1/health")
        relay.restore()
        assert client.get("/v1/health").status_code == 200


def test_keeps_the_path_of_the_broker(broker: DevBroker) -> None:
    with relay_to(f"{broker.url}/base") as relay:
        assert relay.url.endswith("/base")
        before = broker.calls["/base/v1/health"]
        assert httpx.get(f"{relay.url}/v1/health", trust_env=False).status_code == 404
        assert broker.calls["/base/v1/health"] == before + 1


def test_nobody_behind_it() -> None:
    with relay_to("http://127.0.0.1:1") as relay, pytest.raises(httpx.TransportError):
        httpx.get(f"{relay.url}/v1/health", trust_env=False)


def test_stops_with_connections_open(broker: DevBroker) -> None:
    threads = set(threading.enumerate())
    with relay_to(broker.url) as relay:
        client = httpx.Client(base_url=relay.url, trust_env=False)
        assert client.get("/v1/health").status_code == 200
    assert set(threading.enumerate()) <= threads
    with pytest.raises(httpx.TransportError):
        client.get("/v1/health")
    client.close()


def test_outlives_a_broker_that_hangs_up() -> None:
    with (
        DevBroker() as first,
        relay_to(first.url) as relay,
        httpx.Client(base_url=relay.url, trust_env=False) as client,
    ):
        assert client.get("/v1/health").status_code == 200
        with first.outage(), pytest.raises(httpx.TransportError):
            client.get("/v1/health")
        assert client.get("/v1/health").status_code == 200
