from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agentwrit_guard import AgentWritApp
from agentwrit_guard.devbroker import DevBroker

CEILING = [
    "read:customers:*",
    "write:customers:*",
    "delete:customers:*",
    "read:greetings:*",
    "read:orders:*",
    "refund:orders:*",
]


@dataclass(frozen=True)
class World:
    """A broker that the environment names, and headers of agents: one with scopes, one without the right ones."""

    broker: DevBroker
    app: AgentWritApp
    clerk: dict[str, str] = field(repr=False)
    stranger: dict[str, str] = field(repr=False)

    def agent(self, *scopes: str, ttl: int = 300) -> dict[str, str]:
        return self.app.create_agent("orch-1", "task-1", list(scopes), max_ttl=ttl).bearer_header


@pytest.fixture
def world() -> Iterator[World]:
    # A page may set names of the environment itself, so all of it is put back.
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AGENTWRIT_", "AA_")):
            del os.environ[name]
    with DevBroker(rate_limits=False) as broker:
        credentials = broker.app(scopes=CEILING)
        os.environ["AGENTWRIT_BROKER_URL"] = broker.url
        os.environ["AGENTWRIT_CLIENT_ID"] = credentials.client_id
        os.environ["AGENTWRIT_CLIENT_SECRET"] = credentials.client_secret
        with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
            scopes = ["read:customers:7291", "read:greetings:hello", "read:orders:1"]
            clerk = app.create_agent("orch-1", "task-1", scopes).bearer_header
            stranger = app.create_agent("orch-2", "task-2", ["write:customers:1"]).bearer_header
            yield World(broker, app, clerk, stranger)
    os.environ.clear()
    os.environ.update(before)
