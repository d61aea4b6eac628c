"""The guard is closed before the server hears that the app has shut down: it ends its loop then."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.asgi import GuardMiddleware
from tests.kit.clock import MovableClock
from tests.kit.drivers import Request, asgi_request
from tests.kit.stub import StubBroker
from tests.kit.tokens import token


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _serve(app: GuardMiddleware, requests: int) -> list[int]:
    """What a server does: start the app, put requests to it at once, shut it down, and end."""
    incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    started, ended = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        (started if message["type"] == "lifespan.startup.complete" else ended).set()

    lifespan = asyncio.create_task(app({"type": "lifespan"}, incoming.get, send))
    incoming.put_nowait({"type": "lifespan.startup"})
    await started.wait()
    request = Request(headers=[("Authorization", f"Bearer {token()}".encode())])
    answers = await asyncio.gather(*(asgi_request(app, request) for _ in range(requests)))
    incoming.put_nowait({"type": "lifespan.shutdown"})
    await ended.wait()
    lifespan.cancel()
    return [answer.status for answer in answers]


@pytest.mark.parametrize("requests", [1, 20])
def test_no_connection_outlives_the_shutdown(requests: int) -> None:
    with StubBroker() as broker, warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        guard = Guard(broker.url, cache_ttl=0, clock=MovableClock().clock)
        assert asyncio.run(_serve(GuardMiddleware(_app, guard), requests)) == [200] * requests
        del guard
        gc.collect()
        assert [str(complaint.message) for complaint in complaints] == []
