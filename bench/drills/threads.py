"""Threads that share one guard: each gets its own tokens' claims, and no token is asked about too often (C-19, P4)."""

from __future__ import annotations

import asyncio
import collections
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from agentwrit_guard import Allowed, Guard
from bench.drills.findings import Findings
from bench.drills.relay import relay
from bench.drills.stage import Stage
from bench.drills.tokens import claims_of

OWN = 2
SHARED = 16
PAUSE = 0.005
"""Seconds between two requests of a thread."""


async def run(stage: Stage, threads: int, seconds: float, ttl: float) -> Findings:
    """Each thread brings its own tokens and the shared ones, in an order of its own, over many a TTL."""
    async with stage.agents(threads * OWN + SHARED) as known:
        with relay(stage.url) as broker:
            guard = Guard(broker.url, allow_http=True, cache_ttl=ttl)
            over = threading.Event()
            began = time.monotonic()
            work = asyncio.create_task(asyncio.to_thread(_work, guard, known, threads, over))
            try:
                await asyncio.wait((work,), timeout=seconds)
            finally:
                # Whoever breaks the drill off need not wait for its end.
                over.set()
            outcomes, mixed = await work
            # A call takes place within this time, and two calls for one token begin at least a TTL apart.
            most = 1 + int((time.monotonic() - began) / ttl)
            calls = [broker.calls_for(credentials) for credentials in known]
            guard.close()
    refused = {told: times for told, times in outcomes.items() if told not in ("broker", "cache")}
    return Findings(
        {
            "threads": threads,
            "tokens": f"{len(known)}, of which {SHARED} are shared",
            "cache_ttl (s)": ttl,
            "requests": sum(outcomes.values()),
            "outcomes": dict(outcomes),
            "answers with another token's claims": mixed,
            "broker calls": sum(calls),
            "calls for one token, at most": max(calls),
            "and at most allowed": most,
        },
        {
            "0 answers with another token's claims": mixed == 0,
            "every request let in": not refused,
            "every token was asked about": min(calls) >= 1,
            "at most 1 call for a token in a TTL": max(calls) <= most,
        },
    )


def _work(
    guard: Guard, known: list[bytes], threads: int, over: threading.Event
) -> tuple[collections.Counter[str], int]:
    """How often each outcome was met, and how many answers were another token's."""
    jtis = {credentials: claims_of(credentials)["jti"] for credentials in known}
    shared = known[threads * OWN :]

    def come(number: int) -> tuple[collections.Counter[str], int]:
        tally: collections.Counter[str] = collections.Counter()
        mixed = 0
        dice = random.Random(number)
        mine = known[number * OWN : (number + 1) * OWN] + shared
        while not over.is_set():
            # All of them bring the shared ones at once when those expire; who comes first is left to chance.
            for credentials in dice.sample(mine, len(mine)):
                decision = guard.check([credentials])
                if isinstance(decision, Allowed):
                    tally[decision.source] += 1
                    mixed += decision.principal.claims.jti != jtis[credentials]
                else:
                    tally[f"{decision.status} {decision.reason.code}"] += 1
                time.sleep(PAUSE)
        return tally, mixed

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(come, range(threads)))
    return sum((tally for tally, _ in found), collections.Counter()), sum(mixed for _, mixed in found)
