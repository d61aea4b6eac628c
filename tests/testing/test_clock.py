"""`agentwrit_clock` drives what has the real clock, for the length of the test and no longer."""

from __future__ import annotations

import time

import pytest

from agentwrit_guard import AgentWritApp, Allowed, Clock, Denied, Guard
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.testing import AgentToken, StoppedClock, fake_principal
from tests.kit.clock import MovableClock
from tests.testing.suite import Suite

SCOPE = ["read:customers:7291"]
VALIDATE = "/v1/token/validate"


def bearer(token: str) -> list[bytes]:
    return [b"Bearer " + token.encode()]


def test_it_stands_still_at_the_real_time() -> None:
    before = time.time()
    clock = StoppedClock()
    assert before <= clock.now <= time.time()
    shown = clock.now, clock.clock.now()
    assert (clock.now, clock.clock.now()) == shown
    clock.move(30)
    assert clock.now == shown[0] + 30
    assert clock.clock.now() == (shown[1].monotonic + 30, shown[1].wall + 30)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_it_does_not_go_back(agentwrit_clock: StoppedClock, seconds: float) -> None:
    now = agentwrit_clock.now
    with pytest.raises(ValueError, match="forward"):
        agentwrit_clock.move(seconds)
    assert agentwrit_clock.now == now


def test_guards_and_the_twin_go_by_it(
    agentwrit_clock: StoppedClock, agentwrit_broker: DevBroker, agent_token: AgentToken
) -> None:
    token = agent_token(SCOPE, ttl=60)
    for guard in (Guard.from_env(), Guard.from_env(clock=agentwrit_clock.clock)):
        agentwrit_broker.calls.clear()
        assert isinstance(guard.check(bearer(token)), Allowed)
        agentwrit_clock.move(4.9)
        assert isinstance(guard.check(bearer(token)), Allowed)
        assert agentwrit_broker.calls[VALIDATE] == 1
        agentwrit_clock.move(0.2)
        assert isinstance(guard.check(bearer(token)), Allowed)
        assert agentwrit_broker.calls[VALIDATE] == 2
    agentwrit_clock.move(60)
    assert agentwrit_broker.state.clock() == agentwrit_clock.now
    assert isinstance(Guard.from_env().check(bearer(token)), Denied)


def test_a_token_made_late_is_good_late(agentwrit_clock: StoppedClock, agent_token: AgentToken) -> None:
    agentwrit_clock.move(86400)
    guard = Guard.from_env()
    assert isinstance(guard.check(bearer(agent_token(SCOPE))), Allowed)
    with guard.override(fake_principal(SCOPE, expires_in=60)):
        assert isinstance(guard.check([]), Allowed)
        agentwrit_clock.move(61)
        assert isinstance(guard.check([]), Denied)


def test_the_app_knows_by_it_that_its_login_has_ended(
    agentwrit_clock: StoppedClock, agentwrit_broker: DevBroker, agentwrit_app: AgentWritApp
) -> None:
    for _ in range(2):
        agentwrit_app.create_agent("orch", "task", SCOPE)
        agentwrit_clock.move(86400)
    # Nothing was tried with a login that the broker takes no more.
    assert (agentwrit_broker.calls["/v1/app/auth"], agentwrit_broker.calls["/v1/app/launch-tokens"]) == (2, 2)


def test_a_guard_with_a_clock_of_its_own_keeps_it(agentwrit_clock: StoppedClock) -> None:
    own = MovableClock()
    guard = Guard("http://127.0.0.1:9", clock=own.clock)
    with guard.override(fake_principal(expires_in=own.wall - agentwrit_clock.now + 10)):
        agentwrit_clock.move(20)
        assert isinstance(guard.check([]), Allowed)
        own.move(10)
        assert isinstance(guard.check([]), Denied)


def test_afterwards_guards_have_the_real_clock_and_remember_nothing_of_the_future(suite: Suite) -> None:
    suite.write(
        test_it="""
            import time
            import pytest
            from agentwrit_guard import Allowed, Clock, Guard
            from agentwrit_guard.devbroker import DevBroker

            @pytest.fixture(scope="module")
            def broker():
                with DevBroker() as broker:
                    yield broker

            @pytest.fixture(scope="module")
            def guards(broker):
                guards = [Guard(broker.url, cache_ttl=60)]
                yield guards
                for guard in guards:
                    guard.close()

            token = []

            def test_in_the_future(broker, guards, agentwrit_clock):
                token.append(b"Bearer " + broker.agent(scope=["read:a:1"], ttl=3000).access_token.encode())
                guards.append(Guard(broker.url, cache_ttl=60))
                agentwrit_clock.move(600)
                for guard in guards:
                    decision = guard.check(token)
                    assert decision.principal.validated_at == agentwrit_clock.now > time.time() + 500

            def test_now(broker, guards):
                broker.calls.clear()
                for guard in guards:
                    before = time.time()
                    decision = guard.check(token)
                    assert decision.source == "broker"
                    assert before <= decision.principal.validated_at <= time.time()
                assert broker.calls["/v1/token/validate"] == len(guards) == 2
                guards.append(Guard(broker.url))
                assert guards[-1].check(token).principal.validated_at <= time.time()
        """
    )
    outcome = suite.run()
    assert outcome.counts == {"passed": 2}, outcome.output


def test_without_it_time_is_real(agentwrit_broker: DevBroker) -> None:
    before = time.time()
    assert before <= agentwrit_broker.state.clock() <= time.time()
    assert before - 1 <= fake_principal().validated_at <= time.time()
    assert Clock() == Clock(time.monotonic, time.time)
