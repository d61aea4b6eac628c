from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard import Guard
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    with StubBroker() as stub:
        yield stub


@pytest.fixture
def guard(broker: StubBroker) -> Iterator[Guard]:
    made = Guard(broker.url, clock=MovableClock().clock)
    yield made
    made.close()
