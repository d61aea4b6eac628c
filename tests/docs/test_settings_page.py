"""The settings page is what the dataclass says."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import pytest
from docs.generate_settings import ABOUT, PAGE, render

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.settings import Settings
from tests.docs.pages import read, table

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
RANGES = {name: (about.low, about.high) for name, about in ABOUT.items() if about.low is not None}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python docs/generate_settings.py"


def test_each_setting_has_a_line_and_each_line_a_setting() -> None:
    assert list(ABOUT) == list(FIELDS)


def test_the_guard_takes_the_same_keywords_with_the_same_defaults() -> None:
    keywords = {name: given for name, given in inspect.signature(Guard).parameters.items() if name != "broker_url"}
    others = set(keywords) - set(FIELDS)
    assert others == {"clock", "on_decision"}
    assert all(f"`{name}`" in read("docs/settings.md") for name in others)
    for name in set(FIELDS) - {"broker_url"}:
        assert keywords[name].default == FIELDS[name].default


@pytest.mark.parametrize("name", sorted(RANGES))
def test_ranges_are_those_that_the_code_keeps(name: str) -> None:
    low, high = RANGES[name]
    assert low is not None
    assert high is not None
    for value in (low, high):
        assert getattr(make(name, value), name) == value
    beyond = (low - 1, high + 1) if FIELDS[name].type == "int" else (math.nextafter(low, -1), math.nextafter(high, 1e9))
    for value in beyond:
        with pytest.raises(ConfigurationError, match=name):
            make(name, value)


def make(name: str, value: float) -> Settings:
    given: dict[str, Any] = {name: int(value) if FIELDS[name].type == "int" else value}
    return Settings(broker_url="https://broker.example", **given)


def test_options_of_the_middlewares() -> None:
    options = [name for name in inspect.signature(GuardMiddleware).parameters if name not in ("app", "guard")]
    rows = table("docs/settings.md", "Options of the middlewares")
    assert [row[0] for row in rows] == [f"`{name}`" for name in options]
    assert [row[1] for row in rows] == [f"`AGENTWRIT_{name.upper()}`" for name in options]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("1", True),
        ("true", True),
        ("yes", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("no", False),
        ("off", False),
    ],
)
def test_switches_in_the_environment(text: str, means: bool) -> None:
    values = {"AGENTWRIT_BROKER_URL": "https://broker.example", "AGENTWRIT_ALLOW_HTTP": text}
    assert Settings.read(values).allow_http is means


def test_an_unknown_name_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    Settings.read({"AGENTWRIT_BROKER_URL": "https://broker.example", "AGENTWRIT_CASH_TTL": "1"})
    assert [(record.name, record.levelname) for record in caplog.records] == [("agentwrit_guard.events", "WARNING")]


def test_options_of_the_middleware_in_the_environment_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    values = {"AGENTWRIT_BROKER_URL": "https://broker.example", "AGENTWRIT_PUBLIC": "/health", "CACHE_TTL": "1"}
    assert Settings.read(values) == Settings(broker_url="https://broker.example")
    assert ["AGENTWRIT_PUBLIC" in record.getMessage() for record in caplog.records] == [True]
