"""Contenders measured in turn: one stretch each, then all again, so that none of them has the good minutes."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from bench.effort import Effort
from bench.figures import Figure

_TRIAL: Final = 0.02
_MICROSECONDS: Final = 1e6


def in_turn(contenders: Mapping[str, Callable[[], float]], effort: Effort, unit: str) -> dict[str, Figure]:
    """A figure for each; a contender measures one stretch when it is called and says what came out, in `unit`.

    Who begins changes from round to round.
    """
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(effort.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(contenders[name]())
    return {name: Figure(name, unit, tuple(values)) for name, values in taken.items()}


def timed(calls: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, Figure]:
    """Microseconds a call of each, over stretches of `effort.stretch` seconds. The collector is off while one runs."""
    return in_turn(
        {name: _stretch(call, _how_many(call, effort.stretch)) for name, call in calls.items()}, effort, "us"
    )


async def atimed(calls: Mapping[str, Callable[[], Awaitable[object]]], effort: Effort) -> dict[str, Figure]:
    """As `timed`, for calls that are awaited one after the other in the running event loop."""
    counts = {name: await _how_many_awaited(call, effort.stretch) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(effort.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(await _awaited(calls[name], counts[name]))
    return {name: Figure(name, "us", tuple(values)) for name, values in taken.items()}


def _how_many(call: Callable[[], object], seconds: float) -> int:
    """Calls that fill a stretch, after the first ones, which may still set something up."""
    call()
    count = 1
    while True:
        spent = _stretch(call, count)() * count / _MICROSECONDS
        if spent >= _TRIAL:
            return max(1, int(count * seconds / spent))
        count *= 4


async def _how_many_awaited(call: Callable[[], Awaitable[object]], seconds: float) -> int:
    await call()
    count = 1
    while True:
        spent = await _awaited(call, count) * count / _MICROSECONDS
        if spent >= _TRIAL:
            return max(1, int(count * seconds / spent))
        count *= 4


def _stretch(call: Callable[[], object], count: int) -> Callable[[], float]:
    def run() -> float:
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in range(count):
                call()
            return (time.perf_counter() - start) / count * _MICROSECONDS
        finally:
            gc.enable()

    return run


async def _awaited(call: Callable[[], Awaitable[object]], count: int) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(count):
            await call()
        return (time.perf_counter() - start) / count * _MICROSECONDS
    finally:
        gc.enable()
