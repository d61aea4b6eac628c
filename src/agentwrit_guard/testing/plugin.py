"""What pytest calls: the one ini option, and the mark that this is a test run."""

from __future__ import annotations

import os

import pytest

from agentwrit_guard import testrun

_OPTION = "agentwrit_broker_url"
_VARIABLE = "AGENTWRIT_BROKER_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _OPTION,
        f"{_VARIABLE} for the run if it is not set, so that an app which reads it at import can be imported",
        default="",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    url = str(early_config.getini(_OPTION))
    if url and not os.environ.get(_VARIABLE):
        os.environ[_VARIABLE] = url
        early_config.add_cleanup(_forget)


def _forget() -> None:
    os.environ.pop(_VARIABLE, None)


def pytest_configure(config: pytest.Config) -> None:
    testrun.begin()
    config.add_cleanup(testrun.end)
