"""Requests that find the processor's caches full of something else, as on a server.

There the kernel, the event loop and the parser have been at work since the last request, and the app before them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from bench.effort import Effort
from bench.figures import Figure

_OTHER: Final = bytes(range(256)) * 8192
"""Two mebibytes: the second cache of a server's core has one, or two. What is read leaves no room for anything else."""
_ABSENT: Final = b"\xff\xff"
_CALLS: Final = 200


async def cold(calls: Mapping[str, Callable[[], Awaitable[object]]], effort: Effort) -> dict[str, Figure]:
    """Microseconds of each call, the median of a round's, every one after other memory has been read."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(effort.rounds):
        for name, call in calls.items():
            taken[name].append(await _alone(call))
    return {name: Figure(f"{name}, cold caches", "us", tuple(values)) for name, values in taken.items()}


async def _alone(call: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    gc.disable()
    try:
        took = []
        for _ in range(_CALLS):
            _OTHER.count(_ABSENT)
            start = time.perf_counter()
            await call()
            took.append(time.perf_counter() - start)
        return statistics.median(took) * 1e6
    finally:
        gc.enable()
