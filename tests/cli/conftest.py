from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentwrit_guard.devbroker import DevBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[DevBroker]:
    with DevBroker() as running:
        yield running
