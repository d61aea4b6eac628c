"""Contenders that exchange bytes with another process, measured in small batches by turns: wall time and CPU time.

Half of what such a call takes passes in the other process and in the kernel, and drifts with both. So a round goes
through all contenders several times, and a contender's figure of the round is made of its slices.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.effort import Effort
from bench.figures import Figure

SLICES: Final = 5
_TRIAL: Final = 0.03
_MICROSECONDS: Final = 1e6

Contender = Callable[[int], Callable[[], object]]
"""Makes everything ready for so many calls. What it returns makes them, once."""


@dataclass(frozen=True)
class Took:
    """Microseconds a call: by the clock, and on a processor in this process, whatever its thread."""

    wall: Figure
    cpu: Figure


def alternated(contenders: Mapping[str, Contender], effort: Effort) -> dict[str, Took]:
    """What each took, over `effort.stretch` seconds of each in each round. The collector runs between rounds only."""
    names = list(contenders)
    counts = {name: _how_many(contenders[name], effort.stretch / SLICES) for name in names}
    walls: dict[str, list[float]] = {name: [] for name in names}
    cpus: dict[str, list[float]] = {name: [] for name in names}
    for number in range(effort.rounds):
        spent = dict.fromkeys(names, (0.0, 0.0))
        gc.collect()
        gc.disable()
        try:
            for turn in range(number, number + SLICES):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    wall, cpu = _slice(contenders[name], counts[name])
                    spent[name] = spent[name][0] + wall, spent[name][1] + cpu
        finally:
            gc.enable()
        for name, (wall, cpu) in spent.items():
            walls[name].append(wall / SLICES / counts[name] * _MICROSECONDS)
            cpus[name].append(cpu / SLICES / counts[name] * _MICROSECONDS)
    return {
        name: Took(Figure(name, "us", tuple(walls[name])), Figure(f"{name}, CPU", "us", tuple(cpus[name])))
        for name in names
    }


def _slice(contender: Contender, count: int) -> tuple[float, float]:
    """Seconds of so many calls, by the clock and on a processor."""
    run = contender(count)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _how_many(contender: Contender, seconds: float) -> int:
    """Calls that fill a slice, after the first ones, which may still set something up."""
    contender(1)()
    count = 1
    while True:
        spent, _ = _slice(contender, count)
        if spent >= _TRIAL:
            return max(1, round(count * seconds / spent))
        count *= 4
