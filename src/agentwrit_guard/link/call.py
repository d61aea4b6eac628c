"""A call to the broker that several callers may wait for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agentwrit_guard.core.instant import Instant

Pending = TypeVar("Pending", bound="concurrent.futures.Future[Any] | asyncio.Task[Any]")


@dataclass(frozen=True)
class Call(Generic[Pending]):
    """A lookup in flight: what its callers wait for, when it began, and when they give up."""

    pending: Pending
    started: Instant
    deadline: float

    def joinable(self, now: Instant, max_age: float) -> bool:
        """Whether a caller who read the clocks at `now` may wait for this call instead of making one."""
        if max_age <= 0 or self.pending.done() or time.monotonic() >= self.deadline:
            return False
        # Of two callers who race, the second may have read the clocks before the first one's call began.
        return now.monotonic < self.started.monotonic or self.started.age(now) < max_age
