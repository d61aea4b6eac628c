from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import AppCredentials, DevBroker
from tests.client.play import KINDS, Kind


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def broker() -> Iterator[DevBroker]:
    with DevBroker() as running:
        yield running


@pytest.fixture
def credentials(broker: DevBroker) -> AppCredentials:
    return broker.app(scopes=["read:data:*", "write:data:7"])
