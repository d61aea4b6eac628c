"""Work that a pool of threads is asked to do, and that is done once even where the pool fails."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Errand(Generic[T]):
    """Done by whichever thread comes first to `run`. `outcome` is what the work returns or raises.

    A pool that can start no thread says so with the work already in its queue: whoever asked does the work, and a
    thread that comes to it later does nothing.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._work = work
        self._begun = threading.Lock()

    def run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self.outcome.set_result(self._work())
        except BaseException as error:
            self.outcome.set_exception(error)
