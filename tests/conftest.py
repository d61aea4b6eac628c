"""Options of the suite. A real broker may stand in for the twin where a test says so."""

from __future__ import annotations

import pytest

from tests.canary import _canary_looks_round, _canary_sings, _canary_watches

__all__ = ["_canary_looks_round", "_canary_sings", "_canary_watches"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("a broker of your own")
    group.addoption("--broker-url", help="run tests/broker's scenario against this broker, not the twin")
    group.addoption("--admin-secret", help="its admin secret, to register an app for each test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "canary_dies: the test lets token bytes out on purpose, to see them found")
    if bool(config.getoption("--broker-url")) != bool(config.getoption("--admin-secret")):
        raise pytest.UsageError("--broker-url and --admin-secret go together")
