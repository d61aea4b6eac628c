"""Code written for the official SDK runs with the import changed, and the client stands without the guard."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import agentwrit
import pytest

import agentwrit_guard
from agentwrit_guard import Guard, client
from agentwrit_guard.devbroker import DevBroker

_METHODS = {
    "AgentWritApp": ("__init__", "create_agent", "validate", "health", "close"),
    "Agent": ("__init__", "renew", "release", "delegate"),
}


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in _METHODS for method in _METHODS[name]])
@pytest.mark.parametrize("prefix", ["", "Async"])
def test_methods_take_what_the_sdk_takes(prefix: str, name: str, method: str) -> None:
    ours = getattr(client, prefix + name)
    method_of_ours = "aclose" if prefix and method == "close" else method
    _assert_takes(getattr(ours, method_of_ours), getattr(getattr(agentwrit, name), method))


@pytest.mark.parametrize("function", [client.validate, client.avalidate])
def test_validate_takes_what_the_sdk_takes(function: Any) -> None:
    _assert_takes(function, agentwrit.validate)


@pytest.mark.parametrize("name", ["HealthStatus", "ValidateResult", "DelegatedToken"])
def test_values_have_the_fields_of_the_sdk(name: str) -> None:
    ours = [field.name for field in dataclasses.fields(getattr(client, name)) if not field.name.startswith("_")]
    assert ours == [field.name for field in dataclasses.fields(getattr(agentwrit, name))]


@pytest.mark.parametrize("name", sorted(set(agentwrit.__all__) - {"RegisterResult"}))
def test_root_has_the_names_of_the_sdk(name: str) -> None:
    """All but RegisterResult, which nothing of the SDK's surface takes or gives."""
    assert name in agentwrit_guard.__all__
    ours, theirs = getattr(agentwrit_guard, name), getattr(agentwrit, name)
    if inspect.isclass(theirs) and issubclass(theirs, Exception):
        assert [base.__name__ for base in theirs.__mro__] == [base.__name__ for base in ours.__mro__]


@pytest.mark.parametrize("name", ["ProblemDetail", "AgentClaims", "DelegationRecord"])
def test_values_have_at_least_the_fields_of_the_sdk(name: str) -> None:
    ours = [field.name for field in dataclasses.fields(getattr(agentwrit_guard, name))]
    assert set(ours) >= {field.name for field in dataclasses.fields(getattr(agentwrit, name))}


def test_attributes_of_the_sdk_that_are_no_secret() -> None:
    agent_attributes = ("agent_id", "access_token", "expires_in", "scope", "task_id", "orch_id", "bearer_header")
    with DevBroker() as broker:
        credentials = broker.app(scopes=["read:data:*"])
        for module in (agentwrit, agentwrit_guard):
            app = module.AgentWritApp(f"{broker.url}/", credentials.client_id, credentials.client_secret)
            agent = app.create_agent("o", "t", ["read:data:1"])
            assert (app.broker_url, app.client_id) == (broker.url, credentials.client_id)
            assert all(getattr(agent, name) for name in agent_attributes)
            app.close()


PAIRS = [
    (client.AgentWritApp, client.AsyncAgentWritApp),
    (client.Agent, client.AsyncAgent),
    (client.DelegatedToken, client.AsyncDelegatedToken),
]
ASYNC_NAMES = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}
WAITS = {"create_agent", "validate", "health", "close", "renew", "renew_if_due", "release", "settle", "delegate"}


def _methods(cls: type) -> dict[str, Any]:
    special = ("__init__", "__enter__", "__exit__", "__aenter__", "__aexit__")
    found = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_") or name in special}
    return {name: value for name, value in found.items() if callable(value) or isinstance(value, property)}


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda cls: cls.__name__)
def test_sync_and_async_have_the_same_names(sync: type, asynchronous: type) -> None:
    assert {ASYNC_NAMES.get(name, name) for name in _methods(sync)} == set(_methods(asynchronous))


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda cls: cls.__name__)
def test_sync_and_async_take_and_give_the_same(sync: type, asynchronous: type) -> None:
    for name, one in _methods(sync).items():
        other = _methods(asynchronous)[ASYNC_NAMES.get(name, name)]
        if isinstance(one, property):
            assert isinstance(other, property)
            continue
        first, second = inspect.signature(one), inspect.signature(other)
        assert list(first.parameters.values()) == list(second.parameters.values()), name
        given = str(second.return_annotation).replace("Async", "")
        assert given == str(first.return_annotation).replace("Async", ""), name
        waits = name in WAITS or name in ("__enter__", "__exit__")
        assert inspect.iscoroutinefunction(other) is waits, name
        assert not inspect.iscoroutinefunction(one), name


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [
        (client.validate, client.avalidate),
        (Guard.check, Guard.acheck),
        (Guard.settle, Guard.asettle),
        (Guard.close, Guard.aclose),
    ],
    ids=lambda function: function.__qualname__,
)
def test_functions_come_in_pairs(sync: Any, asynchronous: Any) -> None:
    assert inspect.signature(sync) == inspect.signature(asynchronous)
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(sync)


def _assert_takes(ours: Any, theirs: Any) -> None:
    """The same parameters in the same order; what we add is by keyword and has a default."""
    our, their = (list(inspect.signature(function).parameters.values()) for function in (ours, theirs))
    shape = [(parameter.name, parameter.kind, parameter.default) for parameter in their]
    assert [(parameter.name, parameter.kind, parameter.default) for parameter in our[: len(their)]] == shape
    for extra in our[len(their) :]:
        assert extra.kind is inspect.Parameter.KEYWORD_ONLY
        assert extra.default is not inspect.Parameter.empty


def test_exported_names_are_sorted_and_there() -> None:
    assert client.__all__ == sorted(client.__all__)
    assert all(hasattr(client, name) for name in client.__all__)


def test_client_imports_neither_guard_nor_framework() -> None:
    code = (
        "import sys, agentwrit_guard.client;"
        "unwanted = {'guard', 'asgi', 'wsgi', 'contrib', 'devbroker'};"
        "print([name for name in sys.modules if name.split('.')[0] in {'starlette', 'flask', 'fastapi', 'uvicorn'}"
        " or name.startswith('agentwrit_guard.') and name.split('.')[1] in unwanted])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
