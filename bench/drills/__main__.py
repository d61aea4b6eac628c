"""`python -m bench.drills NAME`: runs one drill and prints its figures as JSON."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from bench.drills import (
    flood,
    forged,
    fork,
    killed,
    linear,
    malformed,
    outage,
    restart,
    revocations,
    threads,
    workers,
)
from bench.drills.findings import Findings
from bench.drills.stage import Stage, stage

Given = argparse.Namespace
Figures = Mapping[str, object]

WITH_BROKER: Final[Mapping[str, Callable[[Stage, Given], Awaitable[Findings | Figures]]]] = {
    "flood": lambda scene, given: flood.run(scene, given.strangers, given.agents or 100),
    "restart": lambda scene, given: restart.run(scene, given.agents or 1000),
    "revocations": lambda scene, given: revocations.run(scene, given.agents or 1000, _or(given.ttl, 5.0)),
    "outage": lambda scene, given: outage.run(scene, given.agents or 50, given.seconds, given.stale),
    "killed": lambda scene, given: killed.run(scene, given.agents or 50, given.seconds),
    "workers": lambda scene, given: workers.run(scene, given.processes, given.rounds or 20),
    "fork": lambda scene, given: fork.run(scene, given.processes, given.rounds or 10),
    "threads": lambda scene, given: threads.run(scene, given.threads, given.seconds, _or(given.ttl, 1.0)),
}
IN_PROCESS: Final[Mapping[str, Callable[[Given], Findings]]] = {
    "malformed": lambda given: malformed.run(given.count),
    "forged": lambda given: forged.run(given.count),
    "linear": lambda given: linear.run(given.rounds or 15),
}
_UNASKED = "asks no broker, and shows that none is asked"
TWIN_ONLY: Final[Mapping[str, str]] = {
    "outage": "stops and starts the broker's process, which only the twin's may be",
    "killed": "kills the broker's process, which only the twin's may be",
    "malformed": _UNASKED,
    "forged": f"{_UNASKED}; the pinned key is of its own making",
    "linear": "asks no broker",
}
"""Why a drill is not for a broker of yours."""


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.drills", description=__doc__)
    parser.add_argument("drill", choices=(*WITH_BROKER, *IN_PROCESS))
    parser.add_argument("--broker-url", help="a broker of yours; else the twin is started")
    parser.add_argument("--admin-secret", help="its admin secret")
    parser.add_argument(
        "--agents", type=int, help="live agents (flood 100, restart and revocations 1000, outage and killed 50)"
    )
    parser.add_argument("--strangers", type=int, default=200_000, help="distinct random tokens of the flood")
    parser.add_argument("--count", type=int, default=1_000_000, help="tokens of malformed and forged")
    parser.add_argument("--ttl", type=float, help="cache_ttl (revocations 5, threads 1)")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long the broker is away (outage, killed), or threads work"
    )
    parser.add_argument("--stale", type=float, default=0.0, help="stale_if_error of the outage")
    parser.add_argument("--rounds", type=int, help="times to repeat (workers 20, fork 10, linear 15)")
    parser.add_argument("--processes", type=int, default=8, help="of workers and fork")
    parser.add_argument("--threads", type=int, default=64, help="of threads")
    given = parser.parse_args(words)
    if bool(given.broker_url) != bool(given.admin_secret):
        parser.error("--broker-url and --admin-secret go together")
    if given.broker_url and given.drill in TWIN_ONLY:
        parser.error(f"{given.drill} {TWIN_ONLY[given.drill]}: leave --broker-url out")
    logging.getLogger("agentwrit_guard").setLevel(logging.CRITICAL)
    if given.drill in IN_PROCESS:
        found: Findings | Figures = IN_PROCESS[given.drill](given)
    else:
        with stage(given.broker_url, given.admin_secret) as scene:
            found = asyncio.run(_with(scene, given))
    return (found if isinstance(found, Findings) else Findings(found)).report(given.drill)


async def _with(scene: Stage, given: Given) -> Findings | Figures:
    return await WITH_BROKER[given.drill](scene, given)


def _or(value: float | None, usual: float) -> float:
    return usual if value is None else value


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
