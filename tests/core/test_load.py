"""What one validation asks of the broker, and what it pays: flows driven by hand (threats P4, B-03 to B-06)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agentwrit_guard.core.breaker import LONGEST, Breaker
from agentwrit_guard.core.budget import Budget
from agentwrit_guard.core.load import Load
from agentwrit_guard.core.wire import BrokerReply, BrokerRequest, Flow
from agentwrit_guard.errors import BrokerUnavailable
from tests.kit.clock import MovableClock

JSON = {"content-type": "application/json"}
TRUE = BrokerReply(200, JSON, b'{"valid":true,"claims":{}}')
FALSE = BrokerReply(200, JSON, b'{"valid":false}')
BURST = 3
FAILURES = 2


def status(code: int, **headers: str) -> BrokerReply:
    return BrokerReply(code, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def fault(word: str) -> BrokerUnavailable:
    return BrokerUnavailable(word, word, retryable=word == "reset")


Outcome = BrokerReply | BrokerUnavailable


class Driven:
    """One validation. `outcomes` say what each of its requests comes to when it has left."""

    def __init__(self, load: Load, *, known: bool = False) -> None:
        self.flow: Flow[Mapping[str, object] | None] = load.validate("a.b.c", known=known)
        self.request: BrokerRequest | None = next(self.flow)
        self.waits: list[float] = []
        self.sent = 0

    def leave(self) -> BrokerUnavailable | None:
        """As a runner does that has a place: the fault that kept the request from being sent."""
        assert self.request is not None
        assert self.request.leave is not None
        try:
            self.waits.append(self.request.leave())
        except BrokerUnavailable as fault:
            return fault
        self.sent += 1
        return None

    def told(self, outcome: Outcome) -> Any:
        """None while it goes on; what it comes to, a fault among others."""
        try:
            if isinstance(outcome, BrokerReply):
                self.request = self.flow.send(outcome)
            else:
                self.request = self.flow.throw(outcome)
        except StopIteration as stop:
            return "valid" if stop.value is not None else "invalid"
        except BrokerUnavailable as fault:
            return fault
        return None

    def to_its_end(self, *outcomes: Outcome) -> Any:
        found = None
        for outcome in outcomes:
            kept = self.leave()
            found = self.told(kept or outcome)
            if kept is not None:
                break
        assert found is not None
        return found


@pytest.fixture
def load(clock: MovableClock) -> Load:
    breaker = Breaker(FAILURES, lambda: clock.monotonic, lambda *_: None)
    return Load(breaker, Budget(1.0, BURST, 0.0, lambda: clock.monotonic))


def word(load: Load, *outcomes: Outcome, known: bool = False) -> str:
    found = Driven(load, known=known).to_its_end(*outcomes)
    return found if isinstance(found, str) else found.fault


def refusal(load: Load, *, known: bool = False) -> str:
    """The fault of a validation that does not even begin."""
    with pytest.raises(BrokerUnavailable) as caught:
        next(load.validate("a.b.c", known=known))
    return caught.value.fault


def left(load: Load) -> int:
    """How many calls for strangers could be made now. Uses none up."""
    waiting = 0
    while True:
        try:
            load.budget.take()
        except BrokerUnavailable:
            break
        waiting += 1
    for _ in range(waiting):
        load.budget.refund()
    return waiting


def test_p4_what_the_broker_confirms_costs_nothing(load: Load) -> None:
    for _ in range(10 * BURST):
        assert word(load, TRUE) == "valid"
    assert left(load) == BURST


COSTS = {
    "invalid": (FALSE,),
    "500": (status(500),),
    "400": (status(400),),
    "timeout": (fault("timeout"),),
    "closed under it": (fault("closed"),),
}


@pytest.mark.parametrize("outcomes", COSTS.values(), ids=COSTS)
def test_p4_what_it_does_not_confirm_is_paid_for(load: Load, outcomes: tuple[Outcome, ...]) -> None:
    word(load, *outcomes)
    assert left(load) == BURST - 1


def test_p4_when_the_budget_is_used_up_no_stranger_is_asked_about(load: Load, clock: MovableClock) -> None:
    for _ in range(BURST):
        assert word(load, FALSE) == "invalid"
    assert refusal(load) == "budget"
    clock.move(1)
    assert word(load, FALSE) == "invalid"
    assert refusal(load) == "budget"


def test_p5_who_was_valid_here_pays_nothing(load: Load) -> None:
    for _ in range(BURST):
        word(load, FALSE)
    for _ in range(10):
        assert word(load, TRUE, known=True) == "valid"
        assert word(load, FALSE, known=True) == "invalid"
    assert left(load) == 0


@pytest.mark.parametrize("known", [True, False])
def test_p5_who_was_valid_here_goes_ahead_of_strangers_at_each_try(load: Load, known: bool) -> None:
    call = Driven(load, known=known)
    for outcome in (fault("reset"), TRUE):
        assert call.request is not None
        assert call.request.ahead is known
        call.leave()
        found = call.told(outcome)
    assert found == "valid"


def test_x_03a_who_stands_in_line_has_not_paid_yet(load: Load) -> None:
    """A thousand agents who come at once: only those under way have paid."""
    line = [Driven(load) for _ in range(1000)]
    for agent in line:
        assert agent.leave() is None
        assert agent.told(TRUE) == "valid"
    assert left(load) == BURST


def test_p4_who_stood_in_line_pays_when_the_turn_comes(load: Load) -> None:
    line = [Driven(load) for _ in range(BURST + 2)]
    found = [stranger.to_its_end(FALSE) for stranger in line]
    assert found[:BURST] == ["invalid"] * BURST
    assert [each.fault for each in found[BURST:]] == ["budget"] * 2
    assert sum(stranger.sent for stranger in line) == BURST


def test_p4_a_call_may_be_promised(clock: MovableClock) -> None:
    load = Load(
        Breaker(FAILURES, lambda: clock.monotonic, lambda *_: None), Budget(10.0, 1, 0.25, lambda: clock.monotonic)
    )
    line = [Driven(load) for _ in range(4)]
    found = [stranger.to_its_end(FALSE) for stranger in line]
    assert [wait for stranger in line for wait in stranger.waits] == pytest.approx([0, 0.1, 0.2])
    assert found[3].fault == "budget"


@pytest.mark.parametrize("paid", [False, True], ids=["in line", "after a promise"])
def test_p4_what_found_no_place_is_given_back(load: Load, paid: bool) -> None:
    for _ in range(10):
        waiting = Driven(load)
        if paid:
            waiting.leave()
        assert waiting.told(fault("queue")).fault == "queue"
    assert left(load) == BURST
    assert load.breaker.state == "closed"


def test_b_03_the_second_try_is_paid_for_too(load: Load) -> None:
    assert word(load, fault("reset"), FALSE) == "invalid"
    assert left(load) == BURST - 2


def test_b_03_of_a_valid_token_both_are_given_back(load: Load) -> None:
    assert word(load, fault("reset"), TRUE) == "valid"
    assert left(load) == BURST


@pytest.mark.parametrize("kept", ["budget", "queue"])
def test_b_03_a_second_try_that_is_not_made_leaves_the_first_ones_fault(load: Load, kept: str) -> None:
    for _ in range(BURST - 1):
        word(load, FALSE)
    for failures in range(FAILURES):
        if failures:
            load.budget.refund()
        call = Driven(load)
        call.leave()
        assert call.told(fault("reset")) is None
        not_sent = call.leave() if kept == "budget" else fault("queue")
        assert not_sent is not None
        assert not_sent.fault == kept
        found = call.told(not_sent)
        assert found.fault == "reset"
        assert left(load) == 0
    assert load.breaker.state == "open"


def test_a_validation_with_its_second_try_counts_once(load: Load) -> None:
    for _ in range(FAILURES - 1):
        assert word(load, fault("reset"), fault("reset"), known=True) == "reset"
    assert load.breaker.state == "closed"
    assert word(load, fault("reset"), fault("reset"), known=True) == "reset"
    assert load.breaker.state == "open"
    assert refusal(load, known=True) == "breaker"


COUNTED: dict[str, Outcome] = {
    **{str(code): status(code) for code in (301, 401, 403, 404, 405, 418, 500, 502, 503, 504)},
    **{name: fault(name) for name in ("connect", "timeout", "tls", "encoding", "too_large")},
    "no JSON": BrokerReply(200, {"content-type": "text/html"}, b"<html>"),
    "no answer": BrokerReply(200, JSON, b'{"valid":1}'),
}
UNCOUNTED: dict[str, Outcome] = {
    "B-06 400": status(400),
    "B-06 413": status(413),
    **{name: fault(name) for name in ("closed", "queue", "budget", "breaker")},
}


@pytest.mark.parametrize("outcome", COUNTED.values(), ids=COUNTED)
def test_failures_of_the_broker_open_the_breaker(load: Load, outcome: Outcome) -> None:
    for _ in range(FAILURES):
        word(load, outcome, known=True)
    assert load.breaker.state == "open"


@pytest.mark.parametrize("outcome", UNCOUNTED.values(), ids=UNCOUNTED)
def test_what_does_not_tell_of_the_broker_counts_for_nothing(load: Load, outcome: Outcome) -> None:
    for _ in range(10):
        word(load, outcome, known=True)
    assert load.breaker.state == "closed"
    word(load, status(500), known=True)
    word(load, outcome, known=True)
    word(load, status(500), known=True)
    assert load.breaker.state == "open"


@pytest.mark.parametrize("answer", [TRUE, FALSE], ids=["true", "false"])
def test_true_and_false_are_both_signs_of_life(load: Load, answer: BrokerReply) -> None:
    for _ in range(5):
        word(load, status(500), known=True)
        word(load, answer, known=True)
    assert load.breaker.state == "closed"


def test_b_05_a_429_is_obeyed(load: Load, clock: MovableClock) -> None:
    assert word(load, status(429, retry_after="9"), known=True) == "status"
    clock.move(8.9)
    assert refusal(load, known=True) == "breaker"
    clock.move(0.1)
    assert word(load, TRUE, known=True) == "valid"
    assert load.breaker.state == "closed"


def open_and_wait(load: Load, clock: MovableClock) -> None:
    for _ in range(FAILURES):
        word(load, status(500), known=True)
    clock.move(LONGEST)


def test_who_stands_in_line_as_the_breaker_opens_is_not_sent(load: Load) -> None:
    line = [Driven(load) for _ in range(5)]
    for _ in range(FAILURES):
        word(load, status(500), known=True)
    assert [stranger.to_its_end(TRUE).fault for stranger in line] == ["breaker"] * 5
    assert sum(stranger.sent for stranger in line) == 0
    assert left(load) == BURST


def test_of_those_in_line_one_finds_out(load: Load, clock: MovableClock) -> None:
    open_and_wait(load, clock)
    line = [Driven(load) for _ in range(5)]
    assert [stranger.leave() is None for stranger in line] == [True, False, False, False, False]
    assert line[0].told(TRUE) == "valid"
    assert line[1].leave() is None


def raises(call: Driven, error: type[BaseException]) -> None:
    with pytest.raises(error):
        call.flow.throw(error)


ENDS: dict[str, Callable[[Driven], object]] = {
    "closed": lambda call: call.flow.close(),
    "interrupted": lambda call: raises(call, KeyboardInterrupt),
    "an error of our own": lambda call: raises(call, ZeroDivisionError),
    "the guard was closed": lambda call: call.told(fault("closed")),
    "B-06 400": lambda call: call.told(status(400)),
    "no place after all": lambda call: call.told(fault("queue")),
    "dropped": lambda call: vars(call).clear(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_probe_that_tells_nothing_is_taken_back(
    load: Load, clock: MovableClock, end: Callable[[Driven], object]
) -> None:
    open_and_wait(load, clock)
    probe = Driven(load)
    assert probe.leave() is None
    assert refusal(load, known=True) == "breaker"
    end(probe)
    assert word(load, TRUE) == "valid"
    assert load.breaker.state == "closed"


def test_a_probe_that_cannot_be_paid_for_is_taken_back(load: Load, clock: MovableClock) -> None:
    probe = Driven(load)
    for _ in range(BURST):
        assert Driven(load).leave() is None
    for _ in range(FAILURES):
        word(load, status(500), known=True)
    clock.monotonic += LONGEST
    for _ in range(BURST):
        load.budget.take()
    assert probe.to_its_end(TRUE).fault == "budget"
    assert word(load, TRUE, known=True) == "valid"


def test_p4_a_second_try_of_a_probe_needs_no_second_leave(load: Load, clock: MovableClock) -> None:
    open_and_wait(load, clock)
    assert word(load, fault("reset"), TRUE, known=True) == "valid"
    assert load.breaker.state == "closed"


def test_what_never_begins_leaves_nothing(load: Load, clock: MovableClock) -> None:
    open_and_wait(load, clock)
    load.validate("a.b.c", known=True).close()
    Driven(load).flow.close()
    assert word(load, TRUE) == "valid"


def test_a_forked_child_begins_anew(load: Load) -> None:
    for _ in range(BURST):
        word(load, FALSE)
    for _ in range(FAILURES):
        word(load, status(500), known=True)
    load.reset()
    assert left(load) == BURST
    assert word(load, TRUE) == "valid"
