"""Tokens by the hundred thousand into a guard of this process, before a broker that must not hear of any."""

from __future__ import annotations

import collections
import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agentwrit_guard import Allowed, Guard
from bench.drills.stage import megabytes

Entries = Sequence[bytes]
Make = Callable[[], Entries]

BATCH = 200
ROOM = 64.0
"""MiB that a flood may make a process grow by (threats X-05)."""


class Trap:
    """An address where a broker might be: nobody answers there, and whoever came is counted."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._came = 0
        listener.setblocking(False)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    @property
    def came(self) -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                self._came += 1
        return self._came


@contextlib.contextmanager
def trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield Trap(listener)


@dataclass
class Poured:
    """What came of it. `seconds` are those of the processor, by the kind of token; making tokens is not in them."""

    count: int = 0
    allowed: int = 0
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    taken: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    before: float = 0.0
    most: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second and core."""
        return self.count / sum(self.seconds.values())

    @property
    def rates(self) -> list[tuple[str, int]]:
        """The same by kind, the slowest first."""
        return sorted(
            ((kind, round(self.taken[kind] / took)) for kind, took in self.seconds.items()), key=lambda x: x[1]
        )

    @property
    def growth(self) -> float:
        """MiB, the tokens that are being poured included."""
        return self.most - self.before


def pour(guard: Guard, kinds: Mapping[str, Make], count: int) -> Poured:
    """`count` tokens, of each kind in turn."""
    poured = Poured(before=megabytes(), seconds=dict.fromkeys(kinds, 0.0))
    for kind in itertools.cycle(kinds):
        made = [kinds[kind]() for _ in range(min(BATCH, count - poured.count))]
        began = time.process_time()
        decisions = [guard.check(entries) for entries in made]
        poured.seconds[kind] += time.process_time() - began
        poured.taken[kind] += len(made)
        poured.count += len(made)
        for decision in decisions:
            if isinstance(decision, Allowed):
                poured.allowed += 1
            else:
                poured.refused[f"{decision.status} {decision.reason.code}"] += 1
        poured.most = max(poured.most, megabytes())
        if poured.count >= count:
            break
    poured.seconds = {kind: took for kind, took in poured.seconds.items() if poured.taken[kind]}
    return poured
