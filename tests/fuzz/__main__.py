"""`python -m tests.fuzz --count 1000000`: the guard's decision against the reference, both ways.

Exit status: 0 no difference; 1 a difference, or too few inputs allowed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

from tests.fuzz import brokers
from tests.fuzz.runs import LEAST_ALLOWED, Tally, quieten, spread

_ENOUGH = 10


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs, and as many scope pairs")
    parser.add_argument("--seed", type=int, help="the same seed makes the same inputs; a random one by default")
    parser.add_argument("--minutes", type=float, help="stop after that long, whatever the count")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--broker-url", help="mutate tokens of this broker and compare with its word as well")
    parser.add_argument("--admin-secret", help="its admin secret, to register an app")
    options = parser.parse_args(words)
    if bool(options.broker_url) != bool(options.admin_secret):
        parser.error("--broker-url and --admin-secret go together")
    return options


def summary(tally: Tally, seconds: float) -> str:
    """The figures: how many, how fast, and how many ended at each status and reason."""
    lines = [f"{tally.inputs} inputs in {seconds:.0f} s ({tally.inputs / max(seconds, 0.001):.0f}/s)"]
    lines += [f"allowed {100 * tally.allowed:.1f} % (at least {100 * LEAST_ALLOWED:.0f} % wanted)"]
    for (decision, reason), count in sorted(tally.counts.items()):
        lines.append(f"  {decision:9}{reason:24}{count:9} {100 * count / tally.inputs:6.2f} %")
    if tally.covered:
        lines.append(f"{tally.covered.total()} scope pairs, {tally.covered[True]} of them covered")
    lines.append(f"differences: {len(tally.differences)}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    quieten()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    started, tally, shown = time.monotonic(), Tally(), 0
    if options.broker_url:
        tallies = brokers.spread(options.broker_url, options.admin_secret, seed, options.count, options.minutes)
    else:
        tallies = spread(seed, options.count, options.jobs, options.minutes)
    for part in tallies:
        tally.add(part)
        for difference in part.differences:
            print(difference, flush=True)
        if tally.inputs // 100_000 > shown:
            shown = tally.inputs // 100_000
            print(f"... {tally.inputs} inputs, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if len(tally.differences) >= _ENOUGH:
            break
    print(summary(tally, time.monotonic() - started))
    return int(bool(tally.differences) or tally.allowed < LEAST_ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
