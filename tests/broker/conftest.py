from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> Iterator[DevBroker]:
    with DevBroker(clock=clock) as running:
        yield running


@pytest.fixture
def client(broker: DevBroker) -> Iterator[Client]:
    with Client(broker) as session:
        yield session
