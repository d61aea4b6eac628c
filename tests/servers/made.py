"""Apps that are made when they are named, for servers that take no factory: `tests.servers.made:starlette_app`."""

from __future__ import annotations

from typing import Any

from tests.servers.hosts import factory


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return factory(name)()
