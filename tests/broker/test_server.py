"""The twin as a process's guest: start, stop, faults, and what it must never say."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from agentwrit_guard.devbroker import AppCredentials, DevBroker
from tests.broker.kit import SCOPE, Client, problem


def test_listens_on_loopback_only(broker: DevBroker) -> None:
    assert urlsplit(broker.url).hostname == "127.0.0.1"
    port = urlsplit(broker.url).port
    # A server on all addresses would answer here as well.
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass


def test_stops_cleanly_and_starts_again() -> None:
    threads = set(threading.enumerate())
    broker = DevBroker()
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = broker.url
    broker.stop()
    with broker:
        with pytest.raises(RuntimeError, match="running already"):
            broker.start()
        held = httpx.Client(base_url=broker.url, trust_env=False)
        assert held.get("/v1/health").status_code == 200
    assert set(threading.enumerate()) <= threads
    with pytest.raises(httpx.TransportError):
        held.get("/v1/health")
    held.close()
    with broker, Client(broker) as client:
        assert client.get("/v1/health").status_code == 200


def test_stop_does_not_wait_for_held_requests(broker: DevBroker) -> None:
    arrived = threading.Event()
    replies: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=broker.url, trust_env=False, timeout=60) as own:
            arrived.set()
            replies.append(own.get("/v1/health").status_code)

    asking = threading.Thread(target=ask)
    with broker.slow(3600):
        asking.start()
        arrived.wait()
        while not broker.calls["/v1/health"]:
            time.sleep(0.001)
        broker.stop()
    asking.join()
    assert replies == [200]


def test_taken_port_is_a_clear_error(broker: DevBroker) -> None:
    port = urlsplit(broker.url).port or 0
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        DevBroker(port=port).start()


def test_outage_cuts_connections_and_ends(client: Client) -> None:
    assert client.get("/v1/health").status_code == 200
    with client.broker.outage():
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.get("/v1/health")
    assert client.get("/v1/health").status_code == 200


def test_slow_is_slower_than_a_client_waits(client: Client) -> None:
    with client.broker.slow(3600), pytest.raises(httpx.ReadTimeout):
        client.http.get("/v1/health", timeout=0.05)
    assert client.get("/v1/health").status_code == 200


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_fail_answers_for_every_endpoint(client: Client, status: int) -> None:
    token = client.agent().token
    with client.broker.fail(status):
        reply = client.post("/v1/token/validate", {"token": token})
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert problem(reply)[0] == reply.status_code == status
        assert client.http.get("/elsewhere").status_code == 404
    assert client.valid(token)


def test_faults_nest(client: Client) -> None:
    with client.broker.fail(500):
        with client.broker.fail(503):
            assert client.get("/v1/health").status_code == 503
        assert client.get("/v1/health").status_code == 500


def test_fail_takes_errors_only(broker: DevBroker) -> None:
    with pytest.raises(ValueError, match="400 to 599"), broker.fail(200):
        pass


def test_no_secret_in_logs_reprs_or_audit(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="agentwrit_guard")
    broker = client.broker
    app = broker.app(scopes=SCOPE)
    wrong = "a-wrong-secret-0123456789"
    credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
    app_token = client.post("/v1/app/auth", credentials).json()["access_token"]
    client.post("/v1/app/auth", {**credentials, "client_secret": wrong})
    client.post("/v1/admin/auth", {"secret": wrong})
    launch_token = client.launch()
    client.register(launch_token, task_id="..")
    agent = client.agent()
    client.post("/v1/token/renew", None, f"{agent.token}x")
    client.delegate(agent.token, agent.agent_id)

    said = [
        caplog.text,
        client.get("/v1/audit/events?limit=1000", client.admin).text,
        client.get("/v1/metrics").text,
        repr((broker, vars(broker.state), broker.state.apps, broker.state.launch_tokens, app)),
    ]
    kept = [broker.admin_secret, app.client_secret, wrong, launch_token, agent.token, app_token, client.admin]
    assert not [secret for secret in kept for text in said if secret in text]


def test_credentials(broker: DevBroker) -> None:
    app = broker.app(scopes=SCOPE, name="billing-app")
    assert isinstance(app, AppCredentials)
    assert app.app_id.startswith("app-billing-app-")
    assert app.client_id.startswith("ba-")
    assert len(app.client_secret) == 64


def test_admin_secret_is_random_or_given() -> None:
    assert DevBroker().admin_secret != DevBroker().admin_secret
    assert DevBroker(admin_secret="given").admin_secret == "given"


@pytest.mark.parametrize(
    ("secret", "status"), [("x" * 72, 200), ("x" * 73, 401), ("é" * 36, 200), ("é" * 37, 401), ('"\\\n\0 \u2028', 200)]
)
def test_admin_secret_of_more_than_72_bytes_never_matches(secret: str, status: int) -> None:
    with DevBroker(admin_secret=secret) as broker, Client(broker) as client:
        assert client.post("/v1/admin/auth", {"secret": secret}).status_code == status
        assert client.post("/v1/admin/auth", {"secret": f"{secret[:-1]}y"}).status_code == 401


def test_loggers_of_uvicorn_are_left_alone() -> None:
    names = ("uvicorn", "uvicorn.error", "uvicorn.access")
    before = [(log.level, log.handlers[:], log.propagate) for log in map(logging.getLogger, names)]
    with DevBroker():
        pass
    assert [(log.level, log.handlers[:], log.propagate) for log in map(logging.getLogger, names)] == before


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_on_a_signal(number: signal.Signals) -> None:
    program = (
        "from agentwrit_guard.devbroker import DevBroker, serve\n"
        "serve(DevBroker(), ready=lambda broker: print(broker.url, flush=True))\n"
        "print('ended')"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/v1/health", trust_env=False).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "ended\n", "")
