"""A guard that many event loops use one after the other: test clients, scripts, and views that run a loop each."""

from __future__ import annotations

import asyncio
import gc
import weakref

from agentwrit_guard import Allowed, Guard
from agentwrit_guard.devbroker import DevBroker
from tests.servers.agents import Mint


def test_loops_that_have_ended_do_not_pile_up_in_the_guard(broker: DevBroker, mint: Mint) -> None:
    guard = Guard(broker.url, cache_ttl=0)
    entries = [f"Bearer {mint().access_token}".encode()]

    async def ask() -> weakref.ref[asyncio.AbstractEventLoop]:
        assert isinstance(await guard.acheck(entries), Allowed)
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(ask()) for _ in range(4)]
    gc.collect()
    alive = [loop() for loop in loops if loop() is not None]
    assert len(alive) <= 1, "loops that have ended pile up in the guard"
