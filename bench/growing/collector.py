"""What Python's garbage collector does meanwhile, and how long it stops everything for."""

from __future__ import annotations

import gc
import time


class Watch:
    """`spent` seconds in collections so far, `worst` of them in one, `full` collections of the oldest generation."""

    def __init__(self) -> None:
        self.spent = self.worst = 0.0
        self.full = 0
        self._began = 0.0
        gc.callbacks.append(self._told)

    def _told(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        seconds = time.perf_counter() - self._began
        self.spent += seconds
        self.worst = max(self.worst, seconds)
        self.full += info["generation"] == 2
