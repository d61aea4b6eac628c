from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from agentwrit_guard import Guard
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker


class GuardMaker(Protocol):
    def __call__(self, url: str = ..., **settings: Any) -> Guard: ...


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    with StubBroker() as broker:
        yield broker


@pytest.fixture
def make(clock: MovableClock) -> Iterator[GuardMaker]:
    """Guards on the movable clock, closed at the end. Without a URL they must not ask: nobody listens."""
    made: list[Guard] = []

    def maker(url: str = "http://127.0.0.1:1", **settings: Any) -> Guard:
        settings.setdefault("clock", clock.clock)
        guard = Guard(url, **settings)
        made.append(guard)
        return guard

    yield maker
    for guard in made:
        guard.close()


@pytest.fixture
def guard(make: GuardMaker) -> Guard:
    """A guard for what is decided without a broker."""
    return make()


@pytest.fixture
def asking(make: GuardMaker, stub: StubBroker) -> Guard:
    """A guard that asks the stub."""
    return make(stub.url)
