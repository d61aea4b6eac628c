"""The broker hangs under load, and comes back (P3)."""

from __future__ import annotations

import asyncio
import collections
import time

from agentwrit_guard import Allowed
from bench.drills.stage import Stage


async def run(stage: Stage, agents: int, seconds: float, stale: float) -> dict[str, object]:
    """Each agent sends five requests a second: 5 s of calm, `seconds` in which the broker hangs, 15 s after."""
    guard = stage.guard(stale_if_error=stale)
    phase = "calm"
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    slowest = 0.0
    stop = asyncio.Event()
    async with stage.agents(agents) as known:

        async def work(credentials: bytes) -> None:
            nonlocal slowest
            while not stop.is_set():
                began, at = time.perf_counter(), phase
                decision = await guard.acheck([credentials])
                slowest = max(slowest, time.perf_counter() - began)
                told = decision.source if isinstance(decision, Allowed) else f"{decision.status} {decision.reason.code}"
                outcomes[at][told] += 1
                await asyncio.sleep(0.2)

        workers = [asyncio.create_task(work(credentials)) for credentials in known]
        await asyncio.sleep(5)
        phase = f"broker hangs for {seconds:g} s"
        stage.freeze()
        await asyncio.sleep(seconds)
        stage.thaw()
        phase = "broker is back"
        thawed, well = time.monotonic(), None
        while time.monotonic() - thawed < 35 and well is None:
            await asyncio.sleep(0.1)
            decision = await guard.acheck([known[0]])
            if isinstance(decision, Allowed) and decision.source != "stale":
                well = time.monotonic() - thawed
        await asyncio.sleep(2)
        stop.set()
        await asyncio.gather(*workers)
    await guard.aclose()
    return {
        **{name: dict(counter) for name, counter in outcomes.items()},
        "stale_if_error (s)": stale,
        "slowest decision (s)": round(slowest, 2),
        "validating again after (s)": None if well is None else round(well, 1),
    }
