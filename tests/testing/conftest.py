from __future__ import annotations

from pathlib import Path

import pytest

from tests.testing.suite import Suite


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs these tests says nothing."""
    for name in ("AGENTWRIT_BROKER_URL", "AGENTWRIT_CLIENT_ID", "AGENTWRIT_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A folder of its own for somebody else's tests."""
    folder = tmp_path / "suite"
    folder.mkdir()
    return Suite(folder)
