"""How long nothing is enforced: until when it was said, and never without an end (threats 1)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard import Denied, Guard, Requirement, all_of, any_of
from agentwrit_guard.core.shadow import last_day, shadow_end
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.settings import Settings
from tests.core.conftest import GuardMaker
from tests.core.kit import bearer, verdict
from tests.kit.clock import MovableClock
from tests.kit.tokens import token

URL = "http://127.0.0.1:1"
ENDS: list[tuple[Any, int]] = [
    ("2027-01-31", 1_801_440_000),
    (datetime.date(2027, 1, 31), 1_801_440_000),
    ("1970-01-01", 86_400),
    ("2028-02-29", 1_835_481_600),
    ("9999-12-31", 253_402_300_800),
]


@pytest.mark.parametrize("until, end", ENDS)
def test_a_shadow_ends_with_the_last_moment_of_its_day_in_utc(until: Any, end: int) -> None:
    assert shadow_end(False, until) == end
    assert last_day(float(end)) == str(until)


def test_without_a_shadow_there_is_no_end() -> None:
    assert shadow_end(True, None) is None


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"enforce": False}, r"^enforce=False .* say until which day"),
    ({"until": "2027-01-31"}, r"^until='2027-01-31' is for enforce=False"),
    ({"enforce": True, "until": "2027-01-31"}, r"^until='2027-01-31' is for enforce=False"),
    *[
        ({"enforce": value, "until": "2027-01-31"}, rf"^enforce must be True or False, got {value!r}")
        for value in ("no", "false", 0, 1, None, "")
    ],
    *[
        ({"enforce": False, "until": value}, "^until must be a day such as 2027-01-31, got ")
        for value in (
            datetime.datetime(2027, 1, 31, tzinfo=datetime.timezone.utc), datetime.datetime(2027, 1, 31),  # noqa: DTZ001
            "", "tomorrow", "2027-1-31", "2027-02-30", "20270131", "2027-01-31T00:00:00", "31.01.2027", "2027-W04-7",
            "2027-01-3\u0661", " 2027-01-31", "2027-01-31\n", "0000-01-01", 1_801_440_000, True, b"2027-01-31",
            datetime.timedelta(days=7),
        )
    ],
]  # fmt: skip
DECLARED: dict[str, Callable[..., Any]] = {
    "Guard": lambda **said: Guard(URL, **said),
    "Settings": lambda **said: Settings(broker_url=URL, **said),
    "all_of": lambda **said: all_of("read:data:1", **said),
    "any_of": lambda **said: any_of("read:data:1", **said),
    "authenticated": lambda **said: Requirement.authenticated(**said),
    "shadow_end": lambda enforce=True, until=None: shadow_end(enforce, until),
}


@pytest.mark.parametrize("declare", DECLARED)
@pytest.mark.parametrize("said, why", WRONG, ids=lambda value: str(value)[:60])
def test_what_cannot_be_meant_is_a_start_up_error(declare: str, said: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        DECLARED[declare](**said)


@pytest.mark.parametrize("text", ["no-way", "2"])
def test_a_wrong_word_in_the_environment_is_named(text: str) -> None:
    said = {"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_ENFORCE": text, "AGENTWRIT_UNTIL": "2027-01-31"}
    with pytest.raises(ConfigurationError, match="AGENTWRIT_ENFORCE"):
        Settings.read(said)


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "False"])
def test_the_environment_spells_it(text: str) -> None:
    settings = Settings.read({"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_ENFORCE": text, "AGENTWRIT_UNTIL": "2027-01-31"})
    assert (settings.enforce, settings.until, settings.shadow_end) == (False, "2027-01-31", 1_801_440_000)
    assert Settings(broker_url=URL, enforce=False, until=datetime.date(2027, 1, 31)).until == "2027-01-31"


@pytest.mark.parametrize("text", ["2027-W04-7", "31.01.2027", ""])
def test_a_wrong_day_in_the_environment_is_named(text: str) -> None:
    said = {"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_ENFORCE": "false", "AGENTWRIT_UNTIL": text}
    with pytest.raises(ConfigurationError, match="until"):
        Settings.read(said)


def test_a_shadow_belongs_to_the_outermost_requirement() -> None:
    for declare in (all_of, any_of):
        nested = declare("read:a:1", enforce=False, until="2027-01-31")
        assert nested.shadow_end == 1_801_440_000
        for outer in (all_of, any_of):
            with pytest.raises(ConfigurationError, match=r"^a nested requirement has scopes only; .* outer one$"):
                outer("read:b:1", nested)
    assert all_of("read:b:1", any_of("read:a:1"), enforce=False, until="2027-01-31").shadow_end == 1_801_440_000
    assert Requirement.authenticated(enforce=False, until="2027-01-31").shadow_end == 1_801_440_000
    assert Requirement.authenticated().shadow_end is None


@pytest.mark.parametrize("guards, rules, enforced_from", [
    (None, None, None),
    ("2027-01-20", None, 1_800_489_600),
    (None, "2027-01-20", 1_800_489_600),
    ("2027-01-20", "2027-01-31", 1_801_440_000),
    ("2027-01-31", "2027-01-20", 1_801_440_000),
    ("1969-12-31", "1960-01-01", None),
])  # fmt: skip
def test_of_a_guards_shadow_and_its_requirements_the_longer_counts(
    make: GuardMaker, clock: MovableClock, guards: str | None, rules: str | None, enforced_from: int | None
) -> None:
    guard = make(**({} if guards is None else {"enforce": False, "until": guards}))
    said: dict[str, Any] = {} if rules is None else {"enforce": False, "until": rules}
    requirement = all_of("read:data:1", **said)
    assert guard.enforces(requirement) == (enforced_from is None)
    if enforced_from is not None:
        clock.wall = enforced_from - 0.001
        assert not guard.enforces(requirement)
        clock.wall = enforced_from
        assert guard.enforces(requirement)
        assert guard.enforces()


def test_a_guards_own_decisions_are_the_same_in_shadow_mode(make: GuardMaker) -> None:
    """What is not enforced is a matter of the fronts: `check` says what is true."""
    guard = make(enforce=False, until="2027-01-31")
    requirement = all_of("write:data:1", enforce=False, until="2027-01-31")
    assert verdict(guard.check([], requirement)) == "401"
    assert isinstance(guard.check(bearer(token()), requirement), Denied)
