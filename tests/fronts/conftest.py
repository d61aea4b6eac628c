from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard import Guard
from tests.kit.clock import MovableClock
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import StubBroker


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def make_front(broker: StubBroker, clock: MovableClock) -> Iterator[Callable[..., Front]]:
    """A front by name over the stub broker; keywords for `guard_` go to the guard, others to the middleware."""
    guards: list[Guard] = []

    def make(name: str, **options: Any) -> Front:
        settings = {key.removeprefix("guard_"): options.pop(key) for key in list(options) if key.startswith("guard_")}
        guard = Guard(settings.pop("url", broker.url), clock=clock.clock, **settings)
        guards.append(guard)
        return FRONTS[name](guard, **options)

    yield make
    for guard in guards:
        guard.close()
