"""A service that starts anew while its agents are at work: all of them are strangers to it at once (X-03a)."""

from __future__ import annotations

import asyncio
import collections
import time
from concurrent.futures import ThreadPoolExecutor

from agentwrit_guard import Allowed
from bench.drills.stage import Stage, percentile


async def run(stage: Stage, agents: int) -> dict[str, object]:
    """All agents at once, in one event loop; then, at a guard of its own, from 64 threads."""
    found: dict[str, object] = {"agents": agents}
    async with stage.agents(agents) as known:
        guard = stage.guard()
        taken: list[float] = []

        async def come(credentials: bytes) -> str:
            began = time.perf_counter()
            decision = await guard.acheck([credentials])
            taken.append(time.perf_counter() - began)
            return "let in" if isinstance(decision, Allowed) else decision.reason.code

        began = time.monotonic()
        outcomes = collections.Counter(await asyncio.gather(*map(come, known)))
        found["one loop"] = {
            **outcomes, "seconds": round(time.monotonic() - began, 2), "slowest (s)": round(max(taken), 2),
            "p50 (s)": round(percentile(taken, 0.5), 2),
        }  # fmt: skip
        await guard.aclose()
        sync = stage.guard()

        def come_alone(credentials: bytes) -> str:
            decision = sync.check([credentials])
            return "let in" if isinstance(decision, Allowed) else decision.reason.code

        began = time.monotonic()
        with ThreadPoolExecutor(64) as threads:
            outcomes = collections.Counter(threads.map(come_alone, known))
        found["64 threads"] = {**outcomes, "seconds": round(time.monotonic() - began, 2)}
        sync.close()
    return found
