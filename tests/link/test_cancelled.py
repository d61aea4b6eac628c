"""A deadline may fall at any moment of a call, and the next call finds a link that is whole (threats B-02, C-15)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from agentwrit_guard.core.wire import validate
from agentwrit_guard.link import AsyncLink
from agentwrit_guard.transport import LinkOptions
from tests.kit.stub import StubBroker, invalid

# Turns of the event loop: more than a call takes here, whichever it is.
MOMENTS = 80


@pytest.mark.parametrize("warm", [False, True])
def test_b_02_a_call_that_is_cancelled_at_any_moment_leaves_the_link_whole(stub: StubBroker, warm: bool) -> None:
    """By the task's own `cancel`, which is how `wait_for` ends a call: no shield of the HTTP library stops that."""
    stub.answer = invalid

    async def main() -> int:
        cancelled = 0
        for moment in range(MOMENTS):
            link = AsyncLink(LinkOptions(stub.url, timeout=20.0, max_in_flight=1))
            if warm:
                assert await link.run(validate("a.b.c")) is None
            call = asyncio.ensure_future(link.run(validate("a.b.c")))
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            cancelled += call.cancelled()
            for _ in range(2):
                assert await link.run(validate("a.b.c")) is None, moment
            await link.aclose()
        return cancelled

    assert asyncio.run(main()) > 10
