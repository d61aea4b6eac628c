"""How long a revocation goes unseen (P2)."""

from __future__ import annotations

import asyncio
import time

from agentwrit_guard import Allowed
from bench.drills.stage import Stage, percentile
from bench.drills.tokens import claims_of


async def run(stage: Stage, agents: int, ttl: float) -> dict[str, object]:
    """Each agent sends ten requests a second; its token is revoked at a time of its own, and its requests go on."""
    guard = stage.guard(cache_ttl=ttl)
    unseen: list[float] = []
    again = 0
    async with stage.agents(agents) as known:
        with stage.operator() as operator:

            async def follow(credentials: bytes, wait: float) -> None:
                nonlocal again
                jti = claims_of(credentials)["jti"]
                revoked: asyncio.Future[float] = asyncio.get_running_loop().create_future()

                async def revoke() -> None:
                    await asyncio.sleep(wait)
                    await asyncio.to_thread(operator.revoke, "token", jti)
                    revoked.set_result(time.monotonic())

                task = asyncio.create_task(revoke())
                while isinstance(await guard.acheck([credentials]), Allowed):
                    await asyncio.sleep(0.1)
                await task
                unseen.append(max(0.0, time.monotonic() - revoked.result()))
                for _ in range(20):
                    again += isinstance(await guard.acheck([credentials]), Allowed)
                    await asyncio.sleep(0.05)

            await asyncio.gather(*(follow(each, 1 + 20 * index / agents) for index, each in enumerate(known)))
    await guard.aclose()
    return {
        "revocations": len(unseen),
        "cache_ttl (s)": ttl,
        "unseen for, p50 and p100 (s)": [round(percentile(unseen, 0.5), 2), round(max(unseen), 2)],
        "let in after the first refusal": again,
    }
