"""The broker's process is killed under load, and another one takes its place (P3)."""

from __future__ import annotations

import asyncio
import collections
import time

from agentwrit_guard import Allowed, Denied
from bench.drills.findings import Findings
from bench.drills.stage import Stage

CALM = 3.0
EVERY = 0.1
HANG = 0.5
SLOWEST = 2.2
"""Seconds within which every request has its answer (threats P3)."""
PAUSE = 30.0 + 2.0
"""The breaker's longest pause, and the call after it."""


async def run(stage: Stage, agents: int, seconds: float) -> Findings:
    """Agents send five requests a second each; ten times a second a valid token comes that was never seen before.

    The twin that is started again has another key, so that no token of the old one is good there: agents get new ones.
    """
    guard = stage.guard()
    phase = "calm"
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    slowest, too_old, hasty = 0.0, 0, 0

    async def come(credentials: bytes, who: str) -> Allowed | Denied:
        nonlocal slowest, too_old, hasty
        began, wall, at = time.perf_counter(), time.time(), phase
        decision = await guard.acheck([credentials])
        slowest = max(slowest, time.perf_counter() - began)
        if isinstance(decision, Allowed):
            too_old += wall - decision.principal.validated_at > guard.settings.cache_ttl
            told = f"{who}: let in by the {decision.source}"
        else:
            hasty += decision.status == 503 and not _asks_for_a_pause(decision)
            told = f"{who}: {decision.status} {decision.reason.code}"
        outcomes[at][told] += 1
        return decision

    async with stage.agents(agents + int((CALM + seconds + 5) / EVERY)) as minted:
        known, fresh = minted[:agents], iter(minted[agents:])
        stop = asyncio.Event()

        async def work(credentials: bytes) -> None:
            while not stop.is_set():
                await come(credentials, "agents")
                await asyncio.sleep(0.2)

        async def arrive() -> None:
            waiting = []
            while not stop.is_set() and (credentials := next(fresh, None)) is not None:
                waiting.append(asyncio.create_task(come(credentials, "newcomers")))
                await asyncio.sleep(EVERY)
            await asyncio.gather(*waiting)

        workers = [asyncio.create_task(work(credentials)) for credentials in known]
        workers.append(asyncio.create_task(arrive()))
        await asyncio.sleep(CALM)
        # It hangs for a moment before, so that calls are under way when it dies.
        phase = "broker is dead"
        stage.freeze()
        await asyncio.sleep(HANG)
        stage.kill()
        await asyncio.sleep(seconds)
        phase = "another one starts"
        await stage.revive()
        phase, back = "broker is back", time.monotonic()
        async with stage.agents(agents) as reborn:
            well = None
            while well is None and time.monotonic() - back < PAUSE + 5:
                if isinstance(await come(reborn[0], "new agents"), Allowed):
                    well = time.monotonic() - back
                await asyncio.sleep(EVERY)
            stop.set()
            await asyncio.gather(*workers)
            again = [isinstance(await come(credentials, "new agents"), Allowed) for credentials in reborn]
    await guard.aclose()
    dead = outcomes["broker is dead"]
    return Findings(
        {
            **{name: dict(counter) for name, counter in outcomes.items()},
            "slowest answer (s)": round(slowest, 2),
            "validating again after (s)": None if well is None else round(well, 1),
            "new agents let in then": f"{sum(again)} of {agents}",
            "note": "tokens of the dead twin are worth nothing at the new one, whose key is another",
        },
        {
            "newcomers met the dead broker": any(told.startswith("newcomers") for told in dead),
            "no newcomer let in": not any(told.startswith("newcomers: let in") for told in dead),
            "no 401 while nobody can be asked": not any(": 401 " in told for told in dead),
            "nobody let in beyond cache_ttl": too_old == 0,
            "every 503 says when to come back, in 1 to 30 s": hasty == 0,
            f"every answer within {SLOWEST:g} s": slowest <= SLOWEST,
            f"validating again within {PAUSE:g} s, and everybody let in": well is not None
            and well <= PAUSE
            and all(again),
        },
    )


def _asks_for_a_pause(denied: Denied) -> bool:
    seconds = dict(denied.headers).get("retry-after", "")
    return seconds.isdigit() and 1 <= int(seconds) <= 30
