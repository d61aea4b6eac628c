"""Strangers in numbers, against agents that go about their work (P4, P5, P6)."""

from __future__ import annotations

import asyncio
import collections
import time

from agentwrit_guard import Allowed
from bench.drills.stage import Stage, megabytes, percentile, stranger


async def run(stage: Stage, strangers: int, agents: int) -> dict[str, object]:
    """`strangers` distinct tokens, 64 at a time; each of the agents sends five requests a second meanwhile."""
    guard = stage.guard()
    refused: collections.Counter[str] = collections.Counter()
    served: collections.Counter[bool] = collections.Counter()
    quiet: list[float] = []
    busy: list[float] = []
    done = asyncio.Event()
    async with stage.agents(agents) as known:
        for credentials in known:
            await guard.acheck([credentials])

        async def work(credentials: bytes, taken: list[float], until: asyncio.Event) -> None:
            while not until.is_set():
                began = time.perf_counter()
                decision = await guard.acheck([credentials])
                if isinstance(decision, Allowed) and decision.source == "cache":
                    taken.append(time.perf_counter() - began)
                served[isinstance(decision, Allowed)] += 1
                await asyncio.sleep(0.2)

        calm = asyncio.Event()
        workers = [asyncio.create_task(work(credentials, quiet, calm)) for credentials in known]
        await asyncio.sleep(5)
        calm.set()
        await asyncio.gather(*workers)
        before = megabytes()
        workers = [asyncio.create_task(work(credentials, busy, done)) for credentials in known]
        left = strangers
        began = time.monotonic()

        async def come() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                decision = await guard.acheck([stranger()])
                refused["allowed" if isinstance(decision, Allowed) else decision.reason.code] += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(come() for _ in range(64)))
        seconds = time.monotonic() - began
        done.set()
        await asyncio.gather(*workers)
    after = megabytes()
    await guard.aclose()
    calls = refused["rejected_by_broker"]
    return {
        "strangers": dict(refused),
        "seconds": round(seconds, 1),
        "broker calls for strangers": calls,
        "allowed by the budget": int(guard.settings.unknown_token_burst + guard.settings.unknown_token_rate * seconds),
        "requests of agents": sum(served.values()),
        "of which served": f"{100 * served[True] / max(1, sum(served.values())):.3f} %",
        "p99 of a hit, quiet and in the flood (ms)": [
            round(percentile(quiet, 0.99) * 1e3, 3), round(percentile(busy, 0.99) * 1e3, 3),
        ],
        "memory before and after (MiB)": [round(before, 1), round(after, 1)],
    }  # fmt: skip
