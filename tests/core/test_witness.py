"""What is seen of a validation, with its flow driven by hand: one event, true figures, and no part in the outcome."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, Lookup
from agentwrit_guard.core import inspection, wire, witness
from agentwrit_guard.core.breaker import Breaker
from agentwrit_guard.core.budget import Budget
from agentwrit_guard.core.decisions import Reason
from agentwrit_guard.core.deny import DenyEntry, DenyList
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest
from agentwrit_guard.core.witness import Asking, ValidationEvent
from agentwrit_guard.errors import BrokerUnavailable
from tests.core.conftest import GuardMaker
from tests.core.kit import bearer
from tests.kit.clock import MovableClock
from tests.kit.tokens import NOW, OTHER, claims, token

GOOD = bearer(token())


def reply(value: object, status: int = 200, *, date: str | float | None = None) -> BrokerReply:
    headers = {"content-type": "application/json"}
    if date is not None:
        headers["date"] = date if isinstance(date, str) else formatdate(date, usegmt=True)
    return BrokerReply(status, headers, json.dumps(value).encode())


def yes(**changes: Any) -> BrokerReply:
    return reply({"valid": True, "claims": claims()}, **changes)


def no(**changes: Any) -> BrokerReply:
    return reply({"valid": False}, **changes)


class Scene:
    """A guard whose validations are driven by hand, and what it tells."""

    def __init__(self, guard: Guard, clock: MovableClock) -> None:
        self.guard = guard
        self.clock = clock
        self.events: list[ValidationEvent] = []
        guard.watch(on_validation=self.events.append)

    def validate(
        self,
        *outcomes: BrokerReply | BrokerUnavailable,
        entries: list[bytes] = GOOD,
        line: float = 0.0,
        trip: float = 0.0,
    ) -> Allowed | Denied:
        """Each request stands `line` seconds in line, and `trip` seconds later its outcome is there."""
        lookup = self.guard.decide(entries)
        assert isinstance(lookup, Lookup)
        flow = self.guard._engine.validation(lookup, self.guard._clock.now())
        try:
            request = next(flow)
            for outcome in outcomes:
                self.clock.move(line)
                assert request.leave is not None
                assert request.leave() == 0
                self.clock.move(trip)
                request = flow.send(outcome) if isinstance(outcome, BrokerReply) else flow.throw(outcome)
        except StopIteration as stop:
            found: Allowed | Denied = stop.value
            return found
        flow.close()
        raise AssertionError("the flow wanted one more request")


@pytest.fixture
def scene(guard: Guard, clock: MovableClock) -> Scene:
    return Scene(guard, clock)


def test_a_yes_is_one_event(scene: Scene) -> None:
    assert isinstance(scene.validate(yes(), line=0.25, trip=0.5), Allowed)
    assert scene.events == [ValidationEvent("valid", None, 0.75, NOW + 1, False, None, 1)]
    stats = scene.guard.stats()
    assert (stats.valid, stats.invalid, stats.unavailable, stats.lookups, stats.cached) == (1, 0, 0, 1, 0)
    assert isinstance(scene.guard.decide(GOOD), Allowed)
    assert (scene.guard.stats().lookups, scene.guard.stats().cached) == (1, 1)


def test_a_no_is_one_event(scene: Scene) -> None:
    assert isinstance(scene.validate(no()), Denied)
    assert [(event.outcome, event.fault) for event in scene.events] == [("invalid", None)]
    assert isinstance(scene.guard.decide(GOOD), Denied)
    stats = scene.guard.stats()
    assert (stats.invalid, stats.lookups, stats.cached, stats.rejected) == (1, 1, 1, 1)


@pytest.mark.parametrize("outcome, fault, reason", [
    (BrokerUnavailable("connect", "x"), "connect", Reason.BROKER_UNAVAILABLE),
    (BrokerUnavailable("timeout", "x"), "timeout", Reason.BROKER_UNAVAILABLE),
    (no(status=500), "status", Reason.BROKER_UNAVAILABLE),
    (reply([]), "body", Reason.BROKER_UNAVAILABLE),
    (reply({"valid": True, "claims": claims(sub=OTHER)}), "mismatch", Reason.CLAIMS_MISMATCH),
])  # fmt: skip
def test_no_usable_answer_is_one_event(
    scene: Scene, outcome: BrokerReply | BrokerUnavailable, fault: str, reason: Reason
) -> None:
    refused = scene.validate(outcome)
    assert isinstance(refused, Denied)
    assert refused.reason is reason
    assert [(event.outcome, event.fault) for event in scene.events] == [("unavailable", fault)]
    assert (scene.guard.stats().unavailable, scene.guard.stats().answered) == (1, None)


@pytest.mark.parametrize("fault", ["breaker", "budget", "queue"])
def test_what_was_not_asked_is_no_validation(scene: Scene, fault: str) -> None:
    assert isinstance(scene.validate(BrokerUnavailable(fault, "x")), Denied)
    assert scene.events == []
    assert scene.guard.stats().unavailable == 0


def test_a_second_try_is_seen_and_counts_once(scene: Scene) -> None:
    broken = BrokerUnavailable("reset", "x", retryable=True)
    assert isinstance(scene.validate(broken, yes(), line=0.5, trip=0.25), Allowed)
    assert [(event.outcome, event.retried, event.seconds) for event in scene.events] == [("valid", True, 1.5)]


def test_a_flow_that_is_dropped_is_no_validation(scene: Scene) -> None:
    with pytest.raises(AssertionError, match="one more request"):
        scene.validate(BrokerUnavailable("reset", "x", retryable=True))
    assert scene.events == []


def test_seconds_are_never_negative(scene: Scene) -> None:
    scene.validate(yes(date=NOW), trip=-3)
    assert (scene.events[0].seconds, scene.guard.stats().uptime) == (0.0, 0.0)


# Clocks.


@pytest.mark.parametrize("ahead", [-7200.0, -6.6, -5.0, -0.4, 0.0, 0.4, 5.0, 6.6, 7200.0])
@pytest.mark.parametrize("line, trip", [(0.0, 0.0), (0.0, 0.2), (5.0, 0.2)])
def test_the_skew_is_near_the_truth_however_long_the_line_was(
    scene: Scene, caplog: pytest.LogCaptureFixture, ahead: float, line: float, trip: float
) -> None:
    """To half a second and half of the round trip; the time in line counts for nothing."""
    scene.validate(yes(date=int(scene.clock.wall + line + trip / 2 + ahead)), line=line, trip=trip)
    (event,) = scene.events
    assert event.clock_skew is not None
    assert abs(event.clock_skew - ahead) <= 0.5 + trip / 2 + 1e-6
    assert scene.guard.stats().clock_skew == event.clock_skew
    told = [record for record in caplog.records if getattr(record, "event", "") == "clock_skew"]
    assert len(told) == (abs(ahead) > 5)


def test_a_skew_names_the_figure_and_what_to_do(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.validate(yes(date=scene.clock.wall + 40))
    assert "clock_skew: the broker's clock is 40 s ahead of this host's" in caplog.text
    assert "not_yet_valid" in caplog.text
    assert "time source" in caplog.text
    # Paced as explanations are.
    scene.clock.move(5)
    scene.validate(yes(date=scene.clock.wall + 40), entries=GOOD)
    assert len(caplog.records) == 1
    scene.clock.move(5)
    scene.validate(yes(date=scene.clock.wall - 90))
    assert "is 90 s behind this host's: tokens expire" in caplog.records[1].getMessage()


def test_the_limit_is_the_leeway_of_nbf() -> None:
    assert witness.SKEWED == inspection._NBF_LEEWAY


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_a_date_that_is_none_is_not_looked_at(scene: Scene, caplog: pytest.LogCaptureFixture, date: str) -> None:
    assert isinstance(scene.validate(yes(date=date)), Allowed)
    assert (scene.events[0].clock_skew, scene.guard.stats().clock_skew) == (None, None)
    assert caplog.records == []


def test_an_error_page_tells_nothing_of_the_brokers_clock(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.validate(yes(date=NOW))
    before = scene.guard.stats().clock_skew
    scene.clock.move(5)
    scene.validate(no(status=502, date=NOW + 9000))
    assert scene.events[1].clock_skew is None
    assert scene.guard.stats().clock_skew == before
    assert caplog.records == []


def test_the_last_answer_with_a_date_stands(scene: Scene) -> None:
    scene.validate(yes(date=NOW + 3))
    seen = scene.guard.stats()
    scene.clock.move(5)
    scene.validate(yes())
    after = scene.guard.stats()
    assert (after.clock_skew, seen.answered, after.answered) == (seen.clock_skew, 0.0, 0.0)
    scene.clock.move(7)
    assert scene.guard.stats().answered == 7


def test_a_flow_whose_requests_never_leave_has_no_skew(clock: MovableClock) -> None:
    """As a test that drives a flow by hand may do: a request need not have a `leave`, nor need it be called."""
    asking = Asking(clock.clock.now(), lambda: clock.monotonic, lambda: clock.wall)
    flow = asking.watched(wire.validate("a.b.c"))
    request = next(flow)
    assert request.leave is not None
    with pytest.raises(StopIteration):
        flow.send(no(date=NOW))
    assert (asking.skew, asking.tries) == (None, 1)
    asking = Asking(clock.clock.now(), lambda: clock.monotonic, lambda: clock.wall)
    flow = asking.watched(wire.validate("a.b.c"))
    request = next(flow)
    assert request.leave is not None
    assert request.leave() == 0.0
    with pytest.raises(StopIteration):
        flow.send(no(date=NOW))
    assert asking.skew is not None


def test_watching_leaves_the_request_as_it_is(clock: MovableClock) -> None:
    left: list[str] = []

    def leave() -> float:
        left.append("left")
        return 0.125

    def flow() -> Any:
        yield dataclasses.replace(BrokerRequest.post("/x", {"token": "t"}, bearer="b"), leave=leave)

    asking = Asking(clock.clock.now(), lambda: clock.monotonic, lambda: clock.wall)
    request = next(asking.watched(flow()))
    assert request == BrokerRequest.post("/x", {"token": "t"}, bearer="b")
    assert request.leave is not None
    assert (request.leave(), left) == (0.125, ["left"])


# Hooks.


def test_who_is_told_finds_the_outcome_in_place(scene: Scene) -> None:
    found: list[object] = []
    scene.guard.watch(on_validation=lambda _: found.append(scene.guard.decide(GOOD)))
    scene.validate(yes())
    assert isinstance(found[0], Allowed)
    scene.clock.move(5)
    scene.validate(no())
    assert isinstance(found[1], Denied)


def raising(error: type[BaseException]) -> Callable[[object], None]:
    def hook(_: object) -> None:
        raise error("from a hook")

    return hook


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_passes_and_lets_nobody_in(scene: Scene, error: type[BaseException]) -> None:
    scene.guard.watch(on_validation=raising(error))
    with pytest.raises(error):
        scene.validate(yes())
    # The next one is told as ever.
    with pytest.raises(error):
        scene.validate(yes(), entries=bearer(token(jti="another")))
    assert len(scene.events) == 2


# What stats reads of the parts.


def test_the_budget_says_what_is_left(clock: MovableClock) -> None:
    budget = Budget(10, 4, 0.5, lambda: clock.monotonic)
    assert budget.left == 4
    for _ in range(6):
        budget.take()
    assert budget.left == -2
    clock.move(0.3)
    assert budget.left == pytest.approx(1)
    clock.move(-5)
    assert budget.left == -2
    clock.move(3600)
    assert budget.left == 4


def test_the_state_of_a_breaker_that_closes_meanwhile(clock: MovableClock) -> None:
    """Whoever looks at it holds no lock."""
    meanwhile: list[Callable[[], None]] = []

    def monotonic() -> float:
        if meanwhile:
            meanwhile.pop()()
        return clock.monotonic

    breaker = Breaker(1, monotonic, lambda *_: None)
    breaker._until = clock.monotonic + 5
    meanwhile.append(breaker.reset)
    assert breaker.state == "open"
    assert breaker.state == "closed"


def test_the_deny_list_tells_its_two_sizes(clock: MovableClock) -> None:
    denied = DenyList(3600, lambda: clock.monotonic)
    denied.add(DenyEntry("task", "t"))
    denied.replace([DenyEntry("task", "a"), DenyEntry("token", "b")])
    assert denied.sizes() == (1, 2)


def test_a_reset_begins_anew(make: GuardMaker, clock: MovableClock) -> None:
    scene = Scene(make(), clock)
    scene.validate(yes(date=NOW))
    clock.move(3)
    scene.guard._parts.reset()
    stats = scene.guard.stats()
    assert (stats.uptime, stats.valid, stats.lookups, stats.answered, stats.clock_skew) == (0.0, 0, 0, None, None)
