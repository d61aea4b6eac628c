"""What the load generator is told to do, and what it found. Both go through a pipe, pickled."""

from __future__ import annotations

import collections
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.drills.stage import percentile

_MILLISECONDS = 1e3


@dataclass(frozen=True)
class Closed:
    """Each connection asks again as soon as it has its answer, for so many seconds; with 0 each asks once, all at once.

    `first` is what every connection asks before that, which is not counted. `pids` are whose CPU is.
    """

    port: int
    connections: int
    first: bytes
    request: bytes
    seconds: float
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Due:
    """A request that is due so many seconds after the start, at the target with this number."""

    at: float
    target: int
    tag: str
    request: bytes


@dataclass(frozen=True)
class Open:
    """Requests by a schedule, whatever becomes of those before: in the order in which they are due.

    A target is a port, and how many connections there are to it. A request that finds none free waits for one: in the
    time that is counted.
    """

    targets: tuple[tuple[int, int], ...]
    first: bytes
    schedule: Sequence[Due]
    pids: tuple[int, ...]


Plan = Closed | Open


@dataclass
class Answers:
    """Of one tag. Latencies are seconds: from when a request was sent, or from when it was due."""

    latencies: array[float] = field(default_factory=lambda: array("d"))
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    asked: int = 0
    """Answers of which the guard says that the broker was asked for them."""

    def __len__(self) -> int:
        return len(self.latencies)

    def milliseconds(self, share: float) -> float:
        return percentile(list(self.latencies), share) * _MILLISECONDS


@dataclass
class Outcome:
    """`seconds` are from the start to the last answer, `cpu` what the plan's processes took meanwhile, and `own` how
    much of its core the generator needed."""

    answers: dict[str, Answers]
    seconds: float
    cpu: float
    own: float

    @property
    def all(self) -> Answers:
        """Those of a plan without tags."""
        return self.answers[""]


class Failed(Exception):
    """A connection broke, or an answer did not come."""
