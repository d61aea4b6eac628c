"""The budget for tokens that nobody here has seen, by itself (threats P4)."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest

from agentwrit_guard.core.budget import Budget
from agentwrit_guard.errors import BrokerUnavailable
from tests.kit.clock import MovableClock


def budget(clock: MovableClock, rate: float = 50, burst: int = 100, patience: float = 0.0) -> Budget:
    return Budget(rate, burst, patience, lambda: clock.monotonic)


def taken(subject: Budget, most: int = 10_000) -> list[float]:
    """The waits of all that can be had now."""
    waits: list[float] = []
    with contextlib.suppress(BrokerUnavailable):
        while len(waits) < most:
            waits.append(subject.take())
    return waits


def test_p4_a_burst_and_then_the_rate(clock: MovableClock) -> None:
    subject = budget(clock)
    assert taken(subject) == [0.0] * 100
    for seconds, calls in ((0.25, 12), (0.25, 13), (1, 50), (0.5, 25), (3600, 100)):
        clock.move(seconds)
        assert taken(subject) == [0.0] * calls


def test_p4_a_call_may_be_promised_so_far_ahead_and_no_further(clock: MovableClock) -> None:
    subject = budget(clock, rate=10, burst=2, patience=0.5)
    assert taken(subject) == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.5])
    clock.move(0.1)
    assert taken(subject) == pytest.approx([0.5])


def test_p4_ten_minutes_of_strangers(clock: MovableClock) -> None:
    subject = budget(clock)
    calls = 0
    for _ in range(10 * 60 * 4):
        calls += len(taken(subject))
        clock.move(0.25)
    assert calls <= 30_100
    assert calls >= 30_050


def test_p4_whatever_the_order_never_more_is_sent_than_burst_and_rate_allow(clock: MovableClock) -> None:
    dice = random.Random(7)
    for _ in range(200):
        rate, burst, patience = dice.choice((0.5, 7, 50)), dice.choice((1, 5, 100)), dice.choice((0.0, 0.25, 2.0))
        subject, start, sent = budget(clock, rate, burst, patience), clock.monotonic, []
        for _ in range(100):
            clock.move(dice.choice((0.0, 0.001, 0.1, 3.0)))
            now = clock.monotonic - start
            sent += [now + wait for wait in taken(subject, dice.randrange(30))]
            assert not sent or sent[-1] <= now + patience + 1e-9
        sent.sort()
        for count, moment in enumerate(sent, 1):
            assert count <= burst + rate * moment + 1e-6


def test_check_says_what_take_would(clock: MovableClock) -> None:
    dice = random.Random(3)
    subject = budget(clock, rate=10, burst=5, patience=0.3)
    for _ in range(500):
        clock.move(dice.random() / 20)
        try:
            subject.check()
        except BrokerUnavailable:
            with pytest.raises(BrokerUnavailable, match="never seen") as caught:
                subject.take()
            assert caught.value.fault == "budget"
        else:
            subject.take()


def test_what_is_given_back_is_there_again_but_never_more_than_the_burst(clock: MovableClock) -> None:
    subject = budget(clock, burst=3)
    subject.refund()
    assert len(taken(subject)) == 3
    subject.refund()
    subject.refund()
    assert len(taken(subject)) == 2


def test_x_03a_agents_that_pay_and_get_it_back_never_use_it_up(clock: MovableClock) -> None:
    subject = budget(clock)
    for _ in range(1000):
        assert taken(subject, 32) == [0.0] * 32
        for _ in range(32):
            subject.refund()


def test_a_clock_that_is_set_back_takes_nothing_and_gives_nothing(clock: MovableClock) -> None:
    subject = budget(clock)
    assert len(taken(subject, 90)) == 90
    clock.monotonic -= 3600
    assert len(taken(subject)) == 10
    clock.move(1)
    assert len(taken(subject)) == 50
    clock.move(3599)
    assert len(taken(subject)) == 100


def test_many_threads_get_no_more_than_there_is(clock: MovableClock) -> None:
    subject = budget(clock)
    waits: list[list[float]] = []
    threads = [threading.Thread(target=lambda: waits.append(taken(subject))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(map(len, waits)) == 100


def test_a_forked_child_begins_with_a_full_one(clock: MovableClock) -> None:
    subject = budget(clock)
    taken(subject)
    subject.reset()
    assert len(taken(subject)) == 100
