"""Faults that tests switch on: no answer, a slow answer, the wrong answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Faults:
    """Read by the server's thread, set by the test's. `stopping` ends every delay when the server stops."""

    down: bool = False
    delay: float = 0.0
    status: int | None = None
    stopping: asyncio.Event | None = field(default=None, repr=False)

    async def hold(self) -> None:
        """Wait as long as answers are delayed, in seconds."""
        if self.delay <= 0:
            return
        if self.stopping is None:
            await asyncio.sleep(self.delay)
            return
        try:
            await asyncio.wait_for(self.stopping.wait(), self.delay)
        except asyncio.TimeoutError:
            return
