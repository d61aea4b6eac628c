"""Every guard of the process, for the length of a test: those that live, and those that are made meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentwrit_guard.standing import Standing


@contextlib.contextmanager
def each_guard(enter: Callable[[Standing], None], leave: Callable[[Standing], None]) -> Iterator[None]:
    """Call `enter` with each guard, now or when it is made, and at the end `leave` with each of them.

    They are held until then, so that what a test drops in passing is not collected before it can be closed.
    """
    from agentwrit_guard import standing

    met: list[Standing] = []

    def meet(guard: Standing) -> None:
        met.append(guard)
        enter(guard)

    standing._NEWCOMERS.append(meet)
    try:
        for guard in list(standing._GUARDS):
            meet(guard)
        yield
    finally:
        standing._NEWCOMERS.remove(meet)
        for guard in met:
            leave(guard)
