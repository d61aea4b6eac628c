"""Inputs that are made to cost time: twice the length must not cost much more than twice the time (X-04)."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable

from agentwrit_guard import Guard
from agentwrit_guard.perimeter import Perimeter
from bench.drills.findings import Findings
from bench.drills.hostile import HEADERS, QUERIES

LENGTHS = (4096, 8192)
RATIO = 2.5
BLINK = 0.002
"""Seconds that one measurement takes at least."""


def run(rounds: int) -> Findings:
    """Of each kind the median ratio of `rounds`; both lengths in turn, in processor time."""
    # Nobody listens there, and nobody is asked: what asks would take far longer than anything that is measured.
    guard = Guard("http://127.0.0.1:9")
    others = Perimeter(others="pass")
    found: dict[str, tuple[float, float]] = {}
    for kind, make in HEADERS.items():
        values = [[make(length)] for length in LENGTHS]
        found[kind] = _ratio(*(functools.partial(guard.decide, value) for value in values), rounds=rounds)
        ours = [functools.partial(others.passes, value) for value in values]
        found[f"{kind}, with others let by"] = _ratio(*ours, rounds=rounds)
    for kind, make in QUERIES.items():
        asked = [functools.partial(guard.decide, [b"Bearer x"], query=make(length)) for length in LENGTHS]
        found[kind] = _ratio(*asked, rounds=rounds)
    guard.close()
    worst = sorted(found.items(), key=lambda item: -item[1][0])
    return Findings(
        {
            "bytes": list(LENGTHS),
            "kinds": len(found),
            "ratio of the times, and the longer one": {
                kind: f"{ratio:.2f}, {took * 1e6:.0f} us" for kind, (ratio, took) in worst
            },
        },
        {f"each ratio below {RATIO:g}": all(ratio < RATIO for ratio, _ in found.values())},
    )


def _ratio(short: Callable[[], object], long: Callable[[], object], *, rounds: int) -> tuple[float, float]:
    """How many times longer the longer one takes, and how many seconds; medians."""
    calls, took = 1, _seconds(long, 1)
    while took < BLINK:
        calls *= 2
        took = _seconds(long, calls)
    pairs = [(_seconds(short, calls), _seconds(long, calls)) for _ in range(rounds)]
    return statistics.median(b / a for a, b in pairs), statistics.median(b for _, b in pairs) / calls


def _seconds(work: Callable[[], object], calls: int) -> float:
    gc.disable()
    try:
        began = time.process_time()
        for _ in range(calls):
            work()
        return time.process_time() - began
    finally:
        gc.enable()
