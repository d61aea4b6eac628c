"""An event loop that is run a stretch at a time, by a bench that measures other things in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """It ends with the block, and everything that Ctrl-C left under way in it."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
    except KeyboardInterrupt:
        # Every task that it went through has it for its own error, which nobody will ask for.
        loop.set_exception_handler(lambda _, context: None)
        raise
    finally:
        try:
            loop.run_until_complete(_end(asyncio.all_tasks(loop)))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _end(tasks: set[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def one(awaitable: Awaitable[T]) -> T:
    """As the coroutine that a loop wants to run."""
    return await awaitable
