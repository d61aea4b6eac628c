from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.core.decisions import DecisionEvent
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker
from tests.lasting.lines import World


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how often rounds are made. They are fast unless a test says so."""

    def every(seconds: float) -> None:
        monkeypatch.setattr("agentwrit_guard.vigil.ROUND_EVERY", seconds)

    every(0.001)
    return every


@pytest.fixture
def make(
    broker: StubBroker, clock: MovableClock, rounds: Callable[[float], None], tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """A world whose guard watches a deny file; keywords are settings."""
    made: list[Guard] = []
    deny_file = tmp_path / "deny"
    deny_file.write_text("# nobody\n")

    def make(**settings: Any) -> World:
        events: list[DecisionEvent] = []
        settings = {"deny_file": str(deny_file), **settings}
        made.append(Guard(broker.url, clock=clock.clock, on_decision=events.append, **settings))
        return World(made[-1], broker, clock, events, deny_file)

    yield make
    for guard in made:
        guard.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()
