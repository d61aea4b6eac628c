"""Renewal when it is due: by whoever asks, and in the background."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from agentwrit_guard.client import AgentWritApp, AsyncAgentWritApp
from agentwrit_guard.client.freshness import Freshness
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.errors import (
    AgentWritError,
    AuthenticationError,
    BrokerUnavailable,
    ConfigurationError,
    ProblemResponseError,
)
from tests.client.play import Kind, done, reply, token
from tests.kit.clock import Time

pytestmark = pytest.mark.anyio

ARGUMENTS: Any = ("o", "t", ["read:data:*"])


@pytest.fixture
def time() -> Time:
    """One for broker and app."""
    return Time()


@pytest.fixture
def broker(time: Time) -> Iterator[DevBroker]:
    with DevBroker(clock=time) as running:
        yield running


@pytest.mark.parametrize(
    ("expires_in", "due"), [(3600, 3570), (300, 270), (90, 60), (60, 40), (30, 20), (3, 2), (1, 2 / 3)]
)
def test_due_in_the_last_seconds_or_the_last_third(expires_in: int, due: float) -> None:
    time = Time()
    freshness = Freshness(time, expires_in)
    assert freshness.due_in() == pytest.approx(due, abs=1e-6)
    time.now += due - 0.01
    assert freshness.due_in() > 0
    time.now += 0.02
    assert (freshness.due_in(), freshness.over()) == (0, False)
    time.now += expires_in - due
    assert freshness.over()


def test_after_a_failure_the_next_try_is_later_and_never_at_once() -> None:
    time = Time()
    freshness = Freshness(time, 300)
    time.now += 280
    freshness.failed()
    assert freshness.due_in() == pytest.approx(5)
    time.now += 19.9
    freshness.failed()
    assert freshness.due_in() == pytest.approx(1)


async def test_renewed_only_when_due(kind: Kind, broker: DevBroker, time: Time) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        for moved, renewals in [(0, 0), (269, 0), (2, 1), (1, 1), (268, 1), (2, 2)]:
            time.now += moved
            await done(agent.renew_if_due())
            assert broker.calls["/v1/token/renew"] == renewals
        assert (await done(app.validate(agent.access_token))).valid
        assert not agent.renewal_due
        assert agent.renewal_due_in == pytest.approx(270)


async def test_due_renewals_at_once_are_one(kind: Kind, broker: DevBroker, time: Time) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 280
        assert await kind.at_once(agent.renew_if_due, 16) == [None] * 16
        # Also those who came when it was over: they looked again before they asked.
        assert broker.calls["/v1/token/renew"] == 1
        assert (await done(app.validate(agent.access_token))).valid


async def test_due_renewal_joins_one_that_was_asked_for(kind: Kind, broker: DevBroker, time: Time) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 280
        calls = iter([agent.renew, agent.renew_if_due] * 4)
        with broker.slow(0.1):
            assert await kind.at_once(lambda: next(calls)(), 8) == [None] * 8
        assert (await done(app.validate(agent.access_token))).valid


async def test_broker_in_trouble_while_the_token_is_good(
    kind: Kind, broker: DevBroker, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 280
        with broker.outage():
            assert await done(agent.renew_if_due()) is None
        assert [record.event for record in caplog.records if hasattr(record, "event")] == ["renewal_failed"]
        assert agent.access_token not in caplog.text
        with broker.fail(503):
            await done(agent.renew_if_due())  # not due again yet
            assert broker.calls["/v1/token/renew"] == 0
            time.now += 6
            await done(agent.renew_if_due())
        assert broker.calls["/v1/token/renew"] == 1
        time.now += 4
        await done(agent.renew_if_due())
        assert (await done(app.validate(agent.access_token))).valid


async def test_broker_in_trouble_when_the_token_has_ended(kind: Kind, broker: DevBroker, time: Time) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 300
        with broker.outage(), pytest.raises(BrokerUnavailable):
            await done(agent.renew_if_due())
        time.now += 1
        with pytest.raises(AuthenticationError):
            await done(agent.renew_if_due())


async def test_refused_renewal_is_an_error_even_while_the_token_seems_good(
    kind: Kind, broker: DevBroker, time: Time
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        broker.revoke("agent", agent.agent_id)
        time.now += 280
        with pytest.raises(AuthenticationError):
            await done(agent.renew_if_due())


async def test_released_agent_is_not_renewed(kind: Kind, broker: DevBroker, time: Time) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS))
        await done(agent.release())
        with pytest.raises(AgentWritError, match="is released"):
            await done(agent.renew_if_due())
        assert agent.released


class Background:
    """Plays the time that background renewal waits for: `turn` lets it pass and returns when the next wait begins."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._waiting = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        self._async_go = asyncio.Event()
        self._async_waiting = asyncio.Event()
        self.asked: list[float] = []
        self.ended = False

    def patch(self, app: Any, kind: Kind) -> None:
        if kind.name == "async":
            app.caller.sleep = self._sleep
        else:
            app.caller.wait = self._wait

    def _wait(self, stop: threading.Event, seconds: float) -> bool:
        self.asked.append(seconds)
        self._waiting.release()
        self._go.acquire()
        self._time.now += seconds
        return stop.is_set()

    async def _sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._async_waiting.set()
        await self._async_go.wait()
        self._async_go.clear()
        self._time.now += seconds

    async def settled(self, kind: Kind) -> None:
        """Until the background waits."""
        if kind.name == "async":
            await self._async_waiting.wait()
            self._async_waiting.clear()
        else:
            await asyncio.to_thread(self._waiting.acquire)

    def go(self, kind: Kind) -> None:
        if kind.name == "async":
            self._async_go.set()
        else:
            self._go.release()


@pytest.fixture
async def background(time: Time) -> Background:
    return Background(time)


async def test_background_renewal(kind: Kind, broker: DevBroker, time: Time, background: Background) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        background.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300, auto_renew=True))
        await background.settled(kind)
        tokens = {agent.access_token}
        for turn in range(1, 4):
            assert background.asked == [pytest.approx(270)] * turn
            background.go(kind)
            await background.settled(kind)
            tokens.add(agent.access_token)
            assert broker.calls["/v1/token/renew"] == turn
            assert (await done(app.validate(agent.access_token))).valid
        assert len(tokens) == 4
        await done(agent.release())
        background.go(kind)


async def test_background_survives_an_outage(kind: Kind, broker: DevBroker, time: Time, background: Background) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        background.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300, auto_renew=True))
        await background.settled(kind)
        with broker.outage():
            background.go(kind)
            await background.settled(kind)
        background.go(kind)
        await background.settled(kind)
        assert background.asked == [pytest.approx(seconds) for seconds in (270, 7.5, 270)]
        assert (await done(app.validate(agent.access_token))).valid
        await done(agent.release())
        background.go(kind)


@pytest.mark.parametrize("end", ["revoke", "release", "close"])
async def test_background_ends(
    kind: Kind, broker: DevBroker, time: Time, background: Background, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = {thread for thread in threading.enumerate() if thread.name == "agentwrit-renewal"}
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        background.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300, auto_renew=True))
        await background.settled(kind)
        if end == "revoke":
            broker.revoke("agent", agent.agent_id)
        elif end == "release":
            await done(agent.release())
        else:
            await done(app.close() if kind.name == "sync" else app.aclose())
        background.go(kind)
        await _ended(before, agent)
    said = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "renewal_ended"]
    assert len(said) == (1 if end == "revoke" else 0)
    assert all(agent.agent_id in text and agent.access_token not in text for text in said)


async def _ended(before: set[threading.Thread], agent: Any) -> None:
    for thread in set(threading.enumerate()) - before:
        if thread.name == "agentwrit-renewal":
            await asyncio.to_thread(thread.join)
    task = getattr(agent._background, "_task", None)
    if task is not None:
        await asyncio.gather(task, return_exceptions=True)


async def test_agent_that_is_dropped_is_renewed_no_more(
    kind: Kind, broker: DevBroker, time: Time, background: Background
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        background.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS, auto_renew=True))
        await background.settled(kind)
        running, gone = agent._background, weakref.ref(agent)
        before = set(threading.enumerate())
        del agent
        assert gone() is None, "it is in a cycle, so that only the collector would free it"
        background.go(kind)
        if kind.name == "async":
            await running._task
        else:
            for thread in before:
                if thread.name == "agentwrit-renewal":
                    await asyncio.to_thread(thread.join)
    assert broker.calls["/v1/token/renew"] == 0


@pytest.mark.parametrize("end", ["release", "close"])
def test_background_thread_is_woken_to_end(broker: DevBroker, end: str) -> None:
    """With the real wait, of minutes."""
    credentials = broker.app(scopes=["read:data:*"])
    app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
    agent = app.create_agent(*ARGUMENTS, auto_renew=True)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "agentwrit-renewal"]
    if end == "release":
        agent.release()
        thread.join()
    app.close()
    thread.join()


async def test_release_that_fails_leaves_the_background_at_work(
    kind: Kind, broker: DevBroker, time: Time, background: Background
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        background.patch(app, kind)
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300, auto_renew=True))
        await background.settled(kind)
        agent._released = True  # a release is being tried while the renewal falls due
        background.go(kind)
        await background.settled(kind)
        agent._released = False  # it has failed
        background.go(kind)
        await background.settled(kind)
        assert background.asked == [pytest.approx(seconds) for seconds in (270, 1, 270)]
        assert (await done(app.validate(agent.access_token))).valid
        await done(agent.release())
        background.go(kind)


async def test_cancelled_program_leaves_no_task(broker: DevBroker) -> None:
    credentials = broker.app(scopes=["read:data:*"])
    async with AsyncAgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
        agent = await app.create_agent(*ARGUMENTS, auto_renew=True)
        assert agent._background is not None
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if "Renewal" in repr(task)] == []


async def test_no_background_unless_it_is_wanted(kind: Kind, broker: DevBroker) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"])) as app:
        before = set(threading.enumerate())
        await done(app.create_agent(*ARGUMENTS))
        assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "agentwrit-renewal"]
        with pytest.raises(ConfigurationError, match="auto_renew"):
            await done(app.create_agent(*ARGUMENTS, auto_renew=1))


def test_life_is_counted_from_before_the_request(broker: DevBroker, time: Time) -> None:
    credentials = broker.app(scopes=["read:data:*"])
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret, clock=time) as app:
        agent = app.create_agent(*ARGUMENTS, max_ttl=300)
        flow = agent._renewing()
        next(flow)
        time.now += 100  # a slow answer
        fresh = token(agent.agent_id, exp=int(time.now) + 300)
        with pytest.raises(StopIteration):
            flow.send(reply(access_token=fresh, expires_in=300))
        assert agent.renewal_due_in == pytest.approx(170)


@pytest.mark.parametrize(("status", "passing"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
async def test_which_refusals_are_of_a_broker_in_trouble(
    kind: Kind, broker: DevBroker, time: Time, status: int, passing: bool
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 280
        with broker.fail(status):
            if passing:
                await done(agent.renew_if_due())
            else:
                with pytest.raises(ProblemResponseError):
                    await done(agent.renew_if_due())


async def test_failed_renewal_is_warned_of_once(
    kind: Kind, broker: DevBroker, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    async with kind.open(broker, broker.app(scopes=["read:data:*"]), clock=time) as app:
        agent = await done(app.create_agent(*ARGUMENTS, max_ttl=300))
        time.now += 280
        with broker.fail(503), broker.slow(0.1):
            assert await kind.at_once(agent.renew_if_due, 12) == [None] * 12
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["renewal_failed"]
