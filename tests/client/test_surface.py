"""Code written for the official SDK runs with the import changed, and the client stands without the guard."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import agentwrit
import pytest

from agentwrit_guard import client

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
