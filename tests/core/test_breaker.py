"""The circuit breaker by itself (threats section 2, B-05, B-19): who may call, and for how long nobody may."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest

from agentwrit_guard.core.breaker import LONGEST, SHORTEST, Breaker, Pass
from agentwrit_guard.errors import BrokerUnavailable
from tests.kit.clock import MovableClock

DOWN = BrokerUnavailable("connect", "cannot connect")


def limited(seconds: float | None) -> BrokerUnavailable:
    return BrokerUnavailable("status", "the broker answered validate with 429", status=429, retry_after=seconds)


class Subject:
    """A breaker that opens after three failures, its clock, its dice and what it told."""

    def __init__(self, failures: int = 3) -> None:
        self.clock = MovableClock()
        self.dice = 0.0
        self.told: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.breaker = Breaker(failures, self.monotonic, lambda name, _: self.told.append(name), dice=lambda: self.dice)

    def monotonic(self) -> float:
        self.meanwhile()
        return self.clock.monotonic

    def call(self) -> Pass:
        call = Pass(self.breaker)
        call.taken()
        return call

    def fail(self, times: int = 1, fault: BrokerUnavailable = DOWN) -> None:
        for _ in range(times):
            self.call().failed(fault)

    def refused(self) -> float:
        """How long those are told to wait who are refused."""
        with pytest.raises(BrokerUnavailable) as caught:
            self.breaker.check()
        with pytest.raises(BrokerUnavailable):
            self.call()
        assert caught.value.fault == "breaker"
        assert caught.value.retry_after is not None
        return caught.value.retry_after

    def open(self) -> Subject:
        self.fail(3)
        assert self.breaker.state == "open"
        return self

    def open_for(self) -> float:
        """Seconds until the probe may go, found out by moving the clock to either side of that."""
        low, high = 0.0, 2 * LONGEST
        start = self.clock.monotonic
        while high - low > 1e-6:
            middle = (low + high) / 2
            self.clock.monotonic = start + middle
            low, high = (low, middle) if self.breaker.state == "half_open" else (middle, high)
        self.clock.monotonic = start
        return high

    def half_open(self) -> Subject:
        self.open()
        self.clock.move(LONGEST)
        assert self.breaker.state == "half_open"
        return self


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_it_opens_after_so_many_failures_in_a_row(subject: Subject) -> None:
    subject.fail(2)
    assert subject.breaker.state == "closed"
    subject.fail()
    assert subject.breaker.state == "open"
    assert subject.told == ["breaker_opened"]
    assert subject.refused() >= SHORTEST


def test_one_success_begins_the_row_anew(subject: Subject) -> None:
    for _ in range(10):
        subject.fail(2)
        subject.call().succeeded()
    assert subject.breaker.state == "closed"
    assert subject.told == []
    subject.open()


def test_what_tells_nothing_neither_counts_nor_begins_the_row_anew(subject: Subject) -> None:
    subject.fail(2)
    for _ in range(10):
        subject.call().ended()
    assert subject.breaker.state == "closed"
    subject.fail()
    assert subject.breaker.state == "open"


def test_a_call_is_reported_once(subject: Subject) -> None:
    call = subject.call()
    for _ in range(3):
        call.failed(DOWN)
    call.ended()
    assert subject.breaker.state == "closed"
    subject.fail(2)
    assert subject.breaker.state == "open"
    call.succeeded()
    assert subject.breaker.state == "open"


def test_what_was_never_taken_reports_nothing(subject: Subject) -> None:
    for _ in range(5):
        Pass(subject.breaker).failed(DOWN)
    assert subject.breaker.state == "closed"
    subject.half_open()
    Pass(subject.breaker).succeeded()
    assert subject.breaker.state == "half_open"


def test_taking_it_twice_is_taking_it_once(subject: Subject) -> None:
    probe = Pass(subject.half_open().breaker)
    probe.taken()
    probe.taken()
    probe.succeeded()
    assert subject.breaker.state == "closed"


@pytest.mark.parametrize(("dice", "lengths"), [(0.0, (2, 4, 8, 16, 30, 30, 30)), (1.0, (1, 2, 4, 8, 15, 15, 15))])
def test_each_opening_is_longer_by_a_little_chance(subject: Subject, dice: float, lengths: tuple[float, ...]) -> None:
    subject.dice = dice
    subject.open()
    for length in lengths:
        assert subject.open_for() == pytest.approx(length, abs=1e-3)
        assert SHORTEST <= length <= LONGEST
        subject.clock.move(LONGEST)
        subject.call().failed(DOWN)


def test_two_processes_never_probe_at_the_same_time_for_certain(subject: Subject) -> None:
    other = Subject()
    other.dice = 0.5
    for each in (subject, other):
        each.open()
    for _ in range(8):
        assert subject.open_for() != pytest.approx(other.open_for(), abs=0.1)
        for each in (subject, other):
            each.clock.move(LONGEST)
            each.call().failed(DOWN)


def test_who_is_refused_is_told_when_to_come_back(subject: Subject) -> None:
    subject.fail(fault=limited(10))
    assert subject.refused() == 10
    subject.clock.move(8.5)
    assert subject.refused() == 2  # 1.5 s would be too early
    subject.clock.move(1.4)
    assert subject.refused() == 1


def test_one_call_finds_out_and_the_others_wait(subject: Subject) -> None:
    probe = subject.half_open().call()
    assert subject.refused() == SHORTEST
    assert subject.breaker.state == "half_open"
    probe.succeeded()
    assert subject.breaker.state == "closed"
    assert subject.told == ["breaker_opened", "breaker_closed"]
    subject.fail(2)
    assert subject.breaker.state == "closed"
    subject.fail()
    assert subject.open_for() == pytest.approx(2, abs=1e-3)  # as short as the first


def test_a_probe_that_fails_opens_it_again_without_a_word(subject: Subject) -> None:
    subject.half_open().fail()
    assert subject.breaker.state == "open"
    assert subject.told == ["breaker_opened"]


def test_b_05_after_a_429_one_more_failure_opens_it_again(subject: Subject) -> None:
    subject.fail(fault=limited(1))
    subject.clock.move(1)
    subject.fail()
    assert subject.breaker.state == "open"


def test_a_probe_that_came_to_nothing_is_taken_back(subject: Subject) -> None:
    for _ in range(3):
        subject.half_open() if subject.breaker.state == "closed" else None
        subject.call().ended()
        assert subject.breaker.state == "half_open"
    subject.call().succeeded()
    assert subject.breaker.state == "closed"


def test_a_probe_that_is_never_heard_of_is_given_up(subject: Subject) -> None:
    lost = subject.half_open().call()
    subject.clock.move(LONGEST - 0.1)
    assert subject.refused() == SHORTEST
    subject.clock.move(0.1)
    probe = subject.call()
    for report in (lost.succeeded, lost.ended):
        report()
        assert subject.refused() == SHORTEST
    probe.succeeded()
    assert subject.breaker.state == "closed"


LATE: dict[str, Callable[[Pass], None]] = {
    "success": Pass.succeeded,
    "failure": lambda call: call.failed(DOWN),
    "429": lambda call: call.failed(limited(30)),
    "nothing": Pass.ended,
}


@pytest.mark.parametrize("report", LATE.values(), ids=LATE)
def test_late_results_of_calls_from_before_it_opened_change_nothing(
    subject: Subject, report: Callable[[Pass], None]
) -> None:
    early = [subject.call() for _ in range(8)]
    subject.open()
    length = subject.open_for()
    for call in early[:4]:
        report(call)
    assert subject.breaker.state == "open"
    assert subject.open_for() == length
    subject.clock.move(length)
    probe = subject.call()
    for call in early[4:]:
        report(call)
    assert subject.refused() == SHORTEST  # the probe is still out, and the only one
    probe.succeeded()
    assert subject.breaker.state == "closed"
    assert subject.told == ["breaker_opened", "breaker_closed"]


def test_late_failures_do_not_open_it_again_when_it_has_closed(subject: Subject) -> None:
    early = [subject.call() for _ in range(8)]
    subject.half_open().call().succeeded()
    for call in early:
        call.failed(DOWN)
    assert subject.breaker.state == "closed"
    subject.fail(2)
    assert subject.breaker.state == "closed"


@pytest.mark.parametrize(("asked", "seconds"), [(0, 1), (1, 1), (7, 7), (30, 30), (3600, 30)])
def test_b_05_a_429_opens_it_at_once_for_as_long_as_it_asks(subject: Subject, asked: float, seconds: float) -> None:
    subject.dice = 0.5
    subject.fail(fault=limited(asked))
    assert subject.told == ["breaker_opened"]
    assert subject.open_for() == pytest.approx(seconds, abs=1e-3)
    subject.clock.move(seconds)
    subject.fail(fault=limited(asked))  # the probe's
    assert subject.open_for() == pytest.approx(seconds, abs=1e-3)


def test_b_05_a_429_that_does_not_say_how_long_opens_it_all_the_same(subject: Subject) -> None:
    subject.fail(fault=limited(None))
    assert subject.open_for() == pytest.approx(2, abs=1e-3)


def test_the_retry_after_of_another_answer_is_not_obeyed(subject: Subject) -> None:
    subject.fail(3, BrokerUnavailable("status", "503", status=503, retry_after=25))
    assert subject.open_for() == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("back", [10.0, 1e9])
def test_a_clock_that_is_set_back_keeps_it_open_for_no_longer_than_the_longest_pause(
    subject: Subject, back: float
) -> None:
    subject.open()
    subject.clock.monotonic -= back
    assert subject.refused() <= LONGEST
    subject.clock.move(LONGEST)
    subject.call().succeeded()
    assert subject.breaker.state == "closed"


def test_a_forked_child_begins_closed(subject: Subject) -> None:
    early = subject.call()
    probe = subject.half_open().call()
    subject.breaker.reset()
    assert subject.breaker.state == "closed"
    for _ in range(3):
        early.failed(DOWN)
    probe.failed(DOWN)
    assert subject.breaker.state == "closed"
    subject.open()


def test_of_many_threads_one_gets_the_probe(subject: Subject) -> None:
    subject.half_open()
    together = threading.Barrier(16)
    got: list[Pass] = []

    def ask() -> None:
        together.wait(20)
        with contextlib.suppress(BrokerUnavailable):
            got.append(subject.call())

    for _ in range(20):
        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(got) == 1
        got.pop().ended()


def test_a_call_that_is_collected_while_another_is_let_through_locks_nobody_out(subject: Subject) -> None:
    """A finalizer may run in the middle of anything, in the same thread."""
    subject.half_open()
    lost = [subject.call()]
    subject.meanwhile = lambda: lost.pop().ended() if lost else None
    thread = threading.Thread(target=subject.breaker.check, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert lost == []
    subject.call().succeeded()
    assert subject.breaker.state == "closed"
