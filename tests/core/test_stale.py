"""`stale_if_error` (threats B-22): for whom an outage is bridged, for how long, and for whom it never is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard import Allowed, ConfigurationError, Denied, Guard, Requirement, all_of
from agentwrit_guard.core.decisions import DecisionEvent, Reason
from tests.core.conftest import GuardMaker
from tests.core.kit import SCOPE, TOKEN, UNAVAILABLE, bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.stub import Answer, StubBroker, invalid, json_answer, valid
from tests.kit.tokens import AGENT, NOW, token

GOOD = token(exp=NOW + 600)
READ = all_of("read:customers:7291")
OUTAGES: dict[str, Callable[[bytes], Answer]] = {
    "500": lambda _: json_answer({}, 500),
    "502": lambda _: (502, {"Content-Type": "text/html"}, b"<html>"),
    "429": lambda _: (429, {"Content-Type": "application/json", "Retry-After": "1"}, b"{}"),
    "404": lambda _: json_answer({}, 404),
    "redirect": lambda _: (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "garbage": lambda _: json_answer("?"),
    "no valid": lambda _: json_answer({"valid": "true"}),
}
down = OUTAGES["500"]


@pytest.fixture
def bridging(make: GuardMaker, stub: StubBroker) -> Guard:
    return make(stub.url, stale_if_error=30)


def source(decision: object) -> str:
    assert isinstance(decision, Allowed), decision
    return decision.source


@pytest.mark.parametrize("outage", OUTAGES)
def test_b_22_a_token_that_was_valid_here_outlives_an_outage(
    bridging: Guard, stub: StubBroker, clock: MovableClock, outage: str
) -> None:
    assert source(bridging.check(bearer(GOOD))) == "broker"
    stub.answer = OUTAGES[outage]
    clock.move(4.999)
    assert source(bridging.check(bearer(GOOD))) == "cache"
    for moment in (5, 6, 20, 34.999):
        clock.wall, clock.monotonic = NOW + 1 + moment, 1000 + moment
        stale = bridging.check(bearer(GOOD), READ)
        assert source(stale) == "stale"
        assert isinstance(stale, Allowed)
        assert (stale.principal.source, stale.principal.validated_at) == ("stale", NOW + 1)
        assert stale.principal.can("read:customers:7291")
        assert verdict(bridging.check(bearer(GOOD), all_of("write:customers:1"))) == SCOPE
    clock.move(0.001)
    assert verdict(bridging.check(bearer(GOOD))) == UNAVAILABLE
    # The broker is back, the agent is one like any other.
    stub.answer = valid
    clock.move(40)
    assert source(bridging.check(bearer(GOOD))) == "broker"
    assert source(bridging.check(bearer(GOOD))) == "cache"


def test_b_22_nobody_is_bridged_unless_it_is_switched_on(asking: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert asking.settings.stale_if_error == 0
    assert verdict(asking.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(5)
    assert verdict(asking.check(bearer(GOOD))) == UNAVAILABLE


def test_b_22_new_tokens_get_503(bridging: Guard, stub: StubBroker) -> None:
    stub.answer = down
    assert verdict(bridging.check(bearer(GOOD))) == UNAVAILABLE
    assert verdict(bridging.check(bearer(GOOD))) == UNAVAILABLE


def test_b_22_a_token_that_another_guard_knew_is_new(
    make: GuardMaker, bridging: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    assert verdict(make(stub.url, stale_if_error=30).check(bearer(GOOD))) == "allowed"
    stub.answer = down
    assert verdict(bridging.check(bearer(GOOD))) == UNAVAILABLE


@pytest.mark.parametrize("max_age", [0, 2, 5, 3600])
def test_b_22_never_for_a_requirement_with_a_max_age_of_its_own(
    bridging: Guard, stub: StubBroker, clock: MovableClock, max_age: float
) -> None:
    asked = Requirement.authenticated(max_age=max_age)
    scoped = all_of("read:customers:7291", max_age=max_age)
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(5)
    assert verdict(bridging.check(bearer(GOOD), asked)) == UNAVAILABLE
    assert verdict(bridging.check(bearer(GOOD), scoped)) == UNAVAILABLE
    assert source(bridging.check(bearer(GOOD))) == "stale"


def test_b_22_never_past_exp(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    short = token(exp=NOW + 12)
    assert verdict(bridging.check(bearer(short))) == "allowed"
    stub.answer = down
    clock.move(10.999)
    assert source(bridging.check(bearer(short))) == "stale"
    clock.move(0.001)
    denied = bridging.check(bearer(short))
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.EXPIRED


def test_b_22_a_token_that_ends_while_the_broker_is_asked_in_vain(
    bridging: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    short = token(exp=NOW + 12)

    def slowly(body: bytes) -> Answer:
        clock.wall += 5
        return down(body)

    assert verdict(bridging.check(bearer(short))) == "allowed"
    stub.answer = slowly
    clock.move(7)
    assert verdict(bridging.check(bearer(short))) == TOKEN


@pytest.mark.parametrize("wall, monotonic, expected", [
    (34.9, 34.9, "stale"), (35, 34.9, UNAVAILABLE), (34.9, 35, UNAVAILABLE), (35, 0, UNAVAILABLE),
    (0, 35, UNAVAILABLE), (-0.5, 10, UNAVAILABLE), (10, 0, "stale"), (0, 10, "stale"),
])  # fmt: skip
def test_b_22_c_09_the_window_is_by_the_clock_that_says_more(
    bridging: Guard, stub: StubBroker, clock: MovableClock, wall: float, monotonic: float, expected: str
) -> None:
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.wall += wall
    clock.monotonic += monotonic
    found = bridging.check(bearer(GOOD))
    assert (source(found) if isinstance(found, Allowed) else verdict(found)) == expected


def test_b_22_the_window_does_not_move_with_use(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    passed = 0
    while isinstance(bridging.check(bearer(GOOD)), Allowed):
        clock.move(1)
        passed += 1
    assert passed == 35


@pytest.mark.parametrize("ttl", [0, 1, 60])
def test_b_22_the_window_begins_where_the_ttl_ends(
    make: GuardMaker, stub: StubBroker, clock: MovableClock, ttl: float
) -> None:
    guard = make(stub.url, cache_ttl=ttl, stale_if_error=30)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(ttl)
    assert source(guard.check(bearer(GOOD))) == "stale"
    clock.move(29.999)
    assert source(guard.check(bearer(GOOD))) == "stale"
    clock.move(0.001)
    assert verdict(guard.check(bearer(GOOD))) == UNAVAILABLE


def test_b_22_c_27_not_with_a_tombstone(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    clock.move(1)
    stub.answer = invalid
    assert verdict(bridging.check(bearer(GOOD), Requirement.authenticated(max_age=0))) == TOKEN
    stub.answer = down
    for _ in range(5):
        assert verdict(bridging.check(bearer(GOOD))) == TOKEN
        clock.move(3)
    assert stub.calls == 2


def test_b_22_a_rejection_of_any_kind_ends_it(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    """Of two calls at a time, one said yes and the other no: no tombstone, and nothing to bridge with either."""
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = invalid
    assert verdict(bridging.check(bearer(GOOD), Requirement.authenticated(max_age=0))) == TOKEN
    assert bridging._cache.sizes() == (0, 1, 0)
    stub.answer = down
    clock.move(6)
    assert verdict(bridging.check(bearer(GOOD))) == UNAVAILABLE


def test_b_22_d_10_not_for_who_is_denied(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(6)
    assert source(bridging.check(bearer(GOOD))) == "stale"
    calls = stub.calls
    bridging.deny("agent", AGENT)
    assert verdict(bridging.check(bearer(GOOD))) == TOKEN
    assert stub.calls == calls
    bridging.undeny("agent", AGENT)

    def denying(body: bytes) -> Answer:
        bridging.deny("task", "task-1")
        return down(body)

    stub.answer = denying
    assert verdict(bridging.check(bearer(GOOD))) == TOKEN
    assert stub.calls == calls + 1


def test_b_22_b_14_not_for_an_answer_that_was_for_another_token(
    bridging: Guard, stub: StubBroker, clock: MovableClock
) -> None:
    """The broker could be asked, and what came back is a reason to distrust it."""
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = lambda _: json_answer({"valid": True, "claims": {"sub": "somebody"}})
    clock.move(6)
    denied = bridging.check(bearer(GOOD))
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.CLAIMS_MISMATCH


def test_b_22_a_broker_that_says_no_is_believed(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert verdict(bridging.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(6)
    assert source(bridging.check(bearer(GOOD))) == "stale"
    stub.answer = invalid
    assert verdict(bridging.check(bearer(GOOD))) == TOKEN
    stub.answer = down
    assert verdict(bridging.check(bearer(GOOD))) == TOKEN


def test_b_22_it_works_while_the_breaker_is_open(make: GuardMaker, stub: StubBroker, clock: MovableClock) -> None:
    guard = make(stub.url, stale_if_error=30, breaker_failures=2)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(6)
    for number in range(2):
        assert verdict(guard.check(bearer(token(jti=f"j{number}")))) == UNAVAILABLE
    calls = stub.calls
    fresh = guard.check(bearer(token(jti="new")))
    assert isinstance(fresh, Denied)
    assert fresh.reason is Reason.BREAKER_OPEN
    assert source(guard.check(bearer(GOOD))) == "stale"
    assert verdict(guard.check(bearer(GOOD), Requirement.authenticated(max_age=0))) == UNAVAILABLE
    assert stub.calls == calls
    guard.deny("agent", AGENT)
    assert verdict(guard.check(bearer(GOOD))) == TOKEN


def test_b_22_p3_it_works_for_a_broker_that_does_not_answer_in_time(
    make: GuardMaker, stub: StubBroker, clock: MovableClock
) -> None:
    guard = make(stub.url, stale_if_error=30, timeout=0.05, breaker_failures=1_000_000)
    stub.answer = valid
    while not isinstance(guard.check(bearer(GOOD)), Allowed):
        pass  # a machine with much to do may not make it in 50 ms
    clock.move(6)
    with stub.held():
        assert source(guard.check(bearer(GOOD))) == "stale"
        assert verdict(guard.check(bearer(token(jti="new")))) == UNAVAILABLE


def test_b_22_it_works_for_a_broker_that_is_gone(make: GuardMaker, clock: MovableClock) -> None:
    with StubBroker() as stub:
        guard = make(stub.url, stale_if_error=30)
        assert verdict(guard.check(bearer(GOOD))) == "allowed"
    guard.close()
    clock.move(6)
    assert source(guard.check(bearer(GOOD))) == "stale"


def test_b_22_everybody_who_waits_for_one_call_is_judged_alone(make: GuardMaker, stub: StubBroker, clock: Any) -> None:
    guard = make(stub.url, stale_if_error=30, timeout=30)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    clock.move(6)
    stub.answer = down
    found: list[tuple[str, str]] = []
    # Less than the TTL, so it joins the others' call: and has a max_age of its own all the same.
    own = Requirement.authenticated(max_age=4)
    wanted = [(None, "allowed"), (READ, "allowed"), (own, UNAVAILABLE), (all_of("write:x:1"), SCOPE)]

    def ask(requirement: Requirement | None, expected: str) -> None:
        found.append((verdict(guard.check(bearer(GOOD), requirement)), expected))

    with stub.held():
        threads = [threading.Thread(target=ask, args=case) for case in wanted * 3]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert [pair for pair in found if pair[0] != pair[1]] == []


@pytest.mark.anyio
async def test_b_22_async(bridging: Guard, stub: StubBroker, clock: MovableClock) -> None:
    assert verdict(await bridging.acheck(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(34.9)
    assert source(await bridging.acheck(bearer(GOOD))) == "stale"
    assert verdict(await bridging.acheck(bearer(GOOD), Requirement.authenticated(max_age=0))) == UNAVAILABLE
    clock.move(0.1)
    assert verdict(await bridging.acheck(bearer(GOOD))) == UNAVAILABLE
    await bridging.aclose()


def test_b_22_who_was_pushed_out_of_a_full_cache_is_new(
    make: GuardMaker, stub: StubBroker, clock: MovableClock
) -> None:
    guard = make(stub.url, stale_if_error=30, cache_size=1)
    for jti in ("one", "two"):
        assert verdict(guard.check(bearer(token(jti=jti)))) == "allowed"
    stub.answer = down
    clock.move(6)
    assert verdict(guard.check(bearer(token(jti="one")))) == UNAVAILABLE
    assert source(guard.check(bearer(token(jti="two")))) == "stale"


def test_b_22_the_record_says_so(make: GuardMaker, stub: StubBroker, clock: MovableClock) -> None:
    events: list[DecisionEvent] = []
    guard = make(stub.url, stale_if_error=30, on_decision=events.append)
    assert verdict(guard.check(bearer(GOOD))) == "allowed"
    stub.answer = down
    clock.move(6)
    found = guard.check(bearer(GOOD))
    assert isinstance(found, Allowed)
    guard.record(found, phase="middleware", front="asgi", method="GET", path="/", request_id="r")
    assert [(event.outcome, event.source) for event in events] == [("allowed", "stale")]


@pytest.mark.parametrize("value", [-0.1, 60.1, float("nan"), float("inf"), "30", None, True])
def test_cfg_06_the_window_is_0_to_60_seconds(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^stale_if_error must be"):
        Guard("http://127.0.0.1:1", stale_if_error=value)


def test_cfg_06_the_window_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTWRIT_BROKER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AGENTWRIT_STALE_IF_ERROR", "7.5")
    assert Guard.from_env().settings.stale_if_error == 7.5
    assert Guard.from_env(stale_if_error=60).settings.stale_if_error == 60
    monkeypatch.setenv("AGENTWRIT_STALE_IF_ERROR", "yes")
    with pytest.raises(ConfigurationError, match="AGENTWRIT_STALE_IF_ERROR"):
        Guard.from_env()
