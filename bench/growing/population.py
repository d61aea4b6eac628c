"""A guard that knows many agents, in a process of its own so that its memory is its own.

    python -m bench.growing.population SIZE ROUNDS

It fills the cache and says in one line of JSON how that went; then it does what each line that it reads names, one
round of it, and answers with another. It ends with its input.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from typing import Any, Final, TypeVar

from agentwrit_guard import Allowed
from bench.drills.stage import megabytes
from bench.growing.admission import admit, check_alike, guard_for, keep
from bench.growing.agents import Crowd, token
from bench.growing.collector import Watch

MICRO: Final = 1e6
MILLI: Final = 1e3
_IN_FULL: Final = 1000
_HITS: Final = 1000
_BATCH: Final = 100
_PASSES: Final = 5
_MOST_OF_ALL: Final = 0.9999

T = TypeVar("T")


class Population:
    """`size` agents in a cache with room for a sixteenth more, and the credentials of some of them."""

    def __init__(self, size: int, rounds: int) -> None:
        self.size, self.rounds = size, rounds
        self.guard = guard_for(size + size // 16)
        self._crowd = Crowd(size)
        check_alike(Crowd(-1))
        self._hash = self.guard._engine._hash
        # In rounds, as many as there are for all of them or again those that there are.
        self._known: list[bytes] = []
        self._round = 0
        # All that the process has loaded is out of the collector's sight: what it finds are agents.
        gc.collect()
        gc.freeze()

    def fill(self) -> dict[str, Any]:
        """Let everybody in: the last of them in full, the others by the last step of it. Each is timed by itself,
        by the clock and on the processor: the worst is not to be what another process does."""
        dice = random.Random(self.size)
        known = frozenset(dice.sample(range(self.size), min(self.size, self.rounds * _HITS)))
        in_full = min(self.size, _IN_FULL)
        took, busy, collecting = (array("d", bytes(8 * self.size)) for _ in range(3))
        watch, clock, processor = Watch(), time.perf_counter, time.thread_time
        before = megabytes()
        for index in range(self.size):
            shown, payload = self._crowd.next()
            if index in known:
                self._known.append(shown)
            if index < self.size - in_full:
                said = json.loads(payload)
                spent, begun, start = watch.spent, processor(), clock()
                keep(self.guard, shown, said)
            else:
                spent, begun, start = watch.spent, processor(), clock()
                admit(self.guard, shown, payload)
            took[index] = clock() - start
            busy[index] = processor() - begun
            collecting[index] = watch.spent - spent
        samples = sum(map(sys.getsizeof, self._known)) / 2**20
        entry = (megabytes() - before - samples) * 2**20 / self.size
        assert self.guard.stats().identities == self.size, "the cache has not kept everybody"
        dice.shuffle(self._known)
        worst, last = max(range(self.size), key=busy.__getitem__), took[-in_full:]
        return {
            "size": self.size,
            "token": len(token(shown)),
            "entry": entry,
            "kept": statistics.median(took[: self.size - in_full] or took) * MICRO,
            "most": sorted(busy)[int(_MOST_OF_ALL * (self.size - 1))] * MILLI,
            "worst": busy[worst] * MILLI,
            "worst_by_the_clock": max(took) * MILLI,
            "worst_at": worst,
            "worst_collecting": collecting[worst] * MILLI,
            "worst_else": max(map(float.__sub__, busy, collecting)) * MILLI,
            "full_collections": watch.full,
            "longest_collection": watch.worst * MILLI,
            "in_full": [statistics.median(last[n :: self.rounds]) * MICRO for n in range(self.rounds)],
        }

    def hits(self) -> dict[str, float]:
        """Of agents all over the population, the next ones each round: once each, and then over and over."""
        start = self._round * _HITS % len(self._known)
        self._round += 1
        some = self._known[start : start + _HITS]
        decide, tokens = self.guard.decide, [token(shown) for shown in some]
        gc.disable()
        try:
            # The process has slept since, and its code is no longer at hand.
            _each(decide, [some[:1]] * _BATCH)
            # In small batches of copies that were made just before: a request's token has just come in.
            batches = [some[n : n + _BATCH] for n in range(0, len(some), _BATCH)]
            once = statistics.fmean(_each(decide, _copies(batch)) for batch in batches)
            again = [_each(decide, [[shown] for shown in some]) for _ in range(_PASSES)]
            hashing = [_each(self._hash, tokens) for _ in range(_PASSES)]
        finally:
            gc.enable()
        assert all(isinstance(decide([shown]), Allowed) for shown in some)
        return {"once": once, "again": statistics.median(again), "hash": statistics.median(hashing)}

    def overfill(self) -> dict[str, float]:
        """Let in more than there is room for."""
        for _ in range(self.size // 8):
            shown, payload = self._crowd.next()
            keep(self.guard, shown, json.loads(payload))
        return {"identities": self._full()}

    def evict(self) -> dict[str, float]:
        """New agents in full, each of which drives out another."""
        took = []
        for _ in range(_IN_FULL // self.rounds):
            shown, payload = self._crowd.next()
            start = time.perf_counter()
            admit(self.guard, shown, payload)
            took.append(time.perf_counter() - start)
        self._full()
        return {"evict": statistics.median(took) * MICRO}

    def _full(self) -> int:
        held = self.guard.stats().identities
        assert self.size < held <= self.size + self.size // 16, held
        return held


def _copies(some: list[bytes]) -> list[list[bytes]]:
    return [[bytes(bytearray(shown))] for shown in some]


def _each(call: Callable[[T], object], arguments: list[T]) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for argument in arguments:
        call(argument)
    return (time.perf_counter() - start) / len(arguments) * MICRO


def main() -> None:
    population = Population(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(population.fill()), flush=True)
    orders = {"hits": population.hits, "overfill": population.overfill, "evict": population.evict}
    for line in sys.stdin:
        print(json.dumps(orders[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
