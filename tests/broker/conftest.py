from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.broker.kit import Client
from tests.kit.clock import Time


@pytest.fixture
def clock() -> Time:
    """Within a second, because the twin rounds."""
    return Time(1_800_000_000.25)


@pytest.fixture
def broker(clock: Time) -> Iterator[DevBroker]:
    with DevBroker(clock=clock) as running:
        yield running


@pytest.fixture
def client(broker: DevBroker) -> Iterator[Client]:
    with Client(broker) as session:
        yield session
