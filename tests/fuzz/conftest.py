from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _as_loud_as_before() -> Iterator[None]:
    """A run keeps the guard's warnings to itself; the tests that follow want them."""
    log = logging.getLogger("agentwrit_guard")
    level = log.level
    yield
    log.setLevel(level)
