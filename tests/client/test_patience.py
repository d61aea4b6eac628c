"""How the wait for a login is paced, without a broker."""

from __future__ import annotations

import pytest

from agentwrit_guard.client.patience import Patience
from agentwrit_guard.errors import ProblemDetail, RateLimitError
from tests.kit.clock import Time


def limited(retry_after: float | None = 60.0) -> RateLimitError:
    return RateLimitError(ProblemDetail("t", "Too Many Requests", "later", "/v1/app/auth"), 429, retry_after)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.mark.parametrize("retry_after", [60.0, 0.0, None])
def test_without_a_wait_the_refusal_is_raised(clock: Time, retry_after: float | None) -> None:
    patience, refusal = Patience(0.0, clock), limited(retry_after)
    for _ in range(3):
        assert patience.left(patience.deadline()) == 0
        with pytest.raises(RateLimitError) as caught:
            patience.refused(refusal, patience.deadline())
        assert caught.value is refusal


def test_the_wait_is_what_the_broker_says_and_up_to_half_of_it_more(clock: Time) -> None:
    waits = set()
    for _ in range(200):
        patience = Patience(600.0, clock)
        patience.refused(limited(), patience.deadline())
        waits.add(patience.left(patience.deadline()))
    assert 60.0 <= min(waits) < 65.0
    assert 85.0 < max(waits) <= 90.0
    assert len(waits) > 150


def test_a_wait_that_would_end_too_late_is_not_begun(clock: Time) -> None:
    patience, refusal = Patience(59.0, clock), limited()
    with pytest.raises(RateLimitError) as caught:
        patience.refused(refusal, patience.deadline())
    assert caught.value is refusal
    assert patience.left(patience.deadline()) == 0


def test_the_random_part_never_reaches_beyond_the_deadline(clock: Time) -> None:
    for _ in range(50):
        patience = Patience(61.0, clock)
        until = patience.deadline()
        patience.refused(limited(), until)
        assert 60.0 <= patience.left(until) <= 61.0


def test_callers_wait_for_one_moment(clock: Time) -> None:
    patience = Patience(600.0, clock)
    patience.refused(limited(), patience.deadline())
    moment = clock.now + patience.left(patience.deadline())
    clock.now += 20
    patience.refused(limited(), patience.deadline())  # of a caller who shared the login that was refused
    assert clock.now + patience.left(patience.deadline()) == pytest.approx(moment)


def test_a_caller_with_less_time_is_told_what_is_left(clock: Time) -> None:
    patience = Patience(100.0, clock)
    early = patience.deadline()
    clock.now += 50
    patience.refused(limited(), patience.deadline())
    with pytest.raises(RateLimitError) as caught:
        patience.left(early)
    assert caught.value.retry_after is not None
    assert 60.0 <= caught.value.retry_after <= 90.0
    assert caught.value.problem.detail == "later"


def test_without_retry_after_the_wait_doubles_up_to_a_minute(clock: Time) -> None:
    patience = Patience(3600.0, clock)
    for least in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        patience.refused(limited(None), patience.deadline())
        left = patience.left(patience.deadline())
        assert least <= left <= 1.5 * least
        clock.now += left
    patience.granted()
    patience.refused(limited(None), patience.deadline())
    assert patience.left(patience.deadline()) <= 1.5


def test_retry_after_of_nothing_is_no_reason_to_hammer(clock: Time) -> None:
    patience = Patience(600.0, clock)
    patience.refused(limited(0.0), patience.deadline())
    assert patience.left(patience.deadline()) >= 1.0
