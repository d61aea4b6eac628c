"""Settings: every wrong one is a start-up error that names it (threats CFG)."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.errors import ConfigurationError
from agentwrit_guard.settings import Settings
from tests.core.conftest import GuardMaker

URL = "https://broker.example"
NAN = math.nan

WRONG: dict[str, list[Any]] = {
    "broker_url": ["", None, 7, b"https://x", "ftp://x"],
    "audience": ["", 7, ["x"]],
    "issuer": ["", 7, ["x"]],
    "trust_domain": ["", 7, "Corp.example", "spiffe://x", "a/b", "a b", "é", "a\n", "*"],
    "principal_kinds": [
        "agent",
        "",
        (),
        [],
        ("agents",),
        ("agent", "root"),
        7,
        None,
        {"agent": 1},
        (None,),
        ("Agent",),
    ],
    "cache_ttl": [-1, -0.001, 60.001, 61, NAN, math.inf, "5", True, None, [5]],
    "cache_size": [0, -1, 1.5, 10.0, "10", True, None, 10_000_001, 10**400],
    "timeout": [0, -1, 0.01, 61, NAN, math.inf, "2", False, None],
    "max_token_lifetime": [0, -1, 1.5, 3600.0, "3600", True, None, 31_536_001],
    "max_in_flight": [0, -1, 1.5, "32", True, None, 1025],
    "chain_loops": ["", "Allow", "maybe", None, True, ["deny"]],
    "realm": ['a"b', "a\\b", "a\nb", "é", 7, None],
    "allow_http": [1, 0, "yes", None],
    "ca_file": ["", 7, b"x"],
    "client_cert": ["", 7],
    "client_key": ["", 7, "key.pem"],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:20],
)  # fmt: skip
def test_cfg_06_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        Settings(**{"broker_url": URL, name: value})
    assert isinstance(caught.value, ValueError)


BOUNDS = {
    "cache_ttl": [0, 0.5, 60], "cache_size": [1, 10_000_000], "timeout": [0.05, 60, 2], "max_token_lifetime": [1,
    31_536_000],
    "max_in_flight": [1, 1024], "chain_loops": ["allow", "deny"], "realm": ["", "my api"],
    "trust_domain": ["corp_1-x.example"],
    "allow_http": [True, False],
}  # fmt: skip


@pytest.mark.parametrize("name, value", [(name, value) for name, values in BOUNDS.items() for value in values])
def test_cfg_06_the_bounds_belong_to_the_range(name: str, value: Any) -> None:
    assert getattr(Settings(**{"broker_url": URL, name: value}), name) == value


@pytest.mark.parametrize("kinds", [["admin", "agent"], {"agent", "admin"}, frozenset(("admin", "agent")),
                                   ("agent", "admin", "agent")])  # fmt: skip
def test_principal_kinds_have_one_order(kinds: Any) -> None:
    assert Settings(broker_url=URL, principal_kinds=kinds).principal_kinds == ("agent", "admin")


@pytest.mark.parametrize("name", ["ca_file", "client_cert"])
def test_cfg_01a_a_file_that_is_not_there_is_a_start_up_error(name: str, tmp_path: Any) -> None:
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(ConfigurationError, match=name):
            Guard(URL, **{name: str(path)})
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=name):
        Guard(URL, **{name: str(tmp_path / "text.pem")})


def test_cfg_01a_a_key_needs_its_certificate() -> None:
    with pytest.raises(ConfigurationError, match="client_key"):
        Guard(URL, client_key="key.pem")


ENVIRONMENT = {
    "AGENTWRIT_BROKER_URL": "http://broker.internal:8080/",
    "AGENTWRIT_AUDIENCE": "https://api",
    "AGENTWRIT_ISSUER": "https://broker",
    "AGENTWRIT_TRUST_DOMAIN": "corp.example",
    "AGENTWRIT_PRINCIPAL_KINDS": "app, agent",
    "AGENTWRIT_CACHE_TTL": "1.5",
    "AGENTWRIT_CACHE_SIZE": "7",
    "AGENTWRIT_TIMEOUT": "3",
    "AGENTWRIT_MAX_TOKEN_LIFETIME": "600",
    "AGENTWRIT_MAX_IN_FLIGHT": "4",
    "AGENTWRIT_CHAIN_LOOPS": "deny",
    "AGENTWRIT_REALM": "mine",
    "AGENTWRIT_ALLOW_HTTP": "1",
}
READ = Settings(
    broker_url="http://broker.internal:8080", audience="https://api", issuer="https://broker",
    trust_domain="corp.example",
    principal_kinds=("agent", "app"), cache_ttl=1.5, cache_size=7, timeout=3.0, max_token_lifetime=600, max_in_flight=4,
    chain_loops="deny", realm="mine", allow_http=True,
)  # fmt: skip


def test_each_setting_has_its_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == READ
    guard = Guard.from_env(realm="given", audience=None)
    assert (guard.settings.realm, guard.settings.audience) == ("given", "https://api")
    guard.close()


def test_a_config_may_hold_values_as_they_are() -> None:
    config = {"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_CACHE_TTL": 2, "AGENTWRIT_REALM": None, "DEBUG": True}
    assert Settings.read(config) == Settings(broker_url=URL, cache_ttl=2)
    assert Settings.read(config, cache_ttl=3).cache_ttl == 3


@pytest.mark.parametrize("name, text", [
    ("CACHE_TTL", "five"), ("CACHE_TTL", ""), ("CACHE_SIZE", "1.5"), ("MAX_IN_FLIGHT", "many"), ("ALLOW_HTTP",
    "perhaps"),
    ("ALLOW_HTTP", "2"), ("MAX_TOKEN_LIFETIME", "1h"), ("TIMEOUT", "2s"),
])  # fmt: skip
def test_cfg_06_an_environment_that_cannot_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AGENTWRIT_{name}"):
        Settings.read({"AGENTWRIT_BROKER_URL": URL, f"AGENTWRIT_{name}": text})


@pytest.mark.parametrize("name, text", [("CACHE_TTL", "nan"), ("CACHE_TTL", "-1"), ("TIMEOUT", "inf"), ("CACHE_SIZE",
    "0"),
                                        ("CACHE_SIZE", "9" * 400), ("AUDIENCE", ""), ("PRINCIPAL_KINDS", ""),
                                        ("PRINCIPAL_KINDS", "agent,")])  # fmt: skip
def test_cfg_06_the_environment_is_held_to_the_same_ranges(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name.lower()):
        Settings.read({"AGENTWRIT_BROKER_URL": URL, f"AGENTWRIT_{name}": text})


@pytest.mark.parametrize("text, value", [("1", True), ("TRUE", True), ("yes", True), ("on", True), ("0", False),
    ("False", False),
                                         ("no", False), ("off", False), ("", False)])  # fmt: skip
def test_switches(text: str, value: bool) -> None:
    assert Settings.read({"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_ALLOW_HTTP": text}).allow_http is value


def test_no_broker_url_is_a_start_up_error() -> None:
    for values in ({}, {"AGENTWRIT_BROKER_URL": None}, {"BROKER_URL": URL}):
        with pytest.raises(ConfigurationError, match="AGENTWRIT_BROKER_URL"):
            Settings.read(values)


def test_an_unknown_keyword_is_a_start_up_error() -> None:
    with pytest.raises(ConfigurationError, match="cache_tll"):
        Settings.read({}, broker_url=URL, cache_tll=5)


def test_an_unknown_name_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    read = Settings.read({"AGENTWRIT_BROKER_URL": URL, "AGENTWRIT_CACHE_TLL": "0", "AGENTWRIT_CLIENT_ID": "x",
                          "OTHER": "x"})  # fmt: skip
    assert read == Settings(broker_url=URL)
    assert [(entry.levelno, getattr(entry, "event", None)) for entry in caplog.records] == [
        (logging.WARNING, "unknown_setting")
    ]
    assert "AGENTWRIT_CACHE_TLL" in caplog.text


def test_settings_are_frozen(make: GuardMaker) -> None:
    guard = make(URL)
    with pytest.raises(AttributeError):
        guard.settings.cache_ttl = 60  # type: ignore[misc]
