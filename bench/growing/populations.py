"""Populations of several sizes, each in its process, asked in turn."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from bench.drills.interrupts import held_back
from bench.effort import Effort
from bench.figures import Figure
from bench.growing.admission import guard_for, keep
from bench.growing.agents import Crowd

_ROOT: Final = Path(__file__).parents[2]
_TRACED: Final = 10_000
_SLOWEST: Final = (
    "most", "worst", "worst_by_the_clock", "worst_at", "worst_collecting", "worst_else", "full_collections",
    "longest_collection",
)  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """By size: what each says of its filling, and figures in microseconds.

    `once` is a hit of an agent that has not come since it was let in, `again` one of a thousand that come again and
    again, `hashing` the part of either that the hash of its token takes; `insert` and `evict` are a new agent's.
    """

    filled: Mapping[int, Mapping[str, Any]]
    once: Mapping[int, Figure]
    again: Mapping[int, Figure]
    hashing: Mapping[int, Figure]
    insert: Mapping[int, Figure]
    evict: Mapping[int, Figure]


class _Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a population has ended early")
        return cast("dict[str, Any]", json.loads(line))

    def asked(self, order: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        return self.told()


def grown(sizes: Sequence[int], effort: Effort) -> Grown:
    """They are filled one after the other and live side by side, each after one of its size that does not live on.

    The slowest inserts are those of the fill that had the better worst one: a pause of ours comes in every fill, one of
    the machine in some.
    """
    with contextlib.ExitStack() as opened:
        processes, filled = {}, {}
        for size in sizes:
            with _populated(size, effort.rounds) as process:
                other = process.told()
            processes[size] = opened.enter_context(_populated(size, effort.rounds))
            filled[size] = said = processes[size].told()
            if other["worst"] < said["worst"]:
                said.update({name: other[name] for name in _SLOWEST})
        hits = _in_turn(processes, "hits", effort)
        for process in processes.values():
            process.asked("overfill")
        evict = _in_turn(processes, "evict", effort)["evict"]
    insert = {size: Figure(f"{size:,}", "us", tuple(said["in_full"])) for size, said in filled.items()}
    return Grown(filled, hits["once"], hits["again"], hits["hash"], insert, evict)


def traced() -> Figure:
    """Bytes that an identity takes by Python's own account: what it has asked for, and not what that came to."""
    crowd, guard = Crowd(0), guard_for(_TRACED)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(_TRACED):
            shown, payload = crowd.next()
            keep(guard, shown, json.loads(payload))
        del shown, payload
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Figure(f"bytes an identity by tracemalloc, {_TRACED:,} of them", "B", ((after - before) / _TRACED,))


def _in_turn(processes: Mapping[int, _Process], order: str, effort: Effort) -> dict[str, dict[int, Figure]]:
    """Figures of all that a round of this brings, by name and size."""
    taken: dict[int, list[dict[str, Any]]] = {size: [] for size in processes}
    sizes = list(processes)
    for number in range(effort.rounds):
        for size in sizes[number % len(sizes) :] + sizes[: number % len(sizes)]:
            taken[size].append(processes[size].asked(order))
    return {
        name: {size: Figure(f"{size:,}", "us", tuple(said[name] for said in taken[size])) for size in sizes}
        for name in taken[sizes[0]][0]
    }


@contextlib.contextmanager
def _populated(size: int, rounds: int) -> Iterator[_Process]:
    command = [sys.executable, "-m", "bench.growing.population", str(size), str(rounds)]
    with held_back():
        # In a session of its own, so that Ctrl-C is its parent's to hear.
        process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    try:
        yield _Process(process)
    finally:
        # Nothing of it is to be kept, and to take a million identities apart would take seconds.
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
