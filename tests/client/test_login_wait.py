"""The fourth worker: what happens when the broker takes no more logins for now (contract 2)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from agentwrit_guard.client import AgentWritApp
from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.errors import AgentWritError, ConfigurationError, RateLimitError
from tests.client.play import Kind, done
from tests.kit.clock import Time

pytestmark = pytest.mark.anyio

ARGUMENTS: Any = ("o", "t", ["read:data:*"])


class PatientTime(Time):
    """The broker's time and the app's; waiting moves both."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def patch(self, app: Any, kind: Kind) -> None:
        async def sleep(seconds: float) -> None:
            self._pass(seconds)

        def wait(_: threading.Event, seconds: float) -> bool:
            self._pass(seconds)
            return False

        if kind.name == "async":
            app.caller.sleep = sleep
        else:
            app.caller.wait = wait

    def _pass(self, seconds: float) -> None:
        with self._lock:
            self.waits.append(seconds)
            self.now = max(self.now, self.now + seconds)


@pytest.fixture
def time() -> PatientTime:
    return PatientTime()


@pytest.fixture
def broker(time: PatientTime) -> Iterator[DevBroker]:
    with DevBroker(clock=time) as running:
        yield running


@pytest.fixture
def spent(broker: DevBroker) -> AppCredentials:
    """Credentials whose burst of three is used up."""
    credentials = broker.app(scopes=["read:data:*"])
    for _ in range(3):
        with AgentWritApp(broker.url, *credentials_of(credentials)) as app:
            app.create_agent(*ARGUMENTS)
    return credentials


def credentials_of(credentials: AppCredentials) -> tuple[str, str]:
    return credentials.client_id, credentials.client_secret


async def test_the_fourth_login_waits_and_succeeds(
    kind: Kind, broker: DevBroker, spent: AppCredentials, time: PatientTime
) -> None:
    async with kind.open(broker, spent, clock=time, login_wait=120) as app:
        time.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS))
        assert (await done(app.validate(agent.access_token))).valid
    assert len(time.waits) == 1
    assert 60 <= time.waits[0] <= 90


async def test_the_wait_has_an_end(kind: Kind, broker: DevBroker, spent: AppCredentials, time: PatientTime) -> None:
    async with kind.open(broker, spent, clock=time, login_wait=30) as app:
        time.patch(app, kind)
        with pytest.raises(RateLimitError) as caught:
            await done(app.create_agent(*ARGUMENTS))
    assert (caught.value.retry_after, time.waits) == (60.0, [])


async def test_many_callers_of_one_app_wait_together(
    kind: Kind, broker: DevBroker, spent: AppCredentials, time: PatientTime
) -> None:
    logins = broker.calls["/v1/app/auth"]
    async with kind.open(broker, spent, clock=time, login_wait=120) as app:
        time.patch(app, kind)
        agents = await kind.at_once(lambda: app.create_agent(*ARGUMENTS), 12)
    assert len({agent.agent_id for agent in agents}) == 12
    # The refused login, and the one that all had waited for.
    assert broker.calls["/v1/app/auth"] - logins == 2


async def test_the_timeout_is_not_used_up_by_the_wait(
    kind: Kind, broker: DevBroker, spent: AppCredentials, time: PatientTime
) -> None:
    async with kind.open(broker, spent, clock=time, login_wait=120, timeout=5) as app:
        time.patch(app, kind)
        assert await done(app.create_agent(*ARGUMENTS))


def test_close_ends_the_wait(broker: DevBroker, spent: AppCredentials) -> None:
    app = AgentWritApp(broker.url, *credentials_of(spent), login_wait=600)
    waiting, real = threading.Event(), app.caller.wait

    def wait(stop: threading.Event, seconds: float) -> bool:
        waiting.set()
        return real(stop, seconds)

    app.caller.wait = wait
    caught: list[Exception] = []

    def create() -> None:
        try:
            app.create_agent(*ARGUMENTS)
        except AgentWritError as error:
            caught.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    waiting.wait()
    app.close()
    thread.join()
    assert "is closed" in str(caught[0])


@pytest.mark.parametrize("value", [-1, True, "60", None, float("nan"), float("inf")])
def test_login_wait_is_checked(kind: Kind, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="login_wait"):
        kind.app("https://broker.example", "id", "secret", login_wait=value)


_WORKER = """
import sys
from agentwrit_guard import AgentWritApp, RateLimitError

url, client_id, client_secret, login_wait, now = sys.argv[1:]

def say(*words):
    print(*words, flush=True)

def wait(stop, seconds):
    global now
    say("waits", seconds)
    now = sys.stdin.readline()
    return False

with AgentWritApp(url, client_id, client_secret, login_wait=float(login_wait), clock=lambda: float(now)) as app:
    app.caller.wait = wait
    try:
        say("holds", app.create_agent("o", "t", ["read:data:1"]).agent_id)
    except RateLimitError as refusal:
        say("limited", refusal.retry_after)
"""


@contextmanager
def workers(count: int, broker: DevBroker, login_wait: float, time: Time) -> Iterator[list[subprocess.Popen[str]]]:
    credentials = broker.app(scopes=["read:data:*"])
    command = [sys.executable, "-c", _WORKER, broker.url, *credentials_of(credentials), str(login_wait), str(time.now)]
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
            for _ in range(count)
        ]


def word(worker: subprocess.Popen[str]) -> tuple[str, str]:
    assert worker.stdout is not None
    verb, said = worker.stdout.readline().split()
    return verb, said


def test_eight_processes_without_a_wait(broker: DevBroker, time: PatientTime) -> None:
    with workers(8, broker, 0, time) as started:
        said = sorted(word(worker) for worker in started)
    assert [verb for verb, _ in said] == ["holds"] * 3 + ["limited"] * 5
    assert {after for verb, after in said if verb == "limited"} == {"60.0"}
    assert broker.calls["/v1/app/auth"] == 8


def test_eight_processes_that_wait_all_get_in(broker: DevBroker, time: PatientTime) -> None:
    """Real processes and a real limit; only the time between is played: the one that wakes first goes on first."""
    began, agents, waits = time.now, set(), []
    with workers(8, broker, 300, time) as started:
        wake: list[tuple[float, int]] = []
        running = list(range(8))
        while running or wake:
            for number in running:
                verb, said = word(started[number])
                if verb == "waits":
                    waits.append(float(said))
                    wake.append((time.now + float(said), number))
                else:
                    assert verb == "holds"
                    agents.add(said)
            running = []
            if wake:
                time.now, number = wake.pop(wake.index(min(wake)))
                stdin = started[number].stdin
                assert stdin is not None
                stdin.write(f"{time.now}\n")
                stdin.flush()
                running = [number]
    assert len(agents) == 8
    assert len(waits) >= 5
    assert all(60 <= wait <= 90 for wait in waits)
    assert len(set(waits)) == len(waits), "they come back together"
    assert time.now - began <= 300
