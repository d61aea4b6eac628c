"""What a test leaves open is over when the run is, and nothing opens after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentwrit_guard import Allowed, Denied, Guard, testrun
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.testing import AsAgent, StoppedClock, fake_principal

SCOPE = ["read:customers:1"]


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard("http://127.0.0.1:9")
    yield made
    made.close()


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ends the run for a moment: this one is not the last, whatever it says."""
    monkeypatch.setattr(testrun, "_depth", 1)
    return testrun.end


def test_an_override_left_open_ends_with_the_run(guard: Guard, ending: Any) -> None:
    override = guard.override(fake_principal(SCOPE))
    override.__enter__()
    assert isinstance(guard.check([]), Allowed)
    ending()
    assert isinstance(guard.check([]), Denied)
    override.__exit__(None, None, None)
    assert isinstance(guard.check([]), Denied)


def test_an_override_made_in_the_run_does_not_open_after_it(guard: Guard, ending: Any) -> None:
    override = guard.override(fake_principal(SCOPE))
    ending()
    with pytest.raises(ConfigurationError, match="in a test run only"), override:
        pass
    assert isinstance(guard.check([]), Denied)


def test_agents_end_with_the_run(guard: Guard, as_agent: AsAgent, ending: Any) -> None:
    header = [as_agent.headers(SCOPE)["Authorization"].encode()]
    assert isinstance(guard.check(header), Allowed)
    ending()
    assert not isinstance(guard.decide(header), Allowed)


def test_a_run_inside_a_run_ends_alone(guard: Guard) -> None:
    with guard.override(fake_principal(SCOPE)):
        testrun.begin()
        testrun.end()
        assert testrun.active()
        assert isinstance(guard.check([]), Allowed)


def test_an_inner_as_agent_leaves_the_outer_ones_agents(
    guard: Guard, as_agent: AsAgent, request: pytest.FixtureRequest
) -> None:
    header = [as_agent.headers(SCOPE)["Authorization"].encode()]
    inner = as_agent_again(request)
    next(inner)
    with pytest.raises(StopIteration):
        next(inner)
    assert isinstance(guard.check(header), Allowed)


def as_agent_again(request: pytest.FixtureRequest) -> Iterator[AsAgent]:
    """As the fixture of a pytest run inside this test."""
    from agentwrit_guard.testing import agents

    fixture: Any = agents.as_agent
    function = getattr(fixture, "__wrapped__", None) or fixture._get_wrapped_function()
    made: Iterator[AsAgent] = function(request)
    return made


def test_a_clock_is_one(agentwrit_clock: StoppedClock) -> None:
    """So that a guard which was given it is known by it, and gets the real one back."""
    assert agentwrit_clock.clock is agentwrit_clock.clock


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_id": 5},
        {"task_id": None},
        {"expires_in": "5"},
        {"expires_in": float("inf")},
        {"expires_in": float("nan")},
        {"delegated_by": "x"},
        {"issuer": object()},
        {"audience": "api"},
        {"audience": 5},
        {"audience": [5]},
        {"scope": 5},
        {"scope": [5]},
    ],
)
def test_fake_principals_of_wrong_types(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)) if "scope" not in changes else "scope|action:resource"):
        fake_principal(**{"scope": SCOPE, **changes})


@pytest.mark.parametrize("seconds", [-1, "x", None, True, float("inf"), float("nan")])
def test_clocks_that_cannot_be_moved_so(seconds: Any) -> None:
    with pytest.raises(ValueError, match="moves forward"):
        StoppedClock().move(seconds)


def test_ttl_of_no_number(agent_token: Any) -> None:
    with pytest.raises(ValueError, match="ttl"):
        agent_token(SCOPE, ttl=None)
