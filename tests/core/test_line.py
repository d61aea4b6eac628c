"""The line by its rule alone, in a time of its own: who is next, and who leaves it (threats X-03, P4, P5)."""

from __future__ import annotations

import collections
import heapq
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentwrit_guard.core.line import Line, Stand

PLACES = 32
PATIENCE = 0.25
TIMEOUT = 2.0


# --- who is next


@given(st.lists(st.sampled_from(["known", "stranger", "leaves", "served"]), max_size=60), st.randoms())
def test_p5_known_ones_go_first_and_each_kind_in_the_order_it_came(steps: list[str], dice: random.Random) -> None:
    line: Line[Stand] = Line()
    came: list[Stand] = []
    gone: list[Stand] = []
    for step in steps:
        if step == "served":
            first = next(iter(sorted(came, key=lambda stand: not stand.ahead)), None)
            assert line.next() is first
            if first is not None:
                came.remove(first)
                gone.append(first)
        elif step == "leaves":
            if came + gone:
                who = dice.choice(came + gone)
                line.leave(who)
                if who in came:
                    came.remove(who)
                    gone.append(who)
        else:
            came.append(Stand(ahead=step == "known"))
            line.join(came[-1], 0.0)
        assert len(line) == len(came)


# --- who stays, and for how long


def joined(line: Line[Stand], known: int = 0, strangers: int = 0) -> list[Stand]:
    """So many who came at 0 s."""
    came = [Stand(ahead=number < known) for number in range(known + strangers)]
    for stand in came:
        line.join(stand, 0.0)
    return came


def needs(line: Line[Stand], who: Stand, seconds: float) -> bool:
    """Whether at 1 s that is what `who` still needs, by what is known of a line before one place."""
    return line.moves(who, 1, 1.0, seconds + 0.01) and not line.moves(who, 1, 1.0, seconds - 0.01)


def test_p5_a_stranger_reckons_with_the_known_ones_that_stand_and_with_those_to_come() -> None:
    line: Line[Stand] = Line()
    joined(line, known=15)
    (stranger,) = joined(line, strangers=1)
    for _ in range(10):
        line.next()
    # Five before it, one under way, and its own: ten were served in a second.
    assert needs(line, stranger, 0.7)
    joined(line, known=2)
    # Two more, and as many will come in each second to come.
    assert needs(line, stranger, 0.9 / 0.8)


def test_p5_a_known_one_reckons_with_those_before_it_alone() -> None:
    line: Line[Stand] = Line()
    joined(line, known=13, strangers=4)
    (known,) = joined(line, known=1)
    joined(line, known=7, strangers=4)
    for _ in range(10):
        line.next()
    assert needs(line, known, 0.5)


def test_x_03_who_has_left_is_not_waited_for() -> None:
    line: Line[Stand] = Line()
    before = joined(line, strangers=18)
    (stranger,) = joined(line, strangers=1)
    for _ in range(10):
        line.next()
    assert needs(line, stranger, 1.0)
    for stand in before[10:15]:
        line.leave(stand)
    assert needs(line, stranger, 0.5)


def test_x_03_what_the_line_did_before_one_begins_to_look_counts_for_nothing() -> None:
    line: Line[Stand] = Line()
    joined(line, known=4, strangers=16)
    (stranger,) = joined(line, strangers=1)
    for _ in range(10):
        line.next()
    line.begin(stranger, 0.5)
    assert not line.moves(stranger, 1, 1.0, 60.0)
    for _ in range(5):
        line.next()
    assert needs(line, stranger, 0.7)


@dataclass
class Outcome:
    """What became of a caller: `after` seconds its call ended, or it left the line."""

    served: bool
    after: float
    waited: float


def simulated(
    arrivals: Sequence[float],
    *,
    call: float,
    known: Collection[int] = (),
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
) -> list[Outcome]:
    """Of each caller, in the order of `arrivals`; those whose number is in `known` go ahead."""
    events = [(came, 0, number) for number, came in enumerate(arrivals)]  # 0 comes, 1 ends, 2 looks
    outcomes = [Outcome(False, 0.0, 0.0)] * len(arrivals)
    line: Line[Stand] = Line()
    standing: dict[int, Stand] = {}
    numbers: dict[Stand, int] = {}
    free = PLACES
    heapq.heapify(events)

    def begin(number: int, now: float) -> None:
        waited = now - arrivals[number]
        outcomes[number] = Outcome(True, waited + call, waited)
        heapq.heappush(events, (now + call, 1, number))

    while events:
        now, kind, number = heapq.heappop(events)
        if kind == 0 and free and not len(line):
            free -= 1
            begin(number, now)
        elif kind == 0:
            standing[number] = Stand(ahead=number in known)
            numbers[standing[number]] = number
            line.join(standing[number], now)
            heapq.heappush(events, (now + patience, 2, number))
        elif kind == 1:
            free += 1
            while free and (who := line.next()) is not None:
                free -= 1
                del standing[numbers[who]]
                begin(numbers[who], now)
        elif number in standing:
            stood = now - arrivals[number]
            left = timeout - stood
            if left > 1e-9 and line.moves(standing[number], PLACES, now, left):
                heapq.heappush(events, (now + min(patience, left), 2, number))
            else:
                line.leave(standing.pop(number))
                outcomes[number] = Outcome(False, stood, stood)
    return outcomes


def evenly(rate: float, seconds: float, start: float = 0.0) -> list[float]:
    return [start + number / rate for number in range(int(rate * seconds))]


def together(known: list[float], strangers: list[float]) -> tuple[list[float], range]:
    """All arrivals, and which of them are the known ones'."""
    return [*known, *strangers], range(len(known))


@pytest.mark.parametrize("patience", [0.25, 0.05])
@pytest.mark.parametrize("slowness", [1.01, 2.0, 7.9])
def test_x_03_nobody_stays_for_a_broker_slower_than_patience(patience: float, slowness: float) -> None:
    """However its answers are spread, no place comes back twice while somebody waits for the first time."""
    dice = random.Random(1)
    arrivals = sorted(dice.random() * 4.0 for _ in range(5000))
    found = simulated(arrivals, call=patience * slowness, timeout=20.0, patience=patience)
    assert max(one.waited for one in found if not one.served) == pytest.approx(patience)


@pytest.mark.parametrize("call", [0.001, 0.005, 0.02, 0.05, 0.06])
def test_x_03a_a_thousand_stay_for_a_broker_that_is_up_to_it(call: float) -> None:
    assert {one.served for one in simulated([0.0] * 1000, call=call)} == {True}


@pytest.mark.parametrize("call", [0.07, 0.1, 0.12])
def test_x_03_who_cannot_be_served_in_time_leaves_early_and_the_others_are_served(call: float) -> None:
    found = simulated([0.0] * 1000, call=call)
    served = [one for one in found if one.served]
    refused = [one.waited for one in found if not one.served]
    assert len(served) >= 0.7 * PLACES * TIMEOUT / call
    assert max(one.after for one in served) <= TIMEOUT
    assert collections.Counter(refused)[PATIENCE] >= 0.5 * len(refused)


# --- with known ones among them


@pytest.mark.parametrize("call", [0.02, 0.1, 0.24])
def test_p5_known_ones_wait_for_no_stranger(call: float) -> None:
    """Strangers would need five times the places. Known ones find one as if they were alone."""
    capacity = PLACES / call
    arrivals, known = together(evenly(capacity / 4, 1.0, 0.5), evenly(5 * capacity, 1.5))
    found = simulated(arrivals, call=call, known=known)
    assert all(found[number].served for number in known)
    # The next that ends is theirs.
    assert max(found[number].waited for number in known) <= call


def test_p5_the_hundred_who_come_at_once_wait_for_each_other_only() -> None:
    arrivals, known = together([1.0] * 100, evenly(5000, 2.0))
    found = simulated(arrivals, call=0.1, known=known)
    alone = simulated([0.0] * 100, call=0.1)
    assert all(found[number].served for number in known)
    assert max(one.waited for one in found[:100]) <= max(one.waited for one in alone) + 0.1


@pytest.mark.parametrize("call", [0.005, 0.02, 0.04])
def test_x_03a_a_thousand_get_in_though_known_ones_overtake_them(call: float) -> None:
    """A quarter of the places is the known ones'."""
    arrivals, known = together(evenly(PLACES / call / 4, 2.0), [0.0] * 1000)
    assert {one.served for one in simulated(arrivals, call=call, known=known)} == {True}


@pytest.mark.parametrize("call", [0.01, 0.05, 0.2])
def test_p5_where_known_ones_need_all_places_strangers_leave_after_patience(call: float) -> None:
    """A line that moves for others only is no reason to stay in it."""
    arrivals, known = together(evenly(1.1 * PLACES / call, 1.5), evenly(200, 0.5, 0.5))
    strangers = simulated(arrivals, call=call, known=known)[len(known) :]
    assert not any(one.served for one in strangers)
    assert {round(one.waited, 6) for one in strangers} == {PATIENCE}


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("crowd", [0.5, 4.0])
def test_p5_strangers_have_what_known_ones_leave(share: float, crowd: float) -> None:
    capacity = PLACES / 0.05
    arrivals, known = together(evenly(share * capacity, 4.0), evenly(crowd * capacity, 4.0))
    found = simulated(arrivals, call=0.05, known=known)
    assert all(found[number].served for number in known)
    strangers = found[len(known) :]
    assert sum(one.served for one in strangers) >= (min(crowd, 1 - share) - 0.05) * 4.0 * capacity
    # Who stays for longer than patience was told the truth.
    stayed = [one.served for one in strangers if one.waited > PATIENCE + 1e-6]
    assert sum(stayed) >= 0.9 * len(stayed)


def test_x_03_known_ones_who_give_up_are_no_sign_of_a_broker_that_answers() -> None:
    """It hangs: all who stand before the strangers leave, and nobody is served."""
    arrivals, known = together([0.0] * 500, [0.1] * 100)
    found = simulated(arrivals, call=30.0, known=known, timeout=20.0)
    assert sum(one.served for one in found) == PLACES
    assert {round(one.waited, 6) for one in found if not one.served} == {PATIENCE}
