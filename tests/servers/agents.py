"""Agents made by the official SDK, as the authors of agents make them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import agentwrit

from agentwrit_guard.devbroker import DevBroker

Mint = Callable[..., agentwrit.Agent]


@contextlib.contextmanager
def minter(broker: DevBroker) -> Iterator[Mint]:
    """Gives a function that makes agents, with `read:customers:7291` unless told otherwise."""
    credentials = broker.app(scopes=["read:customers:*"])
    app = agentwrit.AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
    numbers = itertools.count()

    def mint(*scopes: str) -> agentwrit.Agent:
        return app.create_agent("orch-1", f"task-{next(numbers)}", list(scopes or ("read:customers:7291",)))

    try:
        yield mint
    finally:
        app.close()
