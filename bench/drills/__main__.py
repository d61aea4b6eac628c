"""`python -m bench.drills NAME`: runs one drill and prints its figures as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform

from bench.drills import flood, outage, restart, revocations
from bench.drills.stage import stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.drills", description=__doc__)
    parser.add_argument("drill", choices=("flood", "restart", "revocations", "outage"))
    parser.add_argument("--broker-url", help="a broker of yours; else the twin is started")
    parser.add_argument("--admin-secret", help="its admin secret")
    parser.add_argument("--agents", type=int, help="live agents (flood 100, restart and revocations 1000, outage 50)")
    parser.add_argument("--strangers", type=int, default=200_000, help="distinct random tokens of the flood")
    parser.add_argument("--ttl", type=float, default=5.0, help="cache_ttl of the revocations")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the broker hangs in the outage")
    parser.add_argument("--stale", type=float, default=0.0, help="stale_if_error of the outage")
    options = parser.parse_args()
    if bool(options.broker_url) != bool(options.admin_secret):
        parser.error("--broker-url and --admin-secret go together")
    logging.getLogger("agentwrit_guard").setLevel(logging.CRITICAL)
    with stage(options.broker_url, options.admin_secret) as scene:
        if options.drill == "flood":
            work = flood.run(scene, options.strangers, options.agents or 100)
        elif options.drill == "restart":
            work = restart.run(scene, options.agents or 1000)
        elif options.drill == "revocations":
            work = revocations.run(scene, options.agents or 1000, options.ttl)
        else:
            work = outage.run(scene, options.agents or 50, options.seconds, options.stale)
        figures = asyncio.run(work)
    print(json.dumps({"drill": options.drill, **figures}, indent=2))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
