"""Cores and clocks of processes (Linux)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

_ALL: Final = tuple(sorted(os.sched_getaffinity(0)))
# Measured servers have a core for themselves where there are two.
SERVER: Final = frozenset(_ALL[:1])
REST: Final = frozenset(_ALL[1:] or _ALL)
ALL: Final = frozenset(_ALL)


def pin(pid: int, cores: Collection[int]) -> None:
    """Keep a process, with the threads that it has or will start, on these cores."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


def family(pid: int) -> tuple[int, ...]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return (pid, *map(int, children.split()))


def spent(pids: Iterable[int]) -> float:
    """Seconds of the processor that these took, in user mode and in the kernel: what their /proc/PID/stat says in
    ticks of 10 ms, without the rounding."""
    # How the C library spells the CPU clock of another process.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)
